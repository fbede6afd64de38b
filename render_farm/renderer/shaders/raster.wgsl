// Bindings and functions of everything that is drawn into views. A fragment competes for its pixel with an atomic
// maximum of (depth, colour): the nearest wins whatever the order, which makes every picture deterministic.

@group(0) @binding(0) var<storage, read> views: array<View>;
@group(0) @binding(1) var<uniform> world: World;
@group(0) @binding(2) var<storage, read> visible: array<u32>;
@group(0) @binding(3) var<storage, read> avatars: array<Avatar>;
@group(0) @binding(4) var<storage, read_write> keys: array<atomic<u64>>;
@group(0) @binding(5) var avatar_shadows: texture_depth_2d_array;
@group(0) @binding(6) var shadow_sampler: sampler_comparison;
@group(0) @binding(7) var tags: texture_2d<f32>;
@group(0) @binding(8) var tag_sampler: sampler;

struct SceneLight {
    sun: mat4x4<f32>,
    roof: mat4x4<f32>,
    fog_distance: f32,
    shadow_bias: f32,
    padding: vec2<f32>,
}

@group(1) @binding(4) var sun_shadow: texture_depth_2d;
@group(1) @binding(5) var roof: texture_depth_2d;
@group(1) @binding(6) var<uniform> light: SceneLight;

struct Clipped {
    position: vec4<f32>,
    distances: array<f32, 4>,
}

fn to_raster(view: u32, point: vec3<f32>) -> Clipped {
    let size = vec2<f32>(views[view].raster.xy);
    let clip = views[view].view_projection * vec4<f32>(point, 1.0);
    var out: Clipped;
    out.position = vec4<f32>(clip.xy * size / RASTER_SIZE, clip.zw);
    out.distances[0] = clip.w + clip.x;
    out.distances[1] = clip.w - clip.x;
    out.distances[2] = clip.w + clip.y;
    out.distances[3] = clip.w - clip.y;
    return out;
}

// `raster`: the view's width, height and first key; flat varyings cost a software device less than reading the table.
fn keep(raster: vec3<u32>, fragment: vec4<f32>, color: vec3<f32>) {
    let size = raster.xy;
    let pixel = vec2<u32>(fragment.xy) - vec2<u32>(u32(RASTER_SIZE) / 2u) + size / 2u;
    if (pixel.x >= size.x || pixel.y >= size.y) { return; }
    let index = raster.z + pixel.y * size.x + pixel.x;
    let key = (u64(bitcast<u32>(fragment.z)) << 32u) | u64(pack_color(color));
    atomicMax(&keys[index], key);
}

fn shadow_at(matrix: mat4x4<f32>, point: vec3<f32>) -> vec3<f32> {
    let clip = matrix * vec4<f32>(point, 1.0);
    return vec3<f32>(clip.x * 0.5 + 0.5, 0.5 - clip.y * 0.5, clip.z);
}

fn inside(place: vec3<f32>) -> bool {
    return all(place.xy > vec2<f32>(0.0)) && all(place.xy < vec2<f32>(1.0)) && place.z < 1.0;
}

fn sunlight(point: vec3<f32>, normal: vec3<f32>) -> f32 {
    let lifted = point + normal * light.shadow_bias;
    let fixed_place = shadow_at(light.sun, lifted);
    let fixed_light = textureSampleCompareLevel(sun_shadow, shadow_sampler, fixed_place.xy, fixed_place.z);
    let moving_place = shadow_at(world.avatar_shadow, point + normal * 0.02);
    let moving_light = textureSampleCompareLevel(
        avatar_shadows, shadow_sampler, moving_place.xy, world.shadow_layer, moving_place.z - 0.002);
    return select(1.0, fixed_light, inside(fixed_place)) * select(1.0, moving_light, inside(moving_place));
}

fn openness(point: vec3<f32>, normal: vec3<f32>) -> f32 {
    let place = shadow_at(light.roof, point + normal * 0.4 + vec3<f32>(0.0, 0.15, 0.0));
    let open = textureSampleCompareLevel(roof, shadow_sampler, place.xy, place.z);
    return select(1.0, open, inside(place));
}

struct Surface {
    albedo: vec3<f32>,
    metallic: f32,
    roughness: f32,
    emission: vec3<f32>,
}

fn shade(eye: vec3<f32>, point: vec3<f32>, normal: vec3<f32>, surface: Surface) -> vec3<f32> {
    let toward_sun = normalize(SUN);
    let from_eye = point - eye;
    let nearness = inverseSqrt(max(dot(from_eye, from_eye), 1e-8));
    let look = from_eye * nearness;
    let sun_cosine = dot(normal, toward_sun);
    let lit = select(0.0, sunlight(point, normal), sun_cosine > 0.0);
    let open = openness(point, normal);

    let up = normal.y * 0.5 + 0.5;
    let outdoor = mix(vec3<f32>(0.17, 0.15, 0.13), vec3<f32>(0.34, 0.43, 0.57), up);
    let side = 0.5 + 0.5 * dot(normal, vec3<f32>(0.60, 0.0, 0.80));
    let indoor = mix(vec3<f32>(0.32, 0.28, 0.23), vec3<f32>(0.74, 0.67, 0.56), 0.65 * up + 0.35 * side);
    let ambient = mix(indoor, outdoor, open);
    let diffuse = surface.albedo * (1.0 - surface.metallic);
    let gloss = 1.0 - surface.roughness;
    let specular = mix(vec3<f32>(0.04), surface.albedo, surface.metallic);
    let facing = clamp(1.0 + dot(look, normal), 0.0, 1.0);
    let facing2 = facing * facing;
    let fresnel = specular + (max(vec3<f32>(gloss), specular) - specular) * facing2 * facing2 * facing;

    var color = diffuse * (ambient + vec3<f32>(1.95, 1.72, 1.36) * max(sun_cosine, 0.0) * lit) + surface.emission;
    let mirror = reflect(look, normal);
    let room = mix(vec3<f32>(0.20, 0.17, 0.14), vec3<f32>(0.80, 0.72, 0.60), mirror.y * 0.5 + 0.5);
    let surroundings = mix(room, sky_without_disc(mirror), open);
    color += surroundings * fresnel * mix(gloss, 1.0, 0.6 * surface.metallic);
    let half_way = max(dot(normal, normalize(toward_sun - look)), 0.0);
    let power = exp2(2.0 + 8.0 * gloss);
    color += fresnel * lit * pow(half_way, power) * (power + 8.0) * 0.05 * max(sun_cosine, 0.0);

    let haze = 1.0 / (nearness * light.fog_distance);
    let fog = 1.0 - exp2(-1.442695 * haze * haze);
    return display(mix(color, sky_without_disc(vec3<f32>(look.x, max(look.y, 0.0) * 0.5, look.z)), fog));
}

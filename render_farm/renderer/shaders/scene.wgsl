// The immovable scene: instances of meshes with materials.

struct Instance {
    // Rows of the model-to-world matrix.
    rows: array<vec4<f32>, 3>,
    // Bounding sphere in the world.
    sphere: vec4<f32>,
    material: u32,
}

struct Material {
    base_color: vec4<f32>,
    // rgb; w: alpha below which nothing is drawn.
    emission: vec4<f32>,
    metallic: f32,
    roughness: f32,
    // Layer of the texture array, or -1.
    layer: i32,
    padding: u32,
}

@group(1) @binding(0) var<storage, read> instances: array<Instance>;
@group(1) @binding(1) var<storage, read> materials: array<Material>;
@group(1) @binding(2) var textures: texture_2d_array<f32>;
@group(1) @binding(3) var texture_sampler: sampler;

struct Varying {
    @builtin(position) position: vec4<f32>,
    @builtin(clip_distances) distances: array<f32, 4>,
    @location(0) point: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @location(2) uv: vec2<f32>,
    @location(3) @interpolate(flat) raster: vec3<u32>,
    @location(4) @interpolate(flat) eye: vec3<f32>,
    @location(5) @interpolate(flat) base_color: vec4<f32>,
    @location(6) @interpolate(flat) emission: vec4<f32>,
    // x: metallic; y: roughness.
    @location(7) @interpolate(flat) finish: vec2<f32>,
    @location(8) @interpolate(flat) layer: i32,
}

// What arrives of it at the fragment stage.
struct Fragment {
    @builtin(position) position: vec4<f32>,
    @location(0) point: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @location(2) uv: vec2<f32>,
    @location(3) @interpolate(flat) raster: vec3<u32>,
    @location(4) @interpolate(flat) eye: vec3<f32>,
    @location(5) @interpolate(flat) base_color: vec4<f32>,
    @location(6) @interpolate(flat) emission: vec4<f32>,
    // x: metallic; y: roughness.
    @location(7) @interpolate(flat) finish: vec2<f32>,
    @location(8) @interpolate(flat) layer: i32,
}

fn placed(rows: array<vec4<f32>, 3>, point: vec4<f32>) -> vec3<f32> {
    return vec3<f32>(dot(rows[0], point), dot(rows[1], point), dot(rows[2], point));
}

// Normals keep their angle to the surface under any scale: the matrix of cofactors.
fn turned(rows: array<vec4<f32>, 3>, normal: vec3<f32>) -> vec3<f32> {
    let a = rows[0].xyz;
    let b = rows[1].xyz;
    let c = rows[2].xyz;
    return vec3<f32>(dot(cross(b, c), normal), dot(cross(c, a), normal), dot(cross(a, b), normal));
}

@vertex
fn vertex(
    @builtin(instance_index) slot: u32,
    @location(0) position: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @location(2) uv: vec2<f32>,
) -> Varying {
    let entry = visible[slot];
    let instance = instances[visible_object(entry)];
    let point = placed(instance.rows, vec4<f32>(position, 1.0));
    let clipped = to_raster(visible_view(entry), point);
    let view = visible_view(entry);
    let material = materials[instance.material];
    return Varying(
        clipped.position, clipped.distances, point, turned(instance.rows, normal), uv, views[view].raster.xyz,
        views[view].position.xyz, material.base_color, material.emission,
        vec2<f32>(material.metallic, material.roughness), material.layer);
}

@fragment
fn fragment(in: Fragment, @builtin(front_facing) front: bool) -> @location(0) vec4<f32> {
    let sampled = textureSample(textures, texture_sampler, in.uv, max(in.layer, 0));
    let texel = select(vec4<f32>(1.0), sampled, in.layer >= 0);
    if (texel.a * in.base_color.a < in.emission.w) { discard; }
    let normal = normalize(in.normal) * select(-1.0, 1.0, front);
    let surface = Surface(
        texel.rgb * in.base_color.rgb, in.finish.x, in.finish.y, texel.rgb * in.emission.rgb);
    keep(in.raster, in.position, shade(in.eye, in.point, normal, surface));
    return vec4<f32>(0.0);
}

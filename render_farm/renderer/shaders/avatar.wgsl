// People: one mesh, posed per avatar, and the name tag above each.

struct Varying {
    @builtin(position) position: vec4<f32>,
    @builtin(clip_distances) distances: array<f32, 4>,
    @location(0) point: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @location(2) @interpolate(flat) color: vec3<f32>,
    @location(3) @interpolate(flat) raster: vec3<u32>,
    @location(4) @interpolate(flat) eye: vec3<f32>,
}

// What arrives of it at the fragment stage.
struct Fragment {
    @builtin(position) position: vec4<f32>,
    @location(0) point: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @location(2) @interpolate(flat) color: vec3<f32>,
    @location(3) @interpolate(flat) raster: vec3<u32>,
    @location(4) @interpolate(flat) eye: vec3<f32>,
}

fn hue_color(hue: f32, saturation: f32, value: f32) -> vec3<f32> {
    let wheel = abs(fract(hue + vec3<f32>(0.0, 2.0 / 3.0, 1.0 / 3.0)) * 6.0 - 3.0) - 1.0;
    return value * mix(vec3<f32>(1.0), clamp(wheel, vec3<f32>(0.0), vec3<f32>(1.0)), saturation);
}

// Parts: 0 skin, 1 jacket, 2 trousers, 3 shoes, 4 hair, 5 shirt.
fn part_color(part: u32, hue: f32) -> vec3<f32> {
    switch part {
        case 0u: { return vec3<f32>(0.62, 0.40, 0.28); }
        case 1u: { return hue_color(hue, 0.72, 0.55); }
        case 2u: { return vec3<f32>(0.05, 0.055, 0.075); }
        case 3u: { return vec3<f32>(0.03, 0.025, 0.022); }
        case 4u: { return mix(vec3<f32>(0.02, 0.016, 0.014), vec3<f32>(0.16, 0.09, 0.05), fract(hue * 7.0)); }
        default: { return vec3<f32>(0.75, 0.74, 0.72); }
    }
}

@vertex
fn vertex(
    @builtin(instance_index) slot: u32,
    @location(0) position: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @location(2) uv: vec2<f32>,
) -> Varying {
    let entry = visible[slot];
    let avatar = avatars[visible_object(entry)];
    let posed = pose(avatar, position, normal, u32(uv.y));
    let view = visible_view(entry);
    let clipped = to_raster(view, posed.point);
    return Varying(
        clipped.position, clipped.distances, posed.point, posed.normal, part_color(u32(uv.x), avatar.hue),
        views[view].raster.xyz, views[view].position.xyz);
}

@fragment
fn fragment(in: Fragment) -> @location(0) vec4<f32> {
    let surface = Surface(in.color, 0.0, 0.8, vec3<f32>(0.0));
    keep(in.raster, in.position, shade(in.eye, in.point, normalize(in.normal), surface));
    return vec4<f32>(0.0);
}

struct TagVarying {
    @builtin(position) position: vec4<f32>,
    @builtin(clip_distances) distances: array<f32, 4>,
    @location(0) uv: vec2<f32>,
    @location(1) @interpolate(flat) raster: vec3<u32>,
    @location(2) @interpolate(flat) tag: u32,
    @location(3) @interpolate(flat) raised: u32,
}

// What arrives of it at the fragment stage.
struct TagFragment {
    @builtin(position) position: vec4<f32>,
    @location(0) uv: vec2<f32>,
    @location(1) @interpolate(flat) raster: vec3<u32>,
    @location(2) @interpolate(flat) tag: u32,
    @location(3) @interpolate(flat) raised: u32,
}

const TAG_ASPECT = 5.3333335;
const TAG_COLUMNS = 8u;
const TAG_ROWS = 128u;

@vertex
fn tag_vertex(@builtin(instance_index) slot: u32, @builtin(vertex_index) corner: u32) -> TagVarying {
    let entry = visible[slot];
    let view = visible_view(entry);
    let avatar = avatars[visible_object(entry)];
    let uv = vec2<f32>(f32(corner & 1u), f32(corner >> 1u));
    let seated = (avatar.flags & SEATED) != 0u;
    let raised = avatar.flags & HAND_RAISED;
    let centre = avatar.place.xyz + vec3<f32>(0.0, select(1.98, 1.52, seated), 0.0);
    let distance = length(centre - views[view].position.xyz);
    let height = max(0.15, distance * 0.03);
    let right = normalize(views[view].right.xyz);
    let up = normalize(views[view].up.xyz);
    let offset = right * (uv.x - 0.5) * height * TAG_ASPECT + up * (1.0 - uv.y) * height;
    let clipped = to_raster(view, centre + offset);
    return TagVarying(clipped.position, clipped.distances, uv, views[view].raster.xyz, avatar.tag, raised);
}

@fragment
fn tag_fragment(in: TagFragment) -> @location(0) vec4<f32> {
    let cell = vec2<f32>(f32(in.tag % TAG_COLUMNS), f32(in.tag / TAG_COLUMNS));
    let place = (cell + clamp(in.uv, vec2<f32>(0.01), vec2<f32>(0.99))) / vec2<f32>(f32(TAG_COLUMNS), f32(TAG_ROWS));
    let texel = textureSample(tags, tag_sampler, place);
    if (texel.g < 0.5) { discard; }
    let panel = select(vec3<f32>(0.08, 0.10, 0.14), vec3<f32>(0.86, 0.52, 0.08), in.raised != 0u);
    keep(in.raster, in.position, mix(panel, vec3<f32>(0.97), texel.r));
    return vec4<f32>(0.0);
}

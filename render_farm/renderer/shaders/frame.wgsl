// What all stages share: the layout of a tick's buffers, and the light.

struct View {
    view_projection: mat4x4<f32>,
    // xyz: the camera; w: unused.
    position: vec4<f32>,
    // Directions of the picture's right and upper edge, scaled by the tangent of half the field of view; forward.
    right: vec4<f32>,
    up: vec4<f32>,
    forward: vec4<f32>,
    // Left, right, bottom, top, near: inside where dot(plane, (p, 1)) >= 0.
    planes: array<vec4<f32>, 5>,
    // Raster width, height, first key, index of the hidden avatar.
    raster: vec4<u32>,
    // Picture width, height, first word of the output, words in a row.
    picture: vec4<u32>,
}

struct World {
    avatar_shadow: mat4x4<f32>,
    first_view: u32,
    view_count: u32,
    visible_base: u32,
    args_base: u32,
    first_avatar: u32,
    avatar_count: u32,
    avatar_visible_base: u32,
    avatar_args_base: u32,
    tag_visible_base: u32,
    tag_args_base: u32,
    shadow_layer: u32,
    // Of the fine avatar and of the coarse one, whose indices come after it.
    avatar_index_count: u32,
    coarse_index_count: u32,
}

struct Avatar {
    // xyz: between the feet; w: yaw.
    place: vec4<f32>,
    hue: f32,
    // 1: hand raised, 2: seated.
    flags: u32,
    // Row in the tag atlas, or 0xffffffff.
    tag: u32,
    padding: u32,
}

const NO_TAG = 0xffffffffu;
const HAND_RAISED = 1u;
const SEATED = 2u;
// Towards the sun.
const SUN = vec3<f32>(0.48, 0.70, 0.53);
// All views are drawn around the centre of one square raster, so that no view's place depends on the others.
const RASTER_SIZE = 4096.0;

fn visible_view(entry: u32) -> u32 { return entry >> 24u; }
fn visible_object(entry: u32) -> u32 { return entry & 0xffffffu; }

fn sky_without_disc(direction: vec3<f32>) -> vec3<f32> {
    let height = clamp(direction.y, -0.1, 1.0);
    let horizon = vec3<f32>(0.66, 0.74, 0.82);
    let zenith = vec3<f32>(0.10, 0.26, 0.60);
    let base = mix(horizon, zenith, sqrt(max(height, 0.0)) * 0.9);
    let sun = max(dot(direction, normalize(SUN)), 0.0);
    let glow = sun * sun * sun * sun;
    return base + vec3<f32>(0.30, 0.22, 0.12) * glow;
}

fn sky(direction: vec3<f32>) -> vec3<f32> {
    let disc = smoothstep(0.9992, 0.9996, dot(direction, normalize(SUN)));
    return sky_without_disc(direction) + vec3<f32>(3.0, 2.6, 2.0) * disc;
}

// Linear light to display values in [0, 1]: a filmic curve, and a square root for the display's gamma, which costs a
// software rasteriser far less than a power.
fn display(color: vec3<f32>) -> vec3<f32> {
    let x = max(color, vec3<f32>(0.0));
    return sqrt(clamp((x * (2.51 * x + 0.03)) / (x * (2.43 * x + 0.59) + 0.14), vec3<f32>(0.0), vec3<f32>(1.0)));
}

// A display colour as BT.709 luma (12 bits) and blue and red difference (10 bits each), in full range.
fn pack_color(color: vec3<f32>) -> u32 {
    let y = dot(color, vec3<f32>(0.2126, 0.7152, 0.0722));
    let c = vec3<u32>(vec3<f32>(y, (color.b - y) / 1.8556 + 0.5, (color.r - y) / 1.5748 + 0.5)
        * vec3<f32>(4095.0, 1023.0, 1023.0) + 0.5);
    return (c.x << 20u) | (c.y << 10u) | c.z;
}

fn unpack_luma(word: u32) -> f32 { return f32(word >> 20u) / 4095.0; }
fn unpack_chroma(word: u32) -> vec2<f32> { return vec2<f32>(f32((word >> 10u) & 1023u), f32(word & 1023u)) / 1023.0; }

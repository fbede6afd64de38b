// One thread per chunk of objects and view: which of up to 64 objects the view sees, in order, and the draw for them.

struct DrawArgs {
    index_count: u32,
    instance_count: u32,
    first_index: u32,
    base_vertex: u32,
    first_instance: u32,
}

struct Chunk {
    first_object: u32,
    object_count: u32,
    index_count: u32,
    first_index: u32,
    base_vertex: u32,
    // The chunks of single-sided materials come first; how many they are.
    single_sided: u32,
    padding: vec2<u32>,
}

struct Instance {
    rows: array<vec4<f32>, 3>,
    sphere: vec4<f32>,
    material: u32,
}

@group(0) @binding(0) var<storage, read> views: array<View>;
@group(0) @binding(1) var<uniform> world: World;
@group(0) @binding(2) var<storage, read_write> visible: array<u32>;
@group(0) @binding(3) var<storage, read_write> args: array<DrawArgs>;
@group(0) @binding(4) var<storage, read> avatars: array<Avatar>;
@group(1) @binding(0) var<storage, read> instances: array<Instance>;
@group(1) @binding(1) var<storage, read> chunks: array<Chunk>;

// The names of a seated audience would hide it.
const TAG_RANGE_M = 40.0;
const SEATED_TAG_RANGE_M = 12.0;

fn sees(view: u32, sphere: vec4<f32>) -> bool {
    for (var plane = 0u; plane < 5u; plane++) {
        let p = views[view].planes[plane];
        if (dot(p.xyz, sphere.xyz) + p.w < -sphere.w) { return false; }
    }
    return true;
}

// What would cover less than about a pixel is left out.
const SMALLEST_PX = 0.7;
// The diameter of an avatar's sphere under which the coarse mesh looks the same.
const COARSE_AVATAR_PX = 130.0;

fn diameter_px(view: u32, sphere: vec4<f32>) -> f32 {
    let distance = length(sphere.xyz - views[view].position.xyz);
    return sphere.w / max(distance, 1e-3) * f32(views[view].raster.y) / length(views[view].up.xyz);
}

@compute @workgroup_size(64)
fn cull_scene(@builtin(global_invocation_id) id: vec3<u32>) {
    let chunk_count = arrayLength(&chunks);
    if (id.x >= chunk_count || id.y >= world.view_count) { return; }
    let view = world.first_view + id.y;
    let chunk = chunks[id.x];
    let first = world.visible_base + id.y * arrayLength(&instances) + chunk.first_object;
    var seen = 0u;
    for (var object = chunk.first_object; object < chunk.first_object + chunk.object_count; object++) {
        let sphere = instances[object].sphere;
        if (sees(view, sphere) && diameter_px(view, sphere) > SMALLEST_PX) {
            visible[first + seen] = (view << 24u) | object;
            seen++;
        }
    }
    var place = id.y * chunk.single_sided + id.x;
    if (id.x >= chunk.single_sided) {
        let rest = chunk_count - chunk.single_sided;
        place = world.view_count * chunk.single_sided + id.y * rest + id.x - chunk.single_sided;
    }
    args[world.args_base + place] = DrawArgs(chunk.index_count, seen, chunk.first_index, chunk.base_vertex, first);
}

@compute @workgroup_size(64)
fn cull_avatars(@builtin(global_invocation_id) id: vec3<u32>) {
    let chunk_count = (world.avatar_count + 63u) / 64u;
    if (id.x >= chunk_count || id.y >= world.view_count) { return; }
    let view = world.first_view + id.y;
    let begin = id.x * 64u;
    let end = min(begin + 64u, world.avatar_count);
    let first = world.avatar_visible_base + id.y * world.avatar_count + begin;
    let first_tag = world.tag_visible_base + id.y * world.avatar_count + begin;
    // From the front of the chunk's range the fine ones, from its end the coarse ones.
    var fine = 0u;
    var coarse = 0u;
    var tagged = 0u;
    for (var index = begin; index < end; index++) {
        let avatar = avatars[world.first_avatar + index];
        let sphere = vec4<f32>(avatar.place.xyz + vec3<f32>(0.0, 1.1, 0.0), 1.25);
        if (index == views[view].raster.w || !sees(view, sphere)) { continue; }
        let entry = (view << 24u) | (world.first_avatar + index);
        let size = diameter_px(view, sphere);
        if (size >= COARSE_AVATAR_PX) {
            visible[first + fine] = entry;
            fine++;
        } else if (size > SMALLEST_PX) {
            coarse++;
            visible[first + end - begin - coarse] = entry;
        }
        let noticed = (avatar.flags & (SEATED | HAND_RAISED)) != SEATED;
        let range = select(SEATED_TAG_RANGE_M, TAG_RANGE_M, noticed);
        if (avatar.tag != NO_TAG && length(sphere.xyz - views[view].position.xyz) < range) {
            visible[first_tag + tagged] = entry;
            tagged++;
        }
    }
    let place = id.y * chunk_count + id.x;
    let avatar_args = world.avatar_args_base + 2u * place;
    args[avatar_args] = DrawArgs(world.avatar_index_count, fine, 0u, 0u, first);
    args[avatar_args + 1u] =
        DrawArgs(world.coarse_index_count, coarse, world.avatar_index_count, 0u, first + end - begin - coarse);
    args[world.tag_args_base + place] = DrawArgs(6u, tagged, 0u, 0u, first_tag);
}

// Depth from the sun and from above: the immovable scene once, the people once per tick and world.

struct Instance {
    rows: array<vec4<f32>, 3>,
    sphere: vec4<f32>,
    material: u32,
}

@group(0) @binding(0) var<uniform> projection: mat4x4<f32>;
@group(0) @binding(1) var<storage, read> instances: array<Instance>;

@vertex
fn scene_vertex(@builtin(instance_index) slot: u32, @location(0) position: vec3<f32>) -> @builtin(position) vec4<f32> {
    let rows = instances[slot].rows;
    let p = vec4<f32>(position, 1.0);
    return projection * vec4<f32>(dot(rows[0], p), dot(rows[1], p), dot(rows[2], p), 1.0);
}

// Depth of the people of one world, seen from the sun.

@group(0) @binding(0) var<uniform> world: World;
@group(0) @binding(1) var<storage, read> avatars: array<Avatar>;

@vertex
fn vertex(
    @builtin(instance_index) index: u32,
    @location(0) position: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @location(2) uv: vec2<f32>,
) -> @builtin(position) vec4<f32> {
    let posed = pose(avatars[world.first_avatar + index], position, normal, u32(uv.y));
    return world.avatar_shadow * vec4<f32>(posed.point, 1.0);
}

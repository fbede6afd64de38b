// How a person stands, sits, and raises a hand. Bones: 0 trunk, 1 right arm, 2 left arm, 3 thighs, 4 shins.

struct Posed {
    point: vec3<f32>,
    normal: vec3<f32>,
}

fn swing(point: vec3<f32>, angle: f32) -> vec3<f32> {
    let c = cos(angle);
    let s = sin(angle);
    return vec3<f32>(point.x, c * point.y - s * point.z, s * point.y + c * point.z);
}

fn swing_about(posed: Posed, pivot: vec3<f32>, angle: f32) -> Posed {
    return Posed(swing(posed.point - pivot, angle) + pivot, swing(posed.normal, angle));
}

fn pose(avatar: Avatar, position: vec3<f32>, normal: vec3<f32>, bone: u32) -> Posed {
    var posed = Posed(position, normal);
    if (bone == 1u && (avatar.flags & HAND_RAISED) != 0u) {
        posed = swing_about(posed, vec3<f32>(0.0, 1.40, 0.0), 2.85);
    }
    if ((avatar.flags & SEATED) != 0u) {
        if (bone == 3u) { posed = swing_about(posed, vec3<f32>(0.0, 0.88, 0.0), 1.5); }
        if (bone == 4u) { posed.point += vec3<f32>(0.0, 0.42, -0.42); }
        if ((bone == 1u && (avatar.flags & HAND_RAISED) == 0u) || bone == 2u) {
            posed = swing_about(posed, vec3<f32>(0.0, 1.40, 0.0), 0.45);
        }
        posed.point += vec3<f32>(0.0, -0.40, 0.40);
    }
    let c = cos(avatar.place.w);
    let s = sin(avatar.place.w);
    let turn = mat3x3<f32>(vec3<f32>(c, 0.0, -s), vec3<f32>(0.0, 1.0, 0.0), vec3<f32>(s, 0.0, c));
    return Posed(turn * posed.point + avatar.place.xyz, turn * posed.normal);
}

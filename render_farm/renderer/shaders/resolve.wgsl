// Pictures from colours: smoothed edges, and NV12 (BT.709, limited range, chroma sited at the left). One thread makes
// four by two pixels: two words of luma and one of chroma.

@group(0) @binding(0) var<storage, read> views: array<View>;
@group(0) @binding(1) var<storage, read> colors: array<u32>;
@group(0) @binding(2) var<storage, read_write> pictures: array<u32>;

// Blend the luma across an edge where neighbours differ much; four pixels side by side at a time.
fn smoothed(m: vec4<f32>, n: vec4<f32>, s: vec4<f32>, w: vec4<f32>, e: vec4<f32>, strength: f32) -> vec4<f32> {
    let high = max(m, max(max(n, s), max(w, e)));
    let low = min(m, min(min(n, s), min(w, e)));
    let vertical = abs(n + s - 2.0 * m);
    let horizontal = abs(w + e - 2.0 * m);
    let mean = 0.5 * select(w + e, n + s, vertical >= horizontal);
    let edge = high - low >= max(vec4<f32>(0.06), high * 0.14);
    return select(m, mix(m, mean, strength), edge);
}

fn four(place: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(colors[place.x], colors[place.y], colors[place.z], colors[place.w]);
}

fn lumas(words: vec4<u32>) -> vec4<f32> { return vec4<f32>(words >> vec4<u32>(20u)) / 4095.0; }

fn limited_luma(luma: vec4<f32>) -> u32 {
    return pack4xU8(vec4<u32>(16.5 + 219.0 * luma));
}

// The columns are one to the left, at, and one to the right of the chroma sample.
fn chroma(w: u32, m: u32, e: u32) -> vec2<f32> {
    return unpack_chroma(w) + 2.0 * unpack_chroma(m) + unpack_chroma(e);
}

@compute @workgroup_size(32, 2)
fn resolve(@builtin(global_invocation_id) id: vec3<u32>) {
    let picture = views[id.z].picture;
    let corner = id.xy * vec2<u32>(4u, 2u);
    if (corner.x >= picture.x || corner.y >= picture.y) { return; }
    let first = views[id.z].raster.z;
    // A refined picture is smooth already.
    let strength = select(0.0, 0.45, views[id.z].raster.x == picture.x);
    let columns = min(corner.x + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(picture.x - 1u));
    let west = max(corner.x, 1u) - 1u;
    let east = min(corner.x + 4u, picture.x - 1u);
    let row0 = first + corner.y * picture.x;
    let row1 = row0 + picture.x;
    let north = select(row0 - picture.x, row0, corner.y == 0u);
    let south = select(row1 + picture.x, row1, corner.y + 2u >= picture.y);

    let a = four(row0 + columns);
    let b = four(row1 + columns);
    let a_west = colors[row0 + west];
    let b_west = colors[row1 + west];
    let ya = lumas(a);
    let yb = lumas(b);
    let west_a = vec4<f32>(unpack_luma(a_west), ya.xyz);
    let west_b = vec4<f32>(unpack_luma(b_west), yb.xyz);
    let east_a = vec4<f32>(ya.yzw, unpack_luma(colors[row0 + east]));
    let east_b = vec4<f32>(yb.yzw, unpack_luma(colors[row1 + east]));
    let out = picture.z + corner.y * picture.w + id.x;
    pictures[out] = limited_luma(smoothed(ya, lumas(four(north + columns)), yb, west_a, east_a, strength));
    pictures[out + picture.w] = limited_luma(smoothed(yb, ya, lumas(four(south + columns)), west_b, east_b, strength));

    let left = chroma(a_west, a.x, a.y) + chroma(b_west, b.x, b.y);
    let right = chroma(a.y, a.z, a.w) + chroma(b.y, b.z, b.w);
    pictures[picture.z + (picture.y + id.y) * picture.w + id.x] =
        pack4xU8(vec4<u32>(16.5 + 28.0 * vec4<f32>(left, right)));
}

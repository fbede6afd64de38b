// Colours from keys, at the picture's resolution: the background where nothing was drawn, and the mean of the raster's
// pixels where a picture is refined. A software device runs both sides of a branch, and once more the body of a loop
// whose end is tested first: hence no branches, and loops that test at their end.

@group(0) @binding(0) var<storage, read> views: array<View>;
@group(0) @binding(1) var<storage, read> keys: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> colors: array<u32>;

// Rows that one thread makes.
const SETTLE_ROWS = 8u;

@compute @workgroup_size(32, 1)
fn settle(@builtin(global_invocation_id) id: vec3<u32>) {
    let picture = views[id.z].picture.xy;
    let raster = views[id.z].raster.xyz;
    let begin = id.y * SETTLE_ROWS;
    if (id.x >= picture.x || begin >= picture.y) { return; }
    let scale = raster.x / picture.x;
    let per_pixel = vec2<f32>(2.0, -2.0) / vec2<f32>(raster.xy);
    let right = views[id.z].right.xyz;
    let up = views[id.z].up.xyz;
    let corner = views[id.z].forward.xyz - right + up;
    let end = min(begin + SETTLE_ROWS, picture.y);
    var row = begin;
    loop {
        var sum = vec3<f32>(0.0);
        var sample = vec2<u32>(0u);
        loop {
            let p = vec2<u32>(id.x, row) * scale + sample;
            let key = keys[raster.z + p.y * raster.x + p.x];
            let place = (vec2<f32>(p) + 0.5) * per_pixel;
            let behind = pack_color(display(sky(normalize(corner + right * place.x + up * place.y))));
            let word = select(behind, key.x, key.y != 0u);
            let y = unpack_luma(word);
            sum += vec3<f32>(y * y, unpack_chroma(word));
            sample.x++;
            let done = sample.x == scale;
            sample = select(sample, vec2<u32>(0u, sample.y + 1u), done);
            continuing { break if sample.y == scale; }
        }
        let mean = sum / f32(scale * scale);
        let c = vec3<u32>(vec3<f32>(sqrt(mean.x), mean.yz) * vec3<f32>(4095.0, 1023.0, 1023.0) + 0.5);
        colors[raster.z + row * picture.x + id.x] = (c.x << 20u) | (c.y << 10u) | c.z;
        row++;
        continuing { break if row == end; }
    }
}

// The folded grid: a dispatch of wg_count workgroups from wg_base on, in rows of wg_row.
// A workgroup past the end returns at once: the condition is uniform, so barriers after it are legal.
fn grid_index(wid: vec3<u32>) -> u32 {
    return wid.y * p.wg_row + wid.x;
}

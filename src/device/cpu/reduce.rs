//! Twin of `shaders/reduce.wgsl`.

use rayon::prelude::*;

use super::parallel::{multiversioned, per_task};
use crate::kernel::reduce::{Host, Params};

const CHUNK: usize = 4096;
const LANES: usize = 256;

multiversioned! {
    /// The sum of at most `CHUNK` values in the shader's order.
    fn chunk_sum(x: &[f32], square: bool) -> f32 {
        let mut lane = [0f32; LANES];
        for part in x.chunks(LANES) {
            if square {
                for (s, v) in lane.iter_mut().zip(part) {
                    *s += v * v;
                }
            } else {
                for (s, v) in lane.iter_mut().zip(part) {
                    *s += v;
                }
            }
        }
        // Lanes past the last element hold +0, which changes no other lane's value.
        let mut half = x.len().min(LANES).next_power_of_two() / 2;
        while half > 0 {
            let (low, high) = lane.split_at_mut(half);
            for (s, v) in low.iter_mut().zip(&high[..half]) {
                *s += v;
            }
            half /= 2;
        }
        lane[0]
    }
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, chunks, square) = (p.n as usize, p.chunks as usize, p.square != 0);
    a.y.par_iter_mut().with_min_len(per_task(n.min(CHUNK))).enumerate().for_each(|(i, y)| {
        let (row, from) = (i / chunks, i % chunks * CHUNK);
        *y = chunk_sum(&a.x[row * n + from..row * n + n.min(from + CHUNK)], square);
    });
}

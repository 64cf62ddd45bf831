//! Twin of `shaders/poisson_drive.wgsl`.

use rayon::prelude::*;

use super::multiversioned;
use super::parallel::Scattered;
use super::philox::rounds;
use crate::kernel::poisson_drive::{Host, Params};

/// Neurons whose words are drawn before they are compared.
const STRIP: usize = 256;
/// Neurons whose rounds go on together.
const LANES: usize = 16;
const LANE: [u64; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// Neurons of a task: a cache line's multiple.
const NEURONS: usize = 2048;
/// Draws for which a thread is worth waking.
const LEAST_WORK: usize = 1 << 15;
/// Up to so many thresholds a word is compared with each of them; beyond, a guide says where to begin.
const SHORT: usize = 96;

/// The network steps `first..end` of block `block` of four, whose rows begin at `drive`.
struct Block<'a> {
    p: &'a Params,
    thresholds: &'a [u32],
    /// By the word's high byte: how many thresholds are below every word with it. Empty for short tables.
    guide: &'a [u32],
    key: [u32; 2],
    number: u32,
    first: u32,
    end: u32,
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let [now, steps] = [a.clock[0], a.clock[1]];
    let (first, end) = (now.max(p.start), now.saturating_add(steps).min(p.stop));
    if first >= end {
        return;
    }
    let (size, stride) = (p.size as usize, p.stride as usize);
    let thresholds = &a.table[..p.thresholds as usize];
    let guide: Vec<u32> = if thresholds.len() > SHORT {
        (0..256u32).map(|high| thresholds.partition_point(|t| *t <= high << 24) as u32).collect()
    } else {
        Vec::new()
    };
    let blocks = first / 4..(end - 1) / 4 + 1;
    let parts = size.div_ceil(NEURONS);
    let drive = Scattered::new(a.drive);
    let draws = 4 * NEURONS.min(size);
    (0..blocks.len() * parts).into_par_iter().with_min_len(LEAST_WORK.div_ceil(draws)).for_each(|task| {
        let number = blocks.start + (task / parts) as u32;
        let block = Block {
            p,
            thresholds,
            guide: &guide,
            key: [a.clock[2], a.clock[3]],
            number,
            first: first.max(number * 4),
            end: end.min((number * 4).saturating_add(4)),
        };
        let neuron = task % parts * NEURONS;
        let count = NEURONS.min(size - neuron);
        let mut rows: [&mut [i32]; 4] = Default::default();
        for n in block.first..block.end {
            let at = p.first as usize + (n - now) as usize * stride + neuron;
            // SAFETY: tasks have disjoint neurons or steps.
            rows[(n % 4) as usize] = unsafe { drive.part(at, count) };
        }
        draw(&block, neuron as u32, &mut rows);
    });
}

multiversioned! {
    /// Adds the input of the neurons from `neuron` on; rows of steps without input are empty.
    fn draw(block: &Block<'_>, neuron: u32, rows: &mut [&mut [i32]; 4]) {
        let p = block.p;
        let count = rows[(block.first % 4) as usize].len();
        let [number, stream, tag] = [block.number, p.stream, p.tag].map(|x| [u64::from(x); LANES]);
        let mut words = [[0; STRIP]; 4];
        for begin in (0..count).step_by(STRIP) {
            for i in (0..STRIP.min(count - begin)).step_by(LANES) {
                let own = LANE.map(|lane| lane + u64::from(neuron + (begin + i) as u32));
                let mut wide = [number, own, stream, tag];
                rounds(&mut wide, block.key);
                for (words, wide) in words.iter_mut().zip(&wide) {
                    for (word, wide) in words[i..i + LANES].iter_mut().zip(wide) {
                        *word = *wide as u32;
                    }
                }
            }
            for (row, words) in rows.iter_mut().zip(&words).filter(|(row, _)| !row.is_empty()) {
                let end = count.min(begin + STRIP);
                add(block, &words[..end - begin], &mut row[begin..end]);
            }
        }
    }
}

/// Adds each word's draw times the weight.
#[inline(always)]
fn add(block: &Block<'_>, words: &[u32], drive: &mut [i32]) {
    let p = block.p;
    let mut events = [p.base; STRIP];
    let events = &mut events[..words.len()];
    if block.guide.is_empty() {
        // A loop over lanes inside a loop over thresholds: the other way round gives the vector units nothing.
        let fours = block.thresholds.chunks_exact(4);
        for &threshold in fours.remainder() {
            for (events, &word) in events.iter_mut().zip(words) {
                *events += u32::from(word >= threshold);
            }
        }
        for four in fours {
            for (events, &word) in events.iter_mut().zip(words) {
                *events += u32::from(word >= four[0]);
                *events += u32::from(word >= four[1]);
                *events += u32::from(word >= four[2]);
                *events += u32::from(word >= four[3]);
            }
        }
    } else {
        for (events, &word) in events.iter_mut().zip(words) {
            let from = block.guide[(word >> 24) as usize];
            let more = block.thresholds[from as usize..].iter().take_while(|t| **t <= word).count();
            *events += from + more as u32;
        }
    }
    for (drive, events) in drive.iter_mut().zip(events) {
        *drive = drive.wrapping_add(*events as i32 * p.weight);
    }
}

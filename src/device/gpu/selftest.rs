//! Known answers at start: a driver that computes wrongly is refused, one with known faults is worked around.

use super::Gpu;
use crate::device::{Control, Outputs};
use crate::kernel::{Tensor, selftest_grid, selftest_group, selftest_loop};
use crate::recording::{Capabilities, Recording};
use crate::{Error, Result};

/// What a driver does otherwise than it should.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quirk {
    /// Loops stop silently after 65,534 iterations in all (Mesa 22's llvmpipe); kernels stay below that.
    #[serde(rename = "loop_limit_64k")]
    LoopLimit64k,
    /// There are no timestamps, or they cannot be right; runs are timed by the wall clock.
    NoTimestamps,
    /// A known answer is wrong, and the device was opened by force.
    Wrong {
        /// The test.
        test: String,
        /// Expected and found.
        detail: String,
    },
}

/// More than 65,535, so that the grid is folded.
const GROUPS: u32 = 70_000;

/// Each loop alone is short enough for every driver, both together are not.
const LOOPS: [u32; 2] = [40_000, 30_000];

/// Words of the large tensor, 16 MiB.
const FAR: usize = 4 << 20;

struct Test {
    recording: Recording,
    loops: Tensor<u32>,
    seen: Tensor<u32>,
    tail: Tensor<u32>,
    group: Tensor<u32>,
}

impl Test {
    fn new(capabilities: &Capabilities) -> Result<Self> {
        let mut rec = Recording::new("self-test", capabilities);
        let loops = rec.scratch("loops", 2)?;
        let params = selftest_loop::Params { first: LOOPS[0], second: LOOPS[1] };
        rec.dispatch(selftest_loop::dispatch(params, selftest_loop::Args { y: loops }, 1))?;
        let seen = rec.scratch("seen", 2)?;
        let far = rec.scratch("far", FAR)?;
        let tail = rec.scratch("tail", 1)?;
        rec.clear(seen)?;
        let params = selftest_grid::Params { n: FAR as u32, groups: GROUPS };
        rec.dispatch(selftest_grid::dispatch(params, selftest_grid::Args { seen, far }, u64::from(GROUPS)))?;
        rec.copy(far, FAR - 1, tail, 0, 1)?;
        let x = rec.constant("x", &[1.0, f32::NAN, 0.1, 3.0])?;
        let group = rec.scratch("group", 262)?;
        rec.dispatch(selftest_group::dispatch(selftest_group::Params {}, selftest_group::Args { x, y: group }, 1))?;
        for tensor in [loops, seen, tail, group] {
            rec.download(tensor)?;
        }
        Ok(Self { recording: rec, loops, seen, tail, group })
    }

    /// The quirks that the results show, core failures among them.
    fn judge(&self, out: &Outputs) -> Result<Vec<Quirk>> {
        let steps = |x: u32, n: u32| (0..n).fold(x, |x, _| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        let first = steps(0, LOOPS[0]);
        let loops = out.get(self.loops)?;
        let sum = (0..GROUPS).fold(0, u32::wrapping_add);
        let group = out.get(self.group)?;
        let reversed: Vec<u32> = (0..256).rev().collect();
        let mut quirks = Vec::new();
        let mut core = |test: &str, found: &[u32], expected: &[u32]| {
            if found != expected {
                let differ = found.iter().zip(expected).find(|(f, e)| f != e);
                let detail = differ.map_or_else(String::new, |(f, e)| format!("{e} expected, {f:#x} ({f}) found"));
                quirks.push(Quirk::Wrong { test: test.into(), detail });
            }
        };
        core("a loop", &loops[..1], &[first]);
        core("atomics over a folded grid", out.get(self.seen)?, &[GROUPS, sum]);
        core("the last word of a large tensor", out.get(self.tail)?, &[GROUPS - 1]);
        core("workgroup memory across a barrier", &group[..256], &reversed);
        core("telling NaN from numbers", &group[256..260], &[0, 1, 0, 0]);
        // Rounded at each step both are zero; rearranged the first is 1, fused the second is 7e-9.
        core("pinned arithmetic", &group[260..], &[0, 0]);
        if loops[0] == first && loops[1] != steps(first, LOOPS[1]) {
            quirks.push(Quirk::LoopLimit64k);
        }
        if out.timing().device.is_none() {
            quirks.push(Quirk::NoTimestamps);
        }
        Ok(quirks)
    }
}

/// Runs the known answers.
///
/// # Errors
/// `DriverBroken` with the first wrong one, unless forced.
pub(super) fn run(gpu: &Gpu, force: bool) -> Result<Vec<Quirk>> {
    let test = Test::new(gpu.capabilities())?;
    let out = gpu.prepare(&test.recording)?.run(&[], &Control::default())?;
    let quirks = test.judge(&out)?;
    for quirk in &quirks {
        if let Quirk::Wrong { test, detail } = quirk
            && !force
        {
            return Err(Error::DriverBroken {
                adapter: format!("{} ({})", gpu.name(), gpu.shared.info.driver_info),
                test: test.clone(),
                detail: detail.clone(),
            });
        }
    }
    Ok(quirks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Choice, Cpu, DeviceOptions};

    /// The twins give the known answers, and each wrong word is found.
    #[test]
    fn the_judge_accepts_right_answers_and_finds_each_wrong_one() {
        let cpu = Cpu::new(&DeviceOptions::new(Choice::Cpu)).unwrap();
        let test = Test::new(cpu.capabilities()).unwrap();
        let out = || cpu.prepare(&test.recording).unwrap().run(&[], &Control::default()).unwrap();
        assert_eq!(test.judge(&out()).unwrap(), [Quirk::NoTimestamps], "the native path has no timestamps");
        for (tensor, word) in [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0), (3, 255), (3, 257), (3, 260), (3, 261)] {
            let mut wrong = out();
            bytemuck::cast_slice_mut::<_, u32>(&mut wrong.tensors[tensor].2)[word] ^= 1;
            let quirks = test.judge(&wrong).unwrap();
            assert!(matches!(quirks[0], Quirk::Wrong { .. }), "word {word} of tensor {tensor}: {quirks:?}");
        }
        let mut wrong = out();
        bytemuck::cast_slice_mut::<_, u32>(&mut wrong.tensors[0].2)[1] ^= 1;
        assert_eq!(test.judge(&wrong).unwrap()[0], Quirk::LoopLimit64k);
    }
}

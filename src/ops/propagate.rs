//! Event-driven propagation: spikes through synapses into the ring of input.

use super::synapses::Rows;
use super::{Bus, Delays, SynapseTable, Targets, Weights};
use crate::kernel::{Tensor, csr_propagate, workgroups};
use crate::recording::{Capabilities, Recording};
use crate::{Error, Result};

/// Invocations of a workgroup of the kernels that go through rows.
const GROUP: usize = 256;
/// Most invocations of a dispatch: what the largest devices run at once.
const MAX_INVOCATIONS: usize = 1 << 18;
/// Synapses of the table for each invocation: about so few transmit in a step of 0.1 ms at 20 spikes/s.
const SYNAPSES_AN_INVOCATION: usize = 512;
/// Operations of a synaptic event: fetches, an atomic addition.
const OPERATIONS: u64 = 8;

/// Bits of `form`, see `shaders/shared/synapses.wgsl`.
const TWO_PLANES: u32 = 0x1000;
const WIDE_TARGETS: u32 = 0x2000;
const WEIGHT_A_ROW: u32 = 0x4000;
pub(super) const MULTIPLICATIVE: u32 = 0x8000;

/// Synapses of a recording, their weights constant.
#[derive(Debug, Clone)]
pub struct Synapses {
    /// `None`: there is no synapse.
    table: Option<Table>,
}

#[derive(Debug, Clone)]
struct Table {
    first_source: u32,
    rows: u32,
    first_target: u32,
    offsets: Tensor<u32>,
    targets: Tensor<u32>,
    weights: Tensor<i32>,
    delays: Tensor<u32>,
    teams: Teams,
    form: u32,
}

impl Synapses {
    /// Takes the table's arrays, without a copy, as constants of the recording.
    ///
    /// # Errors
    /// As [`SynapseTable::check`]; `InvalidArgument` for sources or targets outside the bus, or a delay that its ring
    /// does not hold; `Unsupported` where an array exceeds what the device can bind.
    pub fn new(rec: &mut Recording, bus: &Bus, table: SynapseTable) -> Result<Self> {
        table.check()?;
        if table.synapses() == 0 {
            return Ok(Self { table: None });
        }
        let SynapseTable { first_source, first_target, target_span, row_offsets, targets, weights, delays } = table;
        let rows = Rows { first_target, target_span, row_offsets: &row_offsets, targets: &targets, delays: &delays };
        rows.fit(bus, first_source)?;
        let teams = Teams::new(rec.capabilities(), &row_offsets, bus.stride)?;
        let mut form = teams.form() | form(bus, &targets, &delays);
        let rows = row_offsets.len() as u32 - 1;
        let offsets = rec.constant_owned("synapse rows", row_offsets)?;
        let (Targets::U16(targets) | Targets::U32(targets)) = targets;
        let targets = rec.constant_owned("synapse targets", targets)?;
        if matches!(weights, Weights::Row(_)) {
            form |= WEIGHT_A_ROW;
        }
        let (Weights::Each(weights) | Weights::Row(weights)) = weights;
        let weights = rec.constant_owned("synapse weights", weights)?;
        let delays = match delays {
            Delays::Each(delays) => rec.constant_owned("synapse delays", delays)?,
            Delays::All(_) => offsets,
        };
        let table = Table { first_source, rows, first_target, offsets, targets, weights, delays, teams, form };
        Ok(Self { table: Some(table) })
    }

    /// Sends the spikes of the recording's step `k` through the synapses.
    ///
    /// # Errors
    /// `InvalidArgument` for a step that the recording does not have; as [`Recording::dispatch`].
    pub fn step(&self, rec: &mut Recording, bus: &Bus, k: u32) -> Result<()> {
        bus.has(k)?;
        let Some(table) = &self.table else { return Ok(()) };
        let params = csr_propagate::Params {
            k,
            steps: bus.steps,
            stride: bus.stride,
            first_source: table.first_source,
            rows: table.rows,
            first_target: table.first_target,
            at_once: table.teams.at_once,
            form: table.form,
        };
        let args = csr_propagate::Args {
            clock: bus.clock,
            spikes: bus.spikes,
            offsets: table.offsets,
            targets: table.targets,
            weights: table.weights,
            delays: table.delays,
            ring: bus.ring,
        };
        let teams = &table.teams;
        rec.dispatch(csr_propagate::dispatch(params, args, teams.workgroups()).work(teams.work()))
    }
}

/// What the ring, targets and delays contribute to `form`.
pub(super) fn form(bus: &Bus, targets: &Targets, delays: &Delays) -> u32 {
    let mut form = bus.slots.ilog2() << 8;
    if bus.planes == 2 {
        form |= TWO_PLANES;
    }
    if matches!(targets, Targets::U32(_)) {
        form |= WIDE_TARGETS;
    }
    if let Delays::All(delay) = delays {
        form |= delay << 24;
    }
    form
}

impl Rows<'_> {
    /// Checks that the bus has all sources, targets and delays.
    pub(super) fn fit(&self, bus: &Bus, first_source: u32) -> Result<()> {
        let rows = self.row_offsets.len().saturating_sub(1) as u64;
        let outside = |what: &str, first: u32, n: u64| {
            let why = format!("{n} {what} from neuron {first} on; the network has {} neurons", bus.stride);
            Err(Error::invalid("synapses", why))
        };
        if u64::from(first_source) + rows > u64::from(bus.stride) {
            return outside("sources", first_source, rows);
        }
        if u64::from(self.first_target) + u64::from(self.target_span) > u64::from(bus.stride) {
            return outside("targets", self.first_target, self.target_span.into());
        }
        let longest = self.delays.longest();
        if longest >= bus.slots {
            let why = format!("a delay of {longest} steps; the ring holds up to {}", bus.slots - 1);
            return Err(Error::invalid("synapses", why));
        }
        Ok(())
    }
}

/// How a fixed number of invocations goes through the rows of spikes whose number is not known beforehand.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Teams {
    /// log2 of a team's invocations.
    team_bits: u32,
    /// log2 of the parts that a row is cut into.
    part_bits: u32,
    /// Spikes that all teams take at once.
    pub at_once: u32,
    synapses: u64,
}

impl Teams {
    /// Teams as wide as most rows, at most a workgroup, and as many as the device can use. Even if all of the network's
    /// `neurons` spike in one step, no invocation goes over the device's limit of iterations.
    pub fn new(capabilities: &Capabilities, offsets: &[u32], neurons: u32) -> Result<Self> {
        let limit = capabilities.max_loop as usize;
        let lengths = || offsets.windows(2).map(|w| (w[1] - w[0]) as usize);
        let synapses: usize = lengths().sum();
        let filled = lengths().filter(|&n| n > 0).count();
        let mean = synapses.div_ceil(filled.max(1));
        let team = mean.next_power_of_two().clamp(32, GROUP);
        let mut parts = mean.div_ceil(team).next_power_of_two().min(64);
        let spikes = (neurons as usize).max(1);
        let mut at_once = (synapses / SYNAPSES_AN_INVOCATION / (team * parts)).max(4);
        at_once = at_once.min(MAX_INVOCATIONS / (team * parts)).min(spikes);

        let mut longest: Vec<usize> = lengths().collect();
        longest.sort_unstable_by(|a, b| b.cmp(a));
        loop {
            // An invocation takes so many spikes at most; at worst they have the longest rows.
            let taken = spikes.div_ceil(at_once);
            let inner: usize = longest.iter().take(taken).map(|n| n.div_ceil(team * parts)).sum();
            if taken + inner <= limit {
                break;
            }
            if at_once < spikes {
                at_once = (at_once * 2).min(spikes);
            } else if parts < 1 << 15 {
                parts *= 2;
            } else {
                return Err(Error::Unsupported {
                    what: format!("a row of {} synapses", longest[0]),
                    need: format!("loops of {} iterations", taken + inner),
                    have: limit.to_string(),
                });
            }
        }
        let at_once = at_once as u32;
        Ok(Self { team_bits: team.ilog2(), part_bits: parts.ilog2(), at_once, synapses: synapses as u64 })
    }

    pub fn form(&self) -> u32 {
        self.team_bits | self.part_bits << 4
    }

    fn invocations(&self) -> usize {
        (self.at_once as usize) << (self.team_bits + self.part_bits)
    }

    pub fn workgroups(&self) -> u64 {
        workgroups(self.invocations(), GROUP)
    }

    /// As expected, not at most: a dispatch for a few spikes is not to be cut into slices.
    pub fn work(&self) -> u64 {
        self.invocations() as u64 + OPERATIONS * self.synapses / SYNAPSES_AN_INVOCATION as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn teams(lengths: &[u32], neurons: u32) -> Teams {
        let mut offsets = vec![0];
        offsets.extend(lengths.iter().scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        }));
        Teams::new(&Capabilities::default(), &offsets, neurons).unwrap()
    }

    /// Iterations of each invocation of a team when all rows' sources spike, rows in this order.
    fn iterations(t: &Teams, lengths: &[u32], neurons: usize) -> usize {
        let apart = 1 << (t.team_bits + t.part_bits);
        let of = |row: usize| 1 + lengths.get(row).map_or(0, |n| n.div_ceil(apart) as usize);
        (0..t.at_once as usize).map(|i| (i..neurons).step_by(t.at_once as usize).map(of).sum()).max().unwrap()
    }

    #[test]
    fn no_invocation_goes_over_the_limit_when_all_neurons_spike() {
        let mut skewed = vec![1u32; 50_000];
        skewed[7] = 40_000_000;
        for (lengths, neurons) in [
            (vec![3_873; 77_169], 77_184usize),
            (vec![80; 4_000], 4_000),
            (vec![1; 3_000_000], 3_000_000),
            (vec![3_000_000_000], 32),
            (skewed, 1_000_000),
        ] {
            let t = teams(&lengths, neurons as u32);
            assert!(iterations(&t, &lengths, neurons) <= 60_000, "{t:?}");
        }
    }

    #[test]
    fn as_many_invocations_as_a_step_can_use() {
        // The microcircuit: 25 spikes a step through 3,873 synapses each, at once; at a tenth of its size, 3 x 390.
        let full = teams(&vec![3_873; 77_169], 77_184);
        assert_eq!((full.team_bits, full.part_bits, full.at_once), (8, 4, 64));
        let tenth = teams(&vec![390; 7_717], 7_744);
        assert_eq!((tenth.team_bits, tenth.part_bits, tenth.at_once), (8, 1, 11));
        // Short rows share a workgroup.
        assert_eq!(teams(&vec![20; 1000], 1024).workgroups(), 1);
    }
}

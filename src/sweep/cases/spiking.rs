//! Spikes from signals, and feed-forward populations of neurons.

use super::Agreement::{Bits, Within};
use super::{Case, Draft};
use crate::Result;
use crate::ops::lif::{Adaptation, CurrentOrder, Drive, Lif, LifParams, Spikes, Synapse, spike_words};
use crate::ops::{self, Events, StepForward, TemporalContrast, event_words};

/// Channels of a signal.
const CHANNELS: usize = 64;
/// Steps of a population.
const STEPS: usize = 64;
/// Lengths of signals.
const TIMES: &[usize] = &[1 << 10, 1 << 13, 1 << 16];

pub const TEMPORAL_CONTRAST: Case = Case {
    name: "temporal_contrast",
    sizes: TIMES,
    unit: "samples of 64 channels",
    variants: &["plain", "normalised"],
    make: temporal_contrast,
};
pub const STEP_FORWARD: Case = Case {
    name: "step_forward",
    sizes: TIMES,
    unit: "samples of 64 channels",
    variants: &["plain", "normalised"],
    make: step_forward,
};
pub const EVENT_DRIVE: Case = Case {
    name: "event_drive",
    sizes: TIMES,
    unit: "samples of 64 neurons",
    variants: &["default"],
    make: event_drive,
};
pub const LIF: Case = Case {
    name: "lif",
    sizes: &[1 << 8, 1 << 12, 1 << 16],
    unit: "neurons, 64 steps",
    variants: &["plain", "adaptive"],
    make: lif,
};

fn temporal_contrast(d: &mut Draft, time: usize, variant: &str) -> Result<()> {
    let x = d.noise("x", CHANNELS * time)?;
    let normalise = variant == "normalised";
    let encoder = TemporalContrast { normalise, ..TemporalContrast::phase_preserving() };
    let events = d.rec.scratch("events", CHANNELS * encoder.rows() * event_words(time))?;
    ops::temporal_contrast(&mut d.rec, x, CHANNELS, &encoder, Events::Packed(events))?;
    let statistics = if normalise { 6 } else { 0 };
    let bytes = 4 * CHANNELS * (time + encoder.rows() * event_words(time));
    d.cost(bytes, CHANNELS * time * (1 + 2 * encoder.thresholds.len() + statistics));
    d.output(events, Bits)
}

fn step_forward(d: &mut Draft, time: usize, variant: &str) -> Result<()> {
    let x = d.noise("x", CHANNELS * time)?;
    let normalise = variant == "normalised";
    let encoder = StepForward { normalise, ..StepForward::new(0.5) };
    let level = d.rec.scratch("level", CHANNELS)?;
    let events = d.rec.scratch("events", CHANNELS * 2 * event_words(time))?;
    ops::step_forward(&mut d.rec, x, CHANNELS, &encoder, level, Events::Packed(events))?;
    let statistics = if normalise { 6 } else { 0 };
    d.cost(4 * CHANNELS * (time + 2 * event_words(time)), CHANNELS * time * (5 + statistics));
    d.output(events, Bits)?;
    d.output(level, Bits)
}

fn event_drive(d: &mut Draft, time: usize, _: &str) -> Result<()> {
    let weight = [0.7f32, -0.3, 1.1, -0.9];
    let events = d.words("events", CHANNELS * weight.len() * event_words(time), 2)?;
    let y = ops::event_drive(&mut d.rec, events, CHANNELS, time, &weight)?;
    d.cost(4 * CHANNELS * (time + weight.len() * event_words(time)), CHANNELS * time * weight.len());
    // A rounding for each weight.
    d.output(y, Within(1e-6))
}

fn lif(d: &mut Draft, neurons: usize, variant: &str) -> Result<()> {
    let current = d.positive("current", STEPS * neurons)?;
    let adaptive = variant == "adaptive";
    let synapse = Synapse { tau: 5.0.into(), gain: 1.0.into(), order: CurrentOrder::Updated };
    let params = LifParams {
        resistance: if adaptive { 2.0 } else { 6.0 }.into(),
        t_ref: 2.0.into(),
        synapse: adaptive.then_some(synapse),
        adaptation: adaptive.then(|| Adaptation { tau: 30.0.into(), increment: 0.2.into() }),
        ..LifParams::default()
    };
    let lif = Lif::new(&mut d.rec, neurons, &params)?;
    // At rest all of the state is zero.
    for state in [Some(lif.v()), lif.i_syn(), lif.adaptation()].into_iter().flatten() {
        d.rec.clear(state)?;
    }
    d.rec.clear(lif.refractory())?;
    let spikes = d.rec.scratch("spikes", STEPS * spike_words(neurons))?;
    lif.run(&mut d.rec, STEPS, Drive::Each(current), Spikes::Packed(spikes), None)?;
    let (rows, operations) = if adaptive { (4, 13) } else { (2, 7) };
    d.cost(4 * (STEPS * (neurons + spike_words(neurons)) + 2 * rows * neurons), operations * STEPS * neurons);
    d.output(spikes, Bits)?;
    d.output(lif.v(), Bits)
}

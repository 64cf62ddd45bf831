//! Exponential synaptic currents: parameter and state rows of `shaders/iaf_psc_exp.wgsl`.

use super::exact::{
    check, coefficient, constant_gain, current_gain, decay, is_each, membrane, pair, positive, reset_below,
    time_constant,
};
use super::{Description, IafPscExp, NeuronPopulation, NeuronVariable, Row, Setting, compact, rows};
use crate::ops::lif::{PerNeuron, refractory_steps};
use crate::{Error, Result};

/// Thresholds adapt.
const ADAPTING: u32 = 1;
/// The rows of the constant input.
const OFFSET: std::ops::Range<usize> = 6..8;

pub(super) fn options(model: &IafPscExp<PerNeuron>) -> u32 {
    match &model.adapt_increment {
        PerNeuron::Shared(v) if *v == 0.0 => 0,
        _ => ADAPTING,
    }
}

pub(super) fn describe(model: &IafPscExp<PerNeuron>, p: &NeuronPopulation, setting: &Setting) -> Result<Description> {
    let size = p.size as usize;
    let mut each = false;
    model.try_map(|name, v| {
        each |= is_each(v);
        check(name, v, size)
    })?;
    let all = rows(size, each, |i| words(&model.try_map(|_, v| Ok(v.at(i)))?, setting))?;
    let parameters = compact(all, &OFFSET);
    let mut state = membrane(p.v_initial.as_ref(), &model.v_rest, size)?;
    let currents = 2 * setting.planes as usize;
    let adaptation = if setting.options & ADAPTING != 0 { 2 } else { 0 };
    state.extend(std::iter::repeat_n(Row::Shared(0), 1 + currents + adaptation));
    Ok(Description { parameters, input: OFFSET, state, ..Description::default() })
}

/// The parameter rows of a neuron.
fn words(m: &IafPscExp<f64>, setting: &Setting) -> Result<[u32; 21]> {
    let dt = setting.dt;
    positive("c_mem", m.c_mem)?;
    for (name, tau) in
        [("tau_mem", m.tau_mem), ("tau_syn_ex", m.tau_syn_ex), ("tau_syn_in", m.tau_syn_in), ("tau_adapt", m.tau_adapt)]
    {
        time_constant(name, tau, dt)?;
    }
    reset_below(m.v_reset, m.v_threshold)?;
    if m.adapt_increment < 0.0 {
        return Err(Error::invalid("adapt_increment", format!("{} mV; it must not be negative", m.adapt_increment)));
    }
    if setting.planes == 1 && m.tau_syn_ex != m.tau_syn_in {
        let why = format!("{} ms, and tau_syn_ex is {}; different ones need two planes", m.tau_syn_in, m.tau_syn_ex);
        return Err(Error::invalid("tau_syn_in", why));
    }
    let offset = constant_gain(dt, m.tau_mem, m.c_mem) * (m.i_offset + setting.extra);
    let mut words = [0; 21];
    for (at, [high, low]) in [
        (0, coefficient(decay(dt, m.tau_mem))),
        (2, coefficient(current_gain(dt, m.tau_mem, m.tau_syn_ex, m.c_mem))),
        (4, coefficient(current_gain(dt, m.tau_mem, m.tau_syn_in, m.c_mem))),
        (OFFSET.start, coefficient(offset)),
        (8, coefficient(decay(dt, m.tau_syn_ex))),
        (10, coefficient(decay(dt, m.tau_syn_in))),
        (12, pair(m.v_threshold - m.v_rest)),
        (14, pair(m.v_reset - m.v_rest)),
        (17, coefficient(decay(dt, m.tau_adapt))),
        (19, pair(m.adapt_increment)),
    ] {
        (words[at], words[at + 1]) = (high, low);
    }
    words[16] = refractory_steps(m.t_ref, dt)?;
    Ok(words)
}

pub(super) fn row(
    model: &IafPscExp<PerNeuron>,
    variable: NeuronVariable,
    setting: &Setting,
) -> Option<(usize, PerNeuron)> {
    let planes = setting.planes as usize;
    match variable {
        NeuronVariable::V => Some((1, model.v_rest.clone())),
        NeuronVariable::Synaptic if planes == 1 => Some((4, 0.0.into())),
        NeuronVariable::Excitatory if planes == 2 => Some((4, 0.0.into())),
        NeuronVariable::Inhibitory if planes == 2 => Some((6, 0.0.into())),
        NeuronVariable::Recovery if setting.options & ADAPTING != 0 => Some((4 + 2 * planes, 0.0.into())),
        _ => None,
    }
}

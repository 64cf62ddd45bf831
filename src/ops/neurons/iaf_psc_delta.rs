//! Input that jumps the membrane: parameter and state rows of `shaders/iaf_psc_delta.wgsl`.

use super::exact::{
    check, coefficient, constant_gain, decay, is_each, membrane, pair, positive, reset_below, time_constant,
};
use super::{Description, IafPscDelta, NeuronPopulation, NeuronVariable, Row, Setting, compact, rows};
use crate::Result;
use crate::ops::lif::{PerNeuron, refractory_steps};

/// The rows of the constant input.
const OFFSET: std::ops::Range<usize> = 2..4;

pub(super) fn describe(model: &IafPscDelta<PerNeuron>, p: &NeuronPopulation, setting: &Setting) -> Result<Description> {
    let size = p.size as usize;
    let mut each = false;
    model.try_map(|name, v| {
        each |= is_each(v);
        check(name, v, size)
    })?;
    let all = rows(size, each, |i| words(&model.try_map(|_, v| Ok(v.at(i)))?, setting))?;
    let parameters = compact(all, &OFFSET);
    let mut state = membrane(p.v_initial.as_ref(), &model.v_rest, size)?;
    state.push(Row::Shared(0));
    Ok(Description { parameters, input: OFFSET, state, ..Description::default() })
}

/// The parameter rows of a neuron.
fn words(m: &IafPscDelta<f64>, setting: &Setting) -> Result<[u32; 9]> {
    let dt = setting.dt;
    positive("c_mem", m.c_mem)?;
    time_constant("tau_mem", m.tau_mem, dt)?;
    reset_below(m.v_reset, m.v_threshold)?;
    let offset = constant_gain(dt, m.tau_mem, m.c_mem) * (m.i_offset + setting.extra);
    let mut words = [0; 9];
    for (at, [high, low]) in [
        (0, coefficient(decay(dt, m.tau_mem))),
        (OFFSET.start, coefficient(offset)),
        (4, pair(m.v_threshold - m.v_rest)),
        (6, pair(m.v_reset - m.v_rest)),
    ] {
        (words[at], words[at + 1]) = (high, low);
    }
    words[8] = refractory_steps(m.t_ref, dt)?;
    Ok(words)
}

pub(super) fn row(model: &IafPscDelta<PerNeuron>, variable: NeuronVariable) -> Option<(usize, PerNeuron)> {
    match variable {
        NeuronVariable::V => Some((1, model.v_rest.clone())),
        _ => None,
    }
}

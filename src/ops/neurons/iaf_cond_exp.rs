//! Exponential synaptic conductances: the scheme, and the parameter and state rows of `shaders/iaf_cond_exp.wgsl`.
//!
//! With v from rest, x = g·dt/C, e = E − v_rest, and β what decays of a conductance in a step, the membrane follows
//! `v' = b(t) − a(t)·v` with `a = dt/C·g_leak + Σ x` and `b = dt/C·I + Σ x·e`, per step. With `A` and `B` their averages
//! over the step, which are known exactly, and `a₀`, `b₀` at its start, which fall by `Δa = Σ x·β` and `Δb = Σ x·β·e`,
//!
//! `v ← v + φ(A)·(B + (b₀·Δa − a₀·Δb)/12 − A·v)`, `φ(z) = (1 − e^−z)/z`.
//!
//! This is the Magnus expansion to fourth order in the step (Blanes, Casas, Oteo & Ros, Phys. Rep. 470, 2009); its
//! commutator is left out where A is at least 1, where the series says nothing: what is left is of second order and
//! cannot leave the range of the reversal potentials. φ is a Taylor polynomial below 1/2 (1e-8), and doubled by
//! `φ(2y) = φ(y)·(1 − y·φ(y)/2)`: no division and no exponential of the device.

use super::exact::{check, coefficient, decay, is_each, membrane, pair, positive, reset_below, time_constant};
use super::{Description, IafCondExp, NeuronPopulation, NeuronVariable, Row, Setting, compact, rows};
use crate::ops::lif::{PerNeuron, refractory_steps};
use crate::{Error, Result};

/// The row of the constant input.
const OFFSET: std::ops::Range<usize> = 2..3;
/// Largest sum of conductances times dt/C.
const LARGEST: f64 = 1e9;

pub(super) fn describe(model: &IafCondExp<PerNeuron>, p: &NeuronPopulation, setting: &Setting) -> Result<Description> {
    let size = p.size as usize;
    if setting.planes != 2 {
        return Err(Error::invalid("planes", "1; conductances need 2, one for each sign of weights"));
    }
    let mut each = false;
    model.try_map(|name, v| {
        each |= is_each(v);
        check(name, v, size)
    })?;
    let all = rows(size, each, |i| words(&model.try_map(|_, v| Ok(v.at(i)))?, p.exponent, setting))?;
    let parameters = compact(all, &OFFSET);
    let mut state = membrane(p.v_initial.as_ref(), &model.v_rest, size)?;
    state.extend(std::iter::repeat_n(Row::Shared(0), 5));
    Ok(Description { parameters, input: OFFSET, state, ..Description::default() })
}

/// The parameter rows of a neuron.
fn words(m: &IafCondExp<f64>, exponent: i32, setting: &Setting) -> Result<[u32; 16]> {
    let dt = setting.dt;
    positive("c_mem", m.c_mem)?;
    positive("g_leak", m.g_leak)?;
    for (name, tau) in [("tau_syn_ex", m.tau_syn_ex), ("tau_syn_in", m.tau_syn_in)] {
        time_constant(name, tau, dt)?;
    }
    reset_below(m.v_reset, m.v_threshold)?;
    for (name, e) in [("e_ex", m.e_ex), ("e_in", m.e_in)] {
        if e.abs() > 1e6 {
            return Err(Error::invalid(name, format!("{e} mV; at most 1e6")));
        }
    }
    let scale = dt / m.c_mem;
    let (beta_ex, beta_in) = (decay(dt, m.tau_syn_ex), decay(dt, m.tau_syn_in));
    let most = scale * (m.g_leak + 2f64.powi(31 - exponent) / beta_ex.min(beta_in));
    if most > LARGEST {
        let why = format!("{} pF; input could be {most:e} times what discharges it in a step: at most 1e9", m.c_mem);
        return Err(Error::invalid("c_mem", why));
    }
    let one = |x: f64| pair(x)[0];
    let mut words = [0; 16];
    for (at, x) in [
        (0, scale),
        (1, scale * m.g_leak),
        (OFFSET.start, scale * (m.i_offset + setting.extra)),
        (3, m.e_ex - m.v_rest),
        (4, m.e_in - m.v_rest),
        (5, beta_ex * m.tau_syn_ex / dt),
        (6, beta_in * m.tau_syn_in / dt),
    ] {
        words[at] = one(x);
    }
    for (at, [high, low]) in [
        (7, coefficient(beta_ex)),
        (9, coefficient(beta_in)),
        (11, pair(m.v_threshold - m.v_rest)),
        (13, pair(m.v_reset - m.v_rest)),
    ] {
        (words[at], words[at + 1]) = (high, low);
    }
    words[15] = refractory_steps(m.t_ref, dt)?;
    Ok(words)
}

pub(super) fn row(model: &IafCondExp<PerNeuron>, variable: NeuronVariable) -> Option<(usize, PerNeuron)> {
    match variable {
        NeuronVariable::V => Some((1, model.v_rest.clone())),
        NeuronVariable::Excitatory => Some((4, 0.0.into())),
        NeuronVariable::Inhibitory => Some((6, 0.0.into())),
        _ => None,
    }
}

//! Izhikevich's neuron: parameter and state rows of `shaders/izhikevich.wgsl`.
//!
//! With `w = v + 62.5` and `r = u + 62.5·b` the equations are `w' = 0.04·w² − r + (I − 16.25 + 62.5·b)` and
//! `r' = a·(b·w − r)`: the same, without sums of large terms that cancel.
//!
//! A spike comes out of a membrane that runs away, and its time goes into the recovery variable: an error of one place of
//! f32 grows a thousandfold within some spikes, so that after twenty of them a spike may be a step off from what f64
//! gives. Rates and patterns are the same.

use super::exact::{check, coefficient, is_each, pair};
use super::{Description, Izhikevich, NeuronPopulation, NeuronVariable, Setting, compact, rows};
use crate::ops::lif::PerNeuron;
use crate::{Error, Result};

/// The membrane at which its parabola is lowest, and how low that is.
const LOWEST: f64 = -62.5;
const DEPTH: f64 = -16.25;
/// The rows of the constant input.
const OFFSET: std::ops::Range<usize> = 4..6;

pub(super) fn describe(model: &Izhikevich<PerNeuron>, p: &NeuronPopulation, setting: &Setting) -> Result<Description> {
    let size = p.size as usize;
    let mut each = false;
    model.try_map(|name, v| {
        each |= is_each(v);
        check(name, v, size)
    })?;
    let parameters = compact(rows(size, each, |i| words(&model.try_map(|_, v| Ok(v.at(i)))?, setting))?, &OFFSET);
    let start = p.v_initial.as_ref().unwrap_or(&model.c);
    check("v_initial", start, size)?;
    let state = rows(size, is_each(start) || is_each(&model.b), |i| {
        let w = start.at(i) - LOWEST;
        let ([v, v_low], [u, u_low]) = (pair(w), pair(model.b.at(i) * w));
        Ok([v, v_low, u, u_low])
    })?;
    Ok(Description { parameters, input: OFFSET, state, ..Description::default() })
}

/// The parameter rows of a neuron.
fn words(m: &Izhikevich<f64>, setting: &Setting) -> Result<[u32; 16]> {
    let dt = setting.dt;
    if !(0.0..=1.0).contains(&(m.a * dt)) {
        let why = format!("{} per ms in steps of {dt} ms; from 0 to one a step: forward Euler needs that", m.a);
        return Err(Error::invalid("a", why));
    }
    for (name, value, most) in [("b", m.b, 1e3), ("c", m.c, 1e4), ("d", m.d, 1e6), ("v_threshold", m.v_threshold, 1e4)]
    {
        if value.abs() > most {
            return Err(Error::invalid(name, format!("{value}; at most {most:e}")));
        }
    }
    if m.c >= m.v_threshold {
        return Err(Error::invalid("c", format!("{} mV; it must be below the threshold of {} mV", m.c, m.v_threshold)));
    }
    let mut words = [0; 16];
    for (at, [high, low]) in [
        (0, coefficient(0.04 * dt)),
        (2, coefficient(dt)),
        (OFFSET.start, coefficient(dt * (m.i_offset + setting.extra + DEPTH - LOWEST * m.b))),
        (6, coefficient(dt * m.a * m.b)),
        (8, coefficient(dt * m.a)),
        (10, pair(m.v_threshold - LOWEST)),
        (12, pair(m.c - LOWEST)),
        (14, pair(m.d)),
    ] {
        (words[at], words[at + 1]) = (high, low);
    }
    Ok(words)
}

pub(super) fn row(model: &Izhikevich<PerNeuron>, variable: NeuronVariable) -> Option<(usize, PerNeuron)> {
    match variable {
        NeuronVariable::V => Some((1, LOWEST.into())),
        NeuronVariable::Recovery => Some((3, model.b.map(|b| LOWEST * b))),
        _ => None,
    }
}

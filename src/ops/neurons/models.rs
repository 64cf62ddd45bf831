//! Neuron models: their parameters and equations.

use serde::{Deserialize, Serialize};

use crate::Result;

/// Defines the parameters of a model, each of type `V`: a number, one a neuron, or a distribution.
macro_rules! model {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[serde(bound(deserialize = "V: Deserialize<'de> + From<f64>"))]
        pub struct $name<V> {
            $($(#[$field_doc])* pub $field: V,)*
        }

        impl<V: From<f64>> Default for $name<V> {
            fn default() -> Self {
                Self { $($field: V::from($default),)* }
            }
        }

        impl<V> $name<V> {
            /// Every parameter by its name, put through `f`.
            ///
            /// # Errors
            /// The first of `f`.
            pub fn try_map<W>(&self, mut f: impl FnMut(&'static str, &V) -> Result<W>) -> Result<$name<W>> {
                Ok($name { $($field: f(stringify!($field), &self.$field)?,)* })
            }
        }
    };
}

model! {
    /// Leaky integrate-and-fire neurons with exponentially decaying synaptic currents, integrated exactly on the grid of
    /// steps (Rotter & Diesmann, Biol. Cybern. 81, 1999), in the order of operations of NEST's iaf_psc_exp.
    ///
    /// By default the neuron of Potjans & Diesmann, Cereb. Cortex 24 (2014). With `adapt_increment` above zero the
    /// threshold rises with every spike and falls back exponentially.
    IafPscExp {
        /// Capacitance, pF.
        c_mem: 250.0,
        /// Membrane time constant, ms.
        tau_mem: 10.0,
        /// Resting potential, mV.
        v_rest: -65.0,
        /// Threshold, mV.
        v_threshold: -50.0,
        /// Potential after a spike, mV.
        v_reset: -65.0,
        /// Refractory time, ms; rounded to whole steps.
        t_ref: 2.0,
        /// Time constant of excitatory currents, ms.
        tau_syn_ex: 0.5,
        /// Time constant of inhibitory currents, ms.
        tau_syn_in: 0.5,
        /// Constant current, pA.
        i_offset: 0.0,
        /// What a spike adds to the threshold, mV.
        adapt_increment: 0.0,
        /// Time constant of the threshold's adaptation, ms.
        tau_adapt: 100.0,
    }
}

model! {
    /// Leaky integrate-and-fire neurons whose membrane jumps by the weight of each input, in the order of operations of
    /// NEST's iaf_psc_delta; input during refractoriness is lost.
    ///
    /// By default the neuron of Brunel, J. Comput. Neurosci. 8 (2000).
    IafPscDelta {
        /// Capacitance, pF.
        c_mem: 250.0,
        /// Membrane time constant, ms.
        tau_mem: 20.0,
        /// Resting potential, mV.
        v_rest: 0.0,
        /// Threshold, mV.
        v_threshold: 20.0,
        /// Potential after a spike, mV.
        v_reset: 10.0,
        /// Refractory time, ms; rounded to whole steps.
        t_ref: 2.0,
        /// Constant current, pA.
        i_offset: 0.0,
    }
}

model! {
    /// Leaky integrate-and-fire neurons with exponentially decaying synaptic conductances: conductances decay exactly,
    /// the membrane follows them by an exponential method of fourth order, in the order of operations of NEST's
    /// iaf_cond_exp.
    ///
    /// By default the neuron of the conductance-based network of Vogels & Abbott, J. Neurosci. 25 (2005), with the
    /// parameters of Brette et al., J. Comput. Neurosci. 23 (2007).
    IafCondExp {
        /// Capacitance, pF.
        c_mem: 200.0,
        /// Leak conductance, nS.
        g_leak: 10.0,
        /// Resting potential, mV.
        v_rest: -60.0,
        /// Threshold, mV.
        v_threshold: -50.0,
        /// Potential after a spike, mV.
        v_reset: -60.0,
        /// Refractory time, ms; rounded to whole steps.
        t_ref: 5.0,
        /// Reversal potential of excitatory synapses, mV.
        e_ex: 0.0,
        /// Reversal potential of inhibitory synapses, mV.
        e_in: -80.0,
        /// Time constant of excitatory conductances, ms.
        tau_syn_ex: 5.0,
        /// Time constant of inhibitory conductances, ms.
        tau_syn_in: 10.0,
        /// Constant current, pA.
        i_offset: 0.0,
    }
}

model! {
    /// Izhikevich, IEEE Trans. Neural Netw. 14 (2003): `v' = 0.04 v² + 5 v + 140 − u + I`, `u' = a (b v − u)`, by forward
    /// Euler; weights jump the membrane, in mV. By default a regularly spiking cell.
    Izhikevich {
        /// Rate of recovery, 1/ms.
        a: 0.02,
        /// Sensitivity of recovery, 1/ms.
        b: 0.2,
        /// Potential after a spike, mV.
        c: -65.0,
        /// Step of the recovery variable after a spike.
        d: 8.0,
        /// The potential at which a spike is cut off, mV.
        v_threshold: 30.0,
        /// Constant input.
        i_offset: 0.0,
    }
}

//! Point neurons of spiking networks.
//!
//! [`Neurons`] holds the populations of a network; [`Neurons::step`] appends one step of all of them, one dispatch for
//! each kind of model. What a step takes and gives is described at [`Bus`].
//!
//! # Order of operations
//! State at time t = n·dt. In step n, for every neuron: the membrane goes from t to t + dt with the currents of t; the
//! currents decay; the input that arrives at t + dt (slot `n % slots` of the ring, and the drive) is added; the membrane
//! is compared with the threshold. A spike of step n is a spike at time (n + 1)·dt, as in NEST. A neuron whose
//! refractory time is r steps is not integrated in the r steps behind its spike.
//!
//! # Rounding
//! Membranes relative to rest, currents and adaptation are each kept as two f32, x + x', the second what rounding took
//! from the first: `x ← x + (x' + increment)` by an exact two-sum (Knuth, TAOCP 2, 4.2.2). Increments are sums of
//! products with x alone: of `1 − exp(−dt/tau)`, of propagators and of constants, computed in f64 and kept to 36 bits as
//! two f32; so that increments have no systematic error (5e-12 of their size), and results do not hang on the last
//! place of a mathematics library. Input is converted without loss.
//!
//! With u = 2^-24: an increment `P20·I + Σ P21·i − α·v` has at most `u·(5 α|v| + 4 Σ|P21·i| + 3 |P20·I|)` of rounding,
//! and each current `u·(4 β|i| + 2 |input|)` a step; both decay. With R = tau_mem/c_mem the error of v is so at most
//! `u·(5 |v| + 10 R·Σ|i| + 3 R·|I|)`: 2.2e-5 mV where |v|, R·Σ|i| and R·|I| are below 20 mV. Roundings are as often up as
//! down: against f64 3e-6 mV are measured at most.
//!
//! Every operation is rounded by itself on every device, so that all devices have the same bits. States below 1e-15 are
//! zero, and so are coefficients.
//!
//! # Layout
//! A population's neurons are padded with zeros to a multiple of 32. For each kind of model:
//! - `state`: rows of u32 (f32 by their bits), each over all neurons of the kind; row 0 counts spikes.
//! - `table`: tiles of up to 256 neurons, four words each: first neuron, count, population, place in the rows of
//!   `state`. Then for each population: which parameter rows have a value a neuron (bit r), where its lists begin, its
//!   first neuron, `2^-exponent` (f32), and for each parameter row the value, or where its values begin. Then values
//!   and lists.
//!
//! # A further model
//! A shader (`import: grid pin neuron`), its twin (`device/cpu/neuron.rs` does what all share), a line in `kinds!`, a
//! variant of [`NeuronModel`], and a file here whose `describe` gives its parameter rows, its state rows, and which
//! variable is which row.

mod exact;
mod iaf_cond_exp;
mod iaf_psc_delta;
mod iaf_psc_exp;
mod izhikevich;
mod models;
mod sources;

use std::ops::Range;

use super::Bus;
use super::lif::PerNeuron;
use crate::kernel::{self, Dispatch, Tensor};
use crate::recording::Recording;
use crate::{Error, Result};

pub(crate) use exact::rounded;
pub use models::{IafCondExp, IafPscDelta, IafPscExp, Izhikevich};

/// Neurons of a tile.
const TILE: u32 = 256;
/// Words of a tile.
const TILE_WORDS: usize = 4;
/// Words of a population before its parameter rows.
const POPULATION_HEAD: usize = 4;
/// Populations begin at multiples of this.
const ALIGN: u32 = 32;
/// Exponents with which units of input are neither below what a state can hold nor so large that a sum overflows.
const EXPONENTS: std::ops::RangeInclusive<i32> = -30..=48;
/// Elementary operations of a neuron's step.
const OPERATIONS: u64 = 64;

/// A model with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum NeuronModel {
    /// Leaky integrate-and-fire, exponential synaptic currents, integrated exactly.
    IafPscExp(IafPscExp<PerNeuron>),
    /// Leaky integrate-and-fire whose membrane jumps with each input.
    IafPscDelta(IafPscDelta<PerNeuron>),
    /// Leaky integrate-and-fire, exponential synaptic conductances.
    IafCondExp(IafCondExp<PerNeuron>),
    /// Izhikevich's quadratic neuron.
    Izhikevich(Izhikevich<PerNeuron>),
    /// Fires at random: in each step with probability `1 − exp(−rate·dt)`, to 2⁻³².
    PoissonSource {
        /// Spikes/s.
        rate: f64,
        /// The number of its random numbers' stream: sources of one network with different numbers are independent.
        stream: u32,
    },
    /// Fires when told to.
    SpikeSource {
        /// For each neuron the steps of the network in which it fires, ascending; from 0 to 2³² − 2.
        steps: Vec<Vec<u32>>,
    },
}

/// Neurons of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct NeuronPopulation {
    /// Its first neuron, a multiple of 32.
    pub first: u32,
    /// Neurons.
    pub size: u32,
    /// One unit of input is `2^-exponent` pA, mV or nS, as the model takes it; from −30 to 48.
    pub exponent: i32,
    /// Membrane potentials at the start, mV; the resting potential if not given.
    pub v_initial: Option<PerNeuron>,
    /// The model.
    pub model: NeuronModel,
}

/// A state variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeuronVariable {
    /// Membrane potential, mV.
    V,
    /// Excitatory current (pA) or conductance (nS).
    Excitatory,
    /// Inhibitory current (pA) or conductance (nS).
    Inhibitory,
    /// The sum of excitatory and inhibitory currents (pA), where they are kept as one: with one plane.
    Synaptic,
    /// Rise of the threshold (mV) or recovery variable.
    Recovery,
    /// Spikes since the start (u32).
    SpikeCount,
}

/// Where a population's state variable is.
#[derive(Debug, Clone)]
pub struct StateAt {
    /// Holds it, f32 by their bits (u32 for spike counts).
    pub tensor: Tensor<u32>,
    /// The element of the population's first neuron; the others follow.
    pub first: usize,
    /// What is to be added to have the unit of [`NeuronVariable`].
    pub offset: PerNeuron,
}

/// Words to be written into a tensor.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// The tensor, a state.
    pub tensor: Tensor<u32>,
    /// The first element.
    pub first: usize,
    /// The words from there on.
    pub words: Vec<u32>,
}

/// The words of a row: one for all neurons of a population, or one each.
#[derive(Debug, Clone, PartialEq)]
enum Row {
    Shared(u32),
    Each(Vec<u32>),
}

/// A population as its kernel takes it.
#[derive(Debug, Clone, Default)]
struct Description {
    /// Parameter rows in the shader's order, at most 32.
    parameters: Vec<Row>,
    /// Those of them that a change of the constant input changes; beside each other.
    input: Range<usize>,
    /// The state rows behind the spike count.
    state: Vec<Row>,
    /// Words that parameters point into.
    lists: Vec<u32>,
}

/// What a population's description depends on beside the population.
#[derive(Debug, Clone, Copy)]
struct Setting {
    dt: f64,
    planes: u32,
    /// `options` of the whole kind.
    options: u32,
    /// Constant input beside the model's own.
    extra: f64,
}

/// The same, with one word where all are equal; but not in `kept`, whose words will change.
fn compact(rows: Vec<Row>, kept: &Range<usize>) -> Vec<Row> {
    let shared = |(r, row): (usize, Row)| match row {
        Row::Each(words) if !kept.contains(&r) && words.iter().all(|w| *w == words[0]) => Row::Shared(words[0]),
        row => row,
    };
    rows.into_iter().enumerate().map(shared).collect()
}

/// `value(i)` in N rows: shared where no parameter is one a neuron.
fn rows<const N: usize>(size: usize, each: bool, mut value: impl FnMut(usize) -> Result<[u32; N]>) -> Result<Vec<Row>> {
    if !each {
        return Ok(value(0)?.map(Row::Shared).to_vec());
    }
    let mut rows = vec![Vec::with_capacity(size); N];
    for i in 0..size {
        for (row, word) in rows.iter_mut().zip(value(i)?) {
            row.push(word);
        }
    }
    Ok(rows.into_iter().map(Row::Each).collect())
}

/// The kinds of models and their kernels.
macro_rules! kinds {
    ($($kind:ident => $kernel:ident,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Kind {
            $($kind,)*
        }

        impl Kind {
            const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// The name of its kernel.
            fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => kernel::$kernel::KERNEL.name,)*
                }
            }

            fn of(model: &NeuronModel) -> Self {
                match model {
                    $(NeuronModel::$kind { .. } => Kind::$kind,)*
                }
            }
        }

        impl Group {
            fn dispatch(&self, bus: &Bus, drive: Tensor<i32>, k: u32) -> Dispatch {
                match self.kind {
                    $(Kind::$kind => {
                        use kernel::$kernel::{Args, Params, dispatch};
                        let params = Params {
                            k,
                            steps: bus.steps,
                            stride: bus.stride,
                            slots: bus.slots,
                            planes: bus.planes,
                            driven: bus.drive.is_some().into(),
                            neurons: self.neurons,
                            populations: self.tiles * TILE_WORDS as u32,
                            population_words: self.population_words as u32,
                            options: self.options,
                        };
                        let args = Args {
                            clock: bus.clock,
                            table: self.table,
                            state: self.state,
                            ring: bus.ring,
                            drive,
                            raster: bus.raster,
                            spikes: bus.spikes,
                        };
                        dispatch(params, args, self.tiles.into())
                    })*
                }
            }
        }
    };
}

kinds! {
    IafPscExp => iaf_psc_exp,
    IafPscDelta => iaf_psc_delta,
    IafCondExp => iaf_cond_exp,
    Izhikevich => izhikevich,
    PoissonSource => poisson_source,
    SpikeSource => spike_source,
}

impl NeuronPopulation {
    fn describe(&self, setting: &Setting) -> Result<Description> {
        match &self.model {
            NeuronModel::IafPscExp(model) => iaf_psc_exp::describe(model, self, setting),
            NeuronModel::IafPscDelta(model) => iaf_psc_delta::describe(model, self, setting),
            NeuronModel::IafCondExp(model) => iaf_cond_exp::describe(model, self, setting),
            NeuronModel::Izhikevich(model) => izhikevich::describe(model, self, setting),
            NeuronModel::PoissonSource { rate, stream } => sources::poisson(*rate, *stream, self, setting),
            NeuronModel::SpikeSource { steps } => sources::listed(steps, self),
        }
    }

    /// `options` that the population needs of its kind's kernel.
    fn options(&self) -> u32 {
        match &self.model {
            NeuronModel::IafPscExp(model) => iaf_psc_exp::options(model),
            _ => 0,
        }
    }

    /// The state row of a variable, and what is to be added to it.
    fn row(&self, variable: NeuronVariable, setting: &Setting) -> Option<(usize, PerNeuron)> {
        if variable == NeuronVariable::SpikeCount {
            return Some((0, 0.0.into()));
        }
        match &self.model {
            NeuronModel::IafPscExp(model) => iaf_psc_exp::row(model, variable, setting),
            NeuronModel::IafPscDelta(model) => iaf_psc_delta::row(model, variable),
            NeuronModel::IafCondExp(model) => iaf_cond_exp::row(model, variable),
            NeuronModel::Izhikevich(model) => izhikevich::row(model, variable),
            NeuronModel::PoissonSource { .. } | NeuronModel::SpikeSource { .. } => None,
        }
    }

    fn padded(&self) -> usize {
        self.size.next_multiple_of(ALIGN) as usize
    }
}

/// The populations of one kind.
#[derive(Debug, Clone)]
struct Group {
    kind: Kind,
    table: Tensor<u32>,
    state: Tensor<u32>,
    tiles: u32,
    /// Length of a row of `state`.
    neurons: u32,
    population_words: usize,
    options: u32,
}

/// Where a population is in its group.
#[derive(Debug, Clone)]
struct Place {
    group: usize,
    /// Its first neuron in the rows of `state`.
    first: usize,
    /// The words of `table` that the constant input changes.
    input: Option<Range<usize>>,
}

/// Populations of a recording: parameters and state.
#[derive(Debug, Clone)]
pub struct Neurons {
    populations: Vec<NeuronPopulation>,
    places: Vec<Place>,
    groups: Vec<Group>,
    setting: Setting,
    drive: Tensor<i32>,
}

impl Neurons {
    /// Populations at rest, or at their initial potentials, on a grid of steps of `dt` ms.
    ///
    /// # Errors
    /// `InvalidArgument` that names the parameter that is out of its domain, or for populations that overlap or do not
    /// fit the bus.
    pub fn new(rec: &mut Recording, bus: &Bus, dt: f64, populations: &[NeuronPopulation]) -> Result<Self> {
        if !(dt > 0.0 && dt <= 1e3) {
            return Err(Error::invalid("dt", format!("{dt} ms; above 0 and at most 1000")));
        }
        check_places(bus, populations)?;
        let setting = Setting { dt, planes: bus.planes, options: 0, extra: 0.0 };
        let drive = match bus.drive {
            Some(drive) => drive,
            None => rec.constant("no drive", &[0i32])?,
        };
        let mut places: Vec<Option<Place>> = vec![None; populations.len()];
        let mut groups = Vec::new();
        for &kind in Kind::ALL {
            let mut members: Vec<usize> =
                (0..populations.len()).filter(|&i| Kind::of(&populations[i].model) == kind).collect();
            members.sort_by_key(|&i| populations[i].first);
            if members.is_empty() {
                continue;
            }
            let of = |i: &usize| &populations[*i];
            let options = members.iter().fold(0, |options, i| options | of(i).options());
            let setting = Setting { options, ..setting };
            let descriptions =
                members.iter().map(|i| of(i).describe(&setting)).collect::<Result<Vec<Description>>>()?;
            let built: Vec<_> = members.iter().map(of).zip(&descriptions).collect();
            let (table, inputs) = table(&built)?;
            let neurons: usize = built.iter().map(|(p, _)| p.padded()).sum();
            let mut first = 0;
            for ((&i, (p, _)), input) in members.iter().zip(&built).zip(inputs) {
                places[i] = Some(Place { group: groups.len(), first, input });
                first += p.padded();
            }
            groups.push(Group {
                kind,
                table: rec.state(format!("{} parameters", kind.name()), &table)?,
                state: rec.state(format!("{} state", kind.name()), &state(&built, neurons))?,
                tiles: built.iter().map(|(p, _)| p.size.div_ceil(TILE)).sum(),
                neurons: neurons as u32,
                population_words: POPULATION_HEAD + descriptions[0].parameters.len(),
                options,
            });
        }
        let places = places.into_iter().flatten().collect();
        Ok(Self { populations: populations.to_vec(), places, groups, setting, drive })
    }

    /// Appends step `k` of the recording: each neuron takes its input and leaves its spike in `bus.raster` and
    /// `bus.spikes`. Does nothing where the clock says that fewer steps are carried out.
    ///
    /// # Errors
    /// `InvalidArgument` for a step that the recording does not have.
    pub fn step(&self, rec: &mut Recording, bus: &Bus, k: u32) -> Result<()> {
        bus.has(k)?;
        for group in &self.groups {
            let work = OPERATIONS * u64::from(group.neurons);
            rec.dispatch(group.dispatch(bus, self.drive, k).work(work))?;
        }
        Ok(())
    }

    /// What a checkpoint must hold beside the ring, by names that stay the same for the same populations. Parameters
    /// are not among it: they follow from the populations and from [`set_offset`](Self::set_offset).
    pub fn states(&self) -> Vec<(String, Tensor<u32>)> {
        self.groups.iter().map(|g| (format!("{} state", g.kind.name()), g.state)).collect()
    }

    /// Where a variable of a population is; `None` if its model has no such variable.
    pub fn value(&self, population: usize, variable: NeuronVariable) -> Option<StateAt> {
        let (p, place) = (self.populations.get(population)?, self.places.get(population)?);
        let group = &self.groups[place.group];
        let (row, offset) = p.row(variable, &Setting { options: group.options, ..self.setting })?;
        Some(StateAt { tensor: group.state, first: row * group.neurons as usize + place.first, offset })
    }

    /// What must be written between two runs so that a population has `extra` (pA, or as its model has it) of constant
    /// input beside its own from then on.
    ///
    /// # Errors
    /// `InvalidArgument` for a model without constant input, or one that is out of its domain.
    pub fn set_offset(&self, population: usize, extra: f64) -> Result<Rewrite> {
        let (Some(p), Some(place)) = (self.populations.get(population), self.places.get(population)) else {
            let why = format!("population {population} of {}", self.populations.len());
            return Err(Error::invalid("constant input", why));
        };
        let group = &self.groups[place.group];
        let Some(range) = &place.input else {
            let why = format!("{} does not take any", group.kind.name());
            return Err(Error::invalid("constant input", why));
        };
        let described = p.describe(&Setting { options: group.options, extra, ..self.setting })?;
        let mut words = Vec::with_capacity(range.len());
        for row in &described.parameters[described.input] {
            row.write(p.padded(), &mut words);
        }
        Ok(Rewrite { tensor: group.table, first: range.start, words })
    }
}

impl Row {
    /// Appends the word, or the words of all neurons and of their padding.
    fn write(&self, padded: usize, to: &mut Vec<u32>) {
        match self {
            Row::Shared(word) => to.push(*word),
            Row::Each(words) => {
                to.extend(words);
                to.extend(std::iter::repeat_n(0, padded - words.len()));
            }
        }
    }
}

fn check_places(bus: &Bus, populations: &[NeuronPopulation]) -> Result<()> {
    let mut taken: Vec<(u32, u32)> = Vec::new();
    for p in populations {
        let end = p.first.checked_add(p.size);
        if p.size == 0 || !p.first.is_multiple_of(ALIGN) || end.is_none_or(|end| end > bus.stride) {
            let why = format!(
                "{} neurons from {} on; at least one, from a multiple of {ALIGN}, below {}",
                p.size, p.first, bus.stride
            );
            return Err(Error::invalid("population", why));
        }
        if !EXPONENTS.contains(&p.exponent) {
            return Err(Error::invalid("exponent", format!("{}; from -30 to 48", p.exponent)));
        }
        taken.push((p.first, p.size));
    }
    taken.sort_unstable();
    if let Some(pair) = taken.windows(2).find(|w| w[0].0 + w[0].1 > w[1].0) {
        return Err(Error::invalid("population", format!("two of them hold neuron {}", pair[1].0)));
    }
    Ok(())
}

/// Where in a table each population's constant input is.
type Inputs = Vec<Option<Range<usize>>>;

/// The table of a kind.
fn table(built: &[(&NeuronPopulation, &Description)]) -> Result<(Vec<u32>, Inputs)> {
    let mut table: Vec<u32> = Vec::new();
    let mut own = 0;
    for (at, (p, _)) in built.iter().enumerate() {
        for first in (0..p.size).step_by(TILE as usize) {
            table.extend([p.first + first, TILE.min(p.size - first), at as u32, own + first]);
        }
        own += p.padded() as u32;
    }
    let heads = table.len();
    let width = POPULATION_HEAD + built[0].1.parameters.len();
    table.resize(heads + width * built.len(), 0);
    let mut inputs = Vec::new();
    for (at, (p, d)) in built.iter().enumerate() {
        let head = heads + at * width;
        let mut each = 0;
        let mut begins = Vec::new();
        for (r, row) in d.parameters.iter().enumerate() {
            let place = head + POPULATION_HEAD + r;
            match row {
                Row::Shared(word) => {
                    table[place] = *word;
                    begins.push(place);
                }
                Row::Each(_) => {
                    each |= 1 << r;
                    table[place] = table.len() as u32;
                    begins.push(table.len());
                    row.write(p.padded(), &mut table);
                }
            }
        }
        table[head] = each;
        table[head + 1] = table.len() as u32;
        table[head + 2] = p.first;
        table[head + 3] = ((127 - p.exponent) as u32) << 23;
        table.extend(&d.lists);
        inputs.push((!d.input.is_empty()).then(|| {
            let words = if each >> d.input.start & 1 == 1 { p.padded() } else { 1 };
            begins[d.input.start]..begins[d.input.start] + words * d.input.len()
        }));
    }
    if u32::try_from(table.len()).is_err() {
        return Err(Error::invalid("populations", "their parameters and spike times are more than 2^32 words"));
    }
    Ok((table, inputs))
}

/// The initial state of a kind.
fn state(built: &[(&NeuronPopulation, &Description)], neurons: usize) -> Vec<u32> {
    let rows = built[0].1.state.len();
    let mut state = vec![0u32; neurons];
    for r in 0..rows {
        for (p, d) in built {
            let end = state.len() + p.padded();
            match &d.state[r] {
                Row::Shared(word) => state.extend(std::iter::repeat_n(*word, p.size as usize)),
                Row::Each(words) => state.extend(words),
            }
            state.resize(end, 0);
        }
    }
    state
}

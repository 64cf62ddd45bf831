//! The log likelihood of the animal's own position.

use std::time::Instant;

use ndarray::{Array2, ArrayView2, Axis, concatenate};

use super::likelihood::{Beside, LEAST_SPIKES, Placed, check, gather, log_norm, means, place, scaled, time_factor};
use super::model::MOST_INTENSITY;
use super::{EPS, EncodingElectrode, EncodingModel, LikelihoodOptions, LikelihoodPlan, Method, RunReport};
use super::{Spikes, TimeBins, Trajectory};
use crate::device::{Control, Device, Prepared};
use crate::ops::{KdeElectrode, KdeMass};
use crate::recording::Recording;
use crate::{Error, Result};

/// A log likelihood of the animal's own position, planned.
///
/// `ll[t] = Σ_e { Σ_{s in t} ln(rate_e·f_e(x(t_s), m_s)/occ(x(t_s))) − c·rate_e·gpi_e(x(t))/occ(x(t)) }` with f_e the density of
/// position and mark together, x the position interpolated to the spike's time and to the beginning of the time bin; the
/// second term is 0 where occ is. Occupancy and ground-process intensity between the bins come from a lattice, right to
/// 10⁻⁶ of themselves, so that the cost grows with the session and not with its square.
#[derive(Debug)]
pub struct LocalLikelihood {
    device: Device,
    recording: Recording,
    mass: KdeMass,
    prepared: Option<Prepared>,
    plan: LikelihoodPlan,
    /// Scaled marks and positions of all decoding spikes, electrode by electrode (m_e × (D_e + d)).
    points: Vec<Vec<f32>>,
    dims: Vec<usize>,
    placed: Vec<Placed>,
    capacity: usize,
    /// For each of `placed`: ln rate_e − ln Σ w + log norms − ln occ; infinite where the model has nothing.
    constants: Vec<f64>,
    /// For each time bin: −c·Σ_e rate_e·gpi_e/occ.
    baseline: Vec<f64>,
    floor: Option<f64>,
}

impl LocalLikelihood {
    /// Plans it; `trajectory` is the animal's position during the time bins. The lattice is read here.
    ///
    /// # Errors
    /// As [`Likelihood::new`](super::Likelihood::new); `InvalidArgument` for positions of another dimension.
    pub fn new(
        device: &Device,
        model: &EncodingModel,
        bins: &TimeBins,
        spikes: &[Spikes],
        trajectory: &Trajectory,
        options: &LikelihoodOptions,
    ) -> Result<Self> {
        model.check_spikes(spikes)?;
        check(options)?;
        let position_std = model.position_std();
        let d = position_std.len();
        if trajectory.position().ncols() != d {
            let why = format!("{} dimensions, and the model has {d}", trajectory.position().ncols());
            return Err(Error::invalid("decode_position", why));
        }
        if options.method != Method::Exact {
            return Err(Error::invalid("method", "gridded; the local likelihood is always exact"));
        }
        let placed = place(model, bins, spikes);
        let origin: Vec<f64> = model.environment().interior().mean_axis(Axis(0)).map_or_else(Vec::new, |m| m.to_vec());
        let mut encoding = Vec::with_capacity(spikes.len());
        let mut points = Vec::with_capacity(spikes.len());
        let mut places = Vec::with_capacity(spikes.len());
        for (x, e) in spikes.iter().zip(model.electrodes()) {
            let centre: Vec<f64> = means(e.features().view()).into_iter().chain(origin.iter().copied()).collect();
            let std: Vec<f64> = e.waveform_std().iter().chain(position_std).copied().collect();
            let join = |features: &Array2<f32>, positions: ArrayView2<'_, f64>| {
                let features = features.mapv(f64::from);
                let joined = concatenate(Axis(1), &[features.view(), positions]);
                let joined = joined.map_err(|e| Error::Internal(e.to_string()))?;
                Ok::<_, Error>(scaled(joined.iter().copied(), &centre, &std))
            };
            encoding.push(join(e.features(), e.positions().view())?);
            let at = trajectory.at(x.times());
            points.push(join(x.features(), at.view())?);
            places.push(model.local_rates(at.view())?.occupancy);
        }
        let weights: Vec<Vec<f32>> =
            model.electrodes().iter().map(|e| e.weights().iter().map(|w| w.log2() as f32).collect()).collect();
        let dims: Vec<usize> = model.electrodes().iter().map(|e| e.dims() + d).collect();
        let electrodes: Vec<KdeElectrode<'_>> = encoding
            .iter()
            .zip(&dims)
            .zip(&weights)
            .map(|((marks, dims), w)| KdeElectrode {
                marks,
                dims: *dims,
                positions: &[],
                log2_weights: w,
                constant: 0.0,
            })
            .collect();
        let norms: Vec<f64> = model
            .electrodes()
            .iter()
            .map(|e| e.mean_rate().ln() - e.total_weight().ln() + log_norm(e.waveform_std()) + log_norm(position_std))
            .collect();
        let constants = placed.iter().map(|p| {
            let occupancy = places[p.electrode as usize][p.spike as usize];
            if occupancy > 0.0 { norms[p.electrode as usize] - occupancy.ln() } else { f64::INFINITY }
        });
        let factor = time_factor(model, options)?;
        let rates = model.local_rates(trajectory.at(bins.time()).view())?;
        let ratio = |(intensity, occupancy): (&f64, &f64)| {
            if *occupancy > 0.0 { -factor * (intensity / occupancy).min(MOST_INTENSITY) } else { 0.0 }
        };
        let baseline: Vec<f64> = rates.ground_process_intensity.iter().zip(&rates.occupancy).map(ratio).collect();

        let counts: Vec<usize> = model.electrodes().iter().map(EncodingElectrode::len).collect();
        let floats = points.iter().map(Vec::len).sum::<usize>();
        let tables = (floats * 4 + placed.len() * (size_of::<Placed>() + 8) + bins.len() * 16) as u64;
        let beside = Beside::new(device, tables + model.local_bytes() + options.reserved_bytes);
        let (recording, mass, capacity, least_bytes) = fit_mass(device, &electrodes, placed.len(), beside)?;
        let device_plan = recording.plan();
        let host = tables + model.local_bytes() + beside.kept(&recording) + device_plan.output_bytes;
        let plan = LikelihoodPlan {
            method: options.method,
            grid: None,
            local: true,
            n_time: bins.len(),
            n_bins: 1,
            n_spikes: placed.len(),
            n_encoding_spikes: counts.iter().sum(),
            chunks: placed.len().div_ceil(capacity),
            chunk_bins: bins.len(),
            chunk_spikes: capacity,
            dispatches: device_plan.dispatches,
            operations: placed.iter().map(|p| counts[p.electrode as usize] as f64).sum(),
            device_bytes: device_plan.peak_bytes(),
            host_bytes: host,
            output_bytes: bins.len() as u64 * 4,
            counted_bytes: beside.with(&recording),
            least_bytes,
            budget_bytes: device.capabilities().budget_bytes,
        };
        Ok(Self {
            device: device.clone(),
            recording,
            mass,
            prepared: None,
            plan,
            points,
            constants: constants.collect(),
            dims,
            placed,
            capacity,
            baseline,
            floor: options.log_intensity_floor,
        })
    }

    /// Takes a device that was opened again after a loss; runs go on there.
    pub fn move_to(&mut self, device: &Device) {
        if device.generation() != self.device.generation() {
            (self.device, self.prepared) = (device.clone(), None);
        }
    }

    /// What it will take.
    pub fn plan(&self) -> &LikelihoodPlan {
        &self.plan
    }

    /// Computes it (T). Progress is reported in spikes.
    ///
    /// # Errors
    /// As [`Prepared::run`].
    pub fn run(&mut self, control: &Control<'_>) -> Result<(Vec<f32>, RunReport)> {
        let started = Instant::now();
        let mut prepared = match self.prepared.take() {
            Some(prepared) => prepared,
            None => self.device.prepare(&self.recording)?,
        };
        let mut report = RunReport { warmup_ms: started.elapsed().as_secs_f64() * 1e3, ..RunReport::default() };
        let result = self.sum(&mut prepared, (control, started), &mut report);
        self.prepared = Some(prepared);
        report.peak_bytes = self.device.stats().memory.peak_bytes;
        Ok((result?, report))
    }

    fn sum(
        &self,
        prepared: &mut Prepared,
        (control, started): (&Control<'_>, Instant),
        report: &mut RunReport,
    ) -> Result<Vec<f32>> {
        let mut sums = self.baseline.clone();
        let total = self.placed.len() as u64;
        for (at, chunk) in self.placed.chunks(self.capacity).enumerate() {
            let began = Instant::now();
            control.check(started)?;
            let first = at * self.capacity;
            let (points, order) = gather(chunk, &self.points, &self.dims);
            let slices: Vec<&[f32]> = points.iter().map(Vec::as_slice).collect();
            let inputs = self.mass.pack(&slices)?;
            let within = |done: u64, work: u64| {
                control.report(first as u64 + chunk.len() as u64 * done / work.max(1), total);
            };
            let outputs = prepared.run(&inputs.feeds(), &control.rest(started, &within))?;
            let densities = self.mass.log_density(&inputs, |tensor| outputs.get(tensor))?;
            // They come electrode by electrode.
            let mut first_of = vec![0; points.len()];
            for e in 1..points.len() {
                first_of[e] = first_of[e - 1] + points[e - 1].len() / self.dims[e - 1];
            }
            for ((p, constant), [e, s]) in chunk.iter().zip(&self.constants[first..]).zip(&order) {
                let density = densities[first_of[*e as usize] + *s as usize];
                // Infinite where the electrode has no encoding spike, or the place was never visited.
                let nothing = density == f64::NEG_INFINITY || *constant == f64::INFINITY;
                let known = if nothing { EPS.ln() } else { density + constant };
                if !known.is_finite() {
                    return Err(Error::Internal(format!(
                        "the density of a spike of electrode {} is {known}",
                        p.electrode
                    )));
                }
                sums[p.bin] += self.floor.map_or(known, |f| known.max(f));
            }
            if report.chunks == 0 {
                report.first_ms = began.elapsed().as_secs_f64() * 1e3;
            }
            report.likelihood_ms += began.elapsed().as_secs_f64() * 1e3;
            report.chunks += 1;
        }
        Ok(sums.into_iter().map(|s| s as f32).collect())
    }
}

/// The recording of a local likelihood for as many spikes at once as fit what is left of the budget, and the smallest
/// budget for any.
fn fit_mass(
    device: &Device,
    electrodes: &[KdeElectrode<'_>],
    spikes: usize,
    beside: Beside,
) -> Result<(Recording, KdeMass, usize, u64)> {
    let used = device.stats().memory.leased_bytes;
    let limit = device.capabilities().budget_bytes;
    let record = |capacity: usize| {
        let mut recording = device.recording("local log likelihood");
        KdeMass::record(&mut recording, electrodes, capacity).map(|mass| (recording, mass))
    };
    let least = {
        let (recording, _) = record(LEAST_SPIKES)?;
        let needed = beside.with(&recording);
        let least = needed.saturating_add(used);
        if least > limit {
            let (tensor, tensor_bytes) = recording.plan().largest;
            return Err(Error::OverBudget { needed, in_use: used, limit, tensor, tensor_bytes, least: Some(least) });
        }
        least
    };
    let mut capacity = spikes.clamp(LEAST_SPIKES, 1 << 16);
    loop {
        match record(capacity) {
            Ok((recording, mass)) if beside.with(&recording).saturating_add(used) <= limit => {
                return Ok((recording, mass, capacity, least));
            }
            // A tensor that is too long may be shorter in a smaller chunk.
            Ok(_) | Err(Error::Unsupported { .. }) if capacity > LEAST_SPIKES => {}
            Ok(_) => return Err(Error::Internal("the least chunk changed its size".into())),
            Err(error) => return Err(error),
        }
        capacity = (capacity / 2).max(LEAST_SPIKES);
    }
}

//! Which device is faster for a network.

use std::time::{Duration, Instant};

use super::{Network, Projection, Rule, Simulation, SimulationOptions};
use crate::device::{Control, Device};
use crate::{Error, Result};

/// Model time of a trial, in steps.
const TRIAL: u32 = 200;

/// What a trial on two devices found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// Which of the two is faster.
    pub faster: usize,
    /// Time of a step on each; `None` where the network does not fit or cannot run.
    pub step: [Option<Duration>; 2],
}

impl Network {
    /// About how many synapses a projection has; those of SONATA files are not counted.
    fn expected(&self, projection: &Projection) -> f64 {
        let size = |name: &str| self.population(name).map_or(0.0, |p| f64::from(self.populations[p].size));
        let (sources, targets) = (size(&projection.source), size(&projection.target));
        match &projection.rule {
            Rule::AllToAll => sources * targets,
            Rule::OneToOne => sources,
            Rule::FixedTotalNumber(n) => *n as f64,
            Rule::FixedInDegree(k) => targets * f64::from(*k),
            Rule::FixedOutDegree(k) => sources * f64::from(*k),
            Rule::FixedProbability(p) => sources * targets * p,
            Rule::Edges(edges) => edges.sources.len() as f64,
            Rule::Sonata { .. } => 0.0,
        }
    }

    /// About how many synapses it has, without building it; those of SONATA files are not counted.
    pub fn expected_synapses(&self) -> f64 {
        self.projections.iter().map(|p| self.expected(p)).sum()
    }
}

impl Simulation {
    /// Builds the network on two devices, runs a stretch of 200 steps on each, and keeps the faster one, which starts
    /// again from the beginning. Where a device has not the memory or cannot run the network, it is the other one.
    ///
    /// # Errors
    /// As [`Simulation::new`] on the first device, if neither can do it; what befell a device.
    pub fn on_faster(
        devices: [&Device; 2],
        network: &Network,
        options: &SimulationOptions<'_>,
    ) -> Result<(Self, Trial)> {
        let first = Self::tried(devices[0], network, options);
        let first_error = match &first {
            Err(error) if lacks(error) => Some(error.clone()),
            _ => None,
        };
        let first = match first {
            Err(error) if first_error.is_none() => return Err(error),
            result => result.ok(),
        };
        let second = match Self::tried(devices[1], network, options) {
            Ok(second) => Some(second),
            Err(error) if lacks(&error) => None,
            Err(error) => return Err(error),
        };
        let step = [first.as_ref().map(|f| f.1), second.as_ref().map(|s| s.1)];
        match (first, second) {
            (Some((_, a)), Some((second, b))) if b < a => Ok((second, Trial { faster: 1, step })),
            (Some((first, _)), _) => Ok((first, Trial { faster: 0, step })),
            (None, Some((second, _))) => Ok((second, Trial { faster: 1, step })),
            (None, None) => Err(first_error.unwrap_or_else(|| Error::Internal("no device ran the network".into()))),
        }
    }

    /// The simulation at its beginning, and the time of one of its first steps.
    fn tried(device: &Device, network: &Network, options: &SimulationOptions<'_>) -> Result<(Self, Duration)> {
        let mut simulation = Self::new(device, network, options)?;
        let states: Vec<Vec<u32>> = simulation.read_states()?.into_iter().map(|(_, words)| words).collect();
        let mut time = Duration::MAX;
        // The first run brings kernels and memory in.
        for _ in 0..2 {
            simulation.write_states(0, &states)?;
            let started = Instant::now();
            simulation.run(
                f64::from(TRIAL) * network.dt,
                &Control { cancel: options.cancel.clone(), ..Default::default() },
            )?;
            time = started.elapsed() / TRIAL;
        }
        simulation.write_states(0, &states)?;
        Ok((simulation, time))
    }
}

/// Whether the device has too little of something, which another may have.
fn lacks(error: &Error) -> bool {
    matches!(error, Error::OverBudget { .. } | Error::OutOfMemory { .. } | Error::Unsupported { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Choice, DeviceOptions};
    use crate::network::models::{MicrocircuitOptions, microcircuit};

    fn cpu(memory_budget: Option<u64>) -> Device {
        Device::open(&DeviceOptions { memory_budget, threads: Some(1), ..DeviceOptions::new(Choice::Cpu) }).unwrap()
    }

    #[test]
    fn the_faster_device_starts_from_the_beginning() {
        let options =
            MicrocircuitOptions { scale: 0.02, drive: crate::network::models::Drive::Poisson, ..Default::default() };
        let network = microcircuit(&options).unwrap();
        assert_eq!(network.expected_synapses(), 119_548.0);
        let with = SimulationOptions::default();
        let (mut simulation, trial) = Simulation::on_faster([&cpu(None), &cpu(None)], &network, &with).unwrap();
        assert!(trial.step.iter().all(|t| t.is_some_and(|t| t > Duration::ZERO)));
        assert_eq!(trial.faster, usize::from(trial.step[1] < trial.step[0]));
        assert_eq!((simulation.step(), simulation.raster().is_none()), (0, true));
        let mut direct = Simulation::new(&cpu(None), &network, &with).unwrap();
        for simulation in [&mut simulation, &mut direct] {
            simulation.run(50.0, &Control::default()).unwrap();
        }
        assert!(direct.raster().unwrap().spikes() > 10);
        assert_eq!(simulation.raster(), direct.raster());
        assert_eq!(simulation.rates().unwrap(), direct.rates().unwrap());
    }

    #[test]
    fn a_device_without_the_memory_is_passed_over() {
        let options = MicrocircuitOptions { scale: 0.02, ..Default::default() };
        let network = microcircuit(&options).unwrap();
        let with = SimulationOptions::default();
        let (small, large) = (cpu(Some(100_000)), cpu(None));
        for (devices, faster) in [([&small, &large], 1), ([&large, &small], 0)] {
            let (_, trial) = Simulation::on_faster(devices, &network, &with).unwrap();
            assert_eq!((trial.faster, trial.step[1 - faster]), (faster, None));
        }
        let error = Simulation::on_faster([&small, &small], &network, &with).err().unwrap();
        assert!(matches!(error, Error::OverBudget { .. }), "{error}");
    }
}

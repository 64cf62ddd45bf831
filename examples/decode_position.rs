//! Decodes the position of an animal from unsorted spikes, as library calls.
//!
//! ```text
//! cargo run --release --example decode_position [SESSION.npz [DEVICE]]
//! ```
//!
//! Without arguments: the simulated session that comes with the crate. DEVICE is auto (default), cpu, gpu or part of an
//! adapter's name.

use spikewave::decode::state_space::{Model, Observed, Options, Rows, StateSpace};
use spikewave::decode::{
    BinEdges, EncodingModel, FitOptions, Likelihood, LikelihoodOptions, PositionError, Session, TimeBins,
};
use spikewave::device::{Control, Device, DeviceOptions};

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> spikewave::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let session = match args.first() {
        Some(path) => Session::read(path, false)?,
        None => Session::bundled()?,
    };
    let device = Device::open(&DeviceOptions::new(args.get(1).map_or("auto", String::as_str).parse()?))?;
    println!("on {} ({})", device.name(), device.reason());

    // What each electrode's spikes, marks and all, say about position: kernel densities with the reference's bandwidths
    // (6 cm, 24 µV).
    let model =
        EncodingModel::fit(&session.trajectory, &session.encoding, &session.environment, &FitOptions::default())?;

    // The log likelihood of every place in every time bin. All memory is known before anything runs.
    let bins = TimeBins::new(session.time.clone(), BinEdges::HalfOpen, None)?;
    let mut likelihood = Likelihood::new(&device, &model, &bins, &session.decoding, &LikelihoodOptions::default())?;
    let plan = likelihood.plan();
    println!(
        "{} spikes, {} time bins × {} places, {} of memory",
        plan.n_spikes,
        plan.n_time,
        plan.n_bins,
        spikewave::bytes(plan.device_bytes + plan.host_bytes)
    );
    // In memory here; `Likelihood::run` streams chunks of rows to a callback instead.
    let log_likelihood = likelihood.to_array(&Control::default())?;

    // Over time: the animal moves on (a random walk), or its cells jump anywhere (fragmented).
    let space = StateSpace::of_model(Model::ContFrag, model.environment(), None)?;
    let mut rows = Rows::of_array(&log_likelihood)?;
    let posterior = space.posterior(&mut Observed::new(&mut rows), true, &Options::default(), &Control::default())?;

    for (k, state) in space.states().iter().enumerate() {
        let share = posterior.state_probability.column(k).mean().unwrap_or(0.0);
        println!("{:<12} {:4.1} % of the time", state.name, 100.0 * share);
    }
    let truth = session.decode_trajectory.as_ref();
    if let Some(error) = truth.and_then(|t| PositionError::of(t, bins.time(), posterior.mean_position.view())) {
        println!("median error of the mean position: {:.1} cm", error.median_cm);
    }
    Ok(())
}

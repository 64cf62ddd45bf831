//! Leaky integrate-and-fire neurons under rising drive: a raster on the terminal, the same on every device.
//!
//! `cargo run --release --example lif_neuron [DEVICE]`, where DEVICE is auto (default), cpu, gpu or part of a name.

use spikewave::device::{Control, DeviceOptions};
use spikewave::ops::lif::{Drive, Lif, LifParams, Reset, Spikes, spike_words};
use spikewave::{Device, Result};

const NEURONS: usize = 16;
const STEPS: usize = 200;

fn main() -> Result<()> {
    let choice = std::env::args().nth(1).unwrap_or_else(|| "auto".into()).parse()?;
    let device = Device::open(&DeviceOptions::new(choice))?;
    println!("on {}: {NEURONS} neurons, {STEPS} steps of 1 ms", device.name());

    // Millivolts and milliseconds; the drive is current times membrane resistance.
    let params = LifParams {
        dt: 1.0,
        tau_mem: 20.0.into(),
        v_rest: (-65.0).into(),
        v_threshold: (-50.0).into(),
        reset: Reset::To((-70.0).into()),
        t_ref: 5.0.into(),
        ..LifParams::default()
    };
    let drive: Vec<f32> = (0..NEURONS).map(|i| 14.0 + 2.0 * i as f32).collect();

    // Record once; the recording could be run any number of times, and the neurons would go on where they were.
    let mut rec = device.recording("lif_neuron");
    let current = rec.input("drive", NEURONS)?;
    let neurons = Lif::new(&mut rec, NEURONS, &params)?;
    let words = spike_words(NEURONS);
    let spikes = rec.scratch("spikes", STEPS * words)?;
    neurons.run(&mut rec, STEPS, Drive::Constant(current), Spikes::Packed(spikes), None)?;
    rec.download(spikes)?;
    println!("needs {} on the device", spikewave::bytes(rec.plan().peak_bytes()));

    let out = device.prepare(&rec)?.run(&[current.feed(&drive)], &Control::default())?;
    let bits = out.get(spikes)?;
    for (neuron, mv) in drive.iter().enumerate() {
        let fired = |step: usize| bits[step * words + neuron / 32] >> (neuron % 32) & 1 == 1;
        // Two steps a column.
        let raster: String = (0..STEPS / 2).map(|c| if fired(2 * c) || fired(2 * c + 1) { '|' } else { '.' }).collect();
        let rate = (0..STEPS).filter(|&s| fired(s)).count() as f64 * 1e3 / STEPS as f64;
        println!("{mv:4.0} mV {raster} {rate:3.0} Hz");
    }
    Ok(())
}

//! Kernel densities of the clusterless decoder.

use super::Agreement::Within;
use super::{Case, Draft};
use crate::Result;
use crate::device::Feed;
use crate::ops::{GridSpec, Kde, KdeCapacity, KdeElectrode, KdeMass, KdeModel, KdeRows};

/// Dimensions of a mark, decoding spikes, spikes of a time bin, bins of position.
const MARKS: usize = 4;
const SPIKES: usize = 256;
const A_ROW: usize = 8;
const BINS: usize = 128;

pub const KDE: Case = Case {
    name: "kde",
    sizes: &[256, 2048, 16_384],
    unit: "encoding spikes, 256 decoding spikes, 128 bins",
    variants: &["exact", "cubic", "quintic"],
    make: kde,
};
pub const KDE_MASS: Case = Case {
    name: "kde_mass",
    // More would be in several parts on a GPU, and in one on the native path.
    sizes: &[256, 2048],
    unit: "encoding spikes, 256 decoding spikes",
    variants: &["default"],
    make: kde_mass,
};

fn feeds(d: &mut Draft, feeds: &[Feed<'_>]) {
    d.feeds.extend(feeds.iter().map(|feed| (feed.tensor, feed.bytes.to_vec())));
}

fn kde(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    let marks = d.numbers(n * MARKS);
    let scaled = |values: Vec<f32>| -> Vec<f32> { values.into_iter().map(|v| 4.0 * v).collect() };
    let positions = scaled(d.numbers(n));
    let decoding = d.numbers(SPIKES * MARKS);
    let bins: Vec<f32> = (0..BINS).map(|i| (i as f32 - BINS as f32 / 2.0) / 16.0).collect();
    let (bin_constant, baseline) = (d.numbers(BINS), d.numbers(BINS));
    let electrode =
        KdeElectrode { marks: &marks, dims: MARKS, positions: &positions, log2_weights: &[], constant: -20.0 };
    let model = KdeModel {
        electrodes: &[electrode],
        position_dims: 1,
        bins: &bins,
        bin_constant: &bin_constant,
        baseline: &baseline,
        floor: None,
    };
    let rows = SPIKES / A_ROW;
    let capacity = KdeCapacity { spikes: SPIKES, rows };
    let kde = match variant {
        "cubic" => Kde::record_gridded(&mut d.rec, &model, capacity, GridSpec { order: 3, per_sigma: 6.0 })?,
        "quintic" => Kde::record_gridded(&mut d.rec, &model, capacity, GridSpec { order: 5, per_sigma: 3.0 })?,
        _ => Kde::record(&mut d.rec, &model, capacity)?,
    };
    let offsets: Vec<u32> = (0..=rows).map(|row| (row * A_ROW) as u32).collect();
    let order: Vec<[u32; 2]> = (0..SPIKES as u32).map(|s| [0, s]).collect();
    let inputs = kde.pack(&[&decoding], KdeRows { offsets: &offsets, spikes: &order }, None)?;
    feeds(d, &inputs.feeds());
    // The definition's: distances of marks, then a product and a sum for every pair and bin. A grid takes fewer, by how
    // the marks lie: with this count it would seem to compute faster than the device can.
    let operations = if variant == "exact" { SPIKES * n * (3 * MARKS + 1 + 2 * BINS) } else { 0 };
    d.cost(4 * (n * (MARKS + 1) + SPIKES * MARKS + BINS * rows), operations);
    // Twice 8·(5e-6 + 3e-7·|L|) nats, L being about -20 to -40, of rows down to about -200 nats.
    d.downloaded(Within(2e-6));
    Ok(())
}

fn kde_mass(d: &mut Draft, n: usize, _: &str) -> Result<()> {
    let (marks, decoding) = (d.numbers(n * MARKS), d.numbers(SPIKES * MARKS));
    let electrode = KdeElectrode { marks: &marks, dims: MARKS, positions: &[], log2_weights: &[], constant: 0.0 };
    let mass = KdeMass::record(&mut d.rec, &[electrode], SPIKES)?;
    let inputs = mass.pack(&[&decoding])?;
    feeds(d, &inputs.feeds());
    d.cost(4 * (n * MARKS + 2 * SPIKES * MARKS), SPIKES * n * 3 * (MARKS + 1));
    d.downloaded(Within(5e-6));
    Ok(())
}

//! What became slower from one sweep to another.
//!
//! The rule: a point has changed if its median differs by more than the noise, which is the larger of 10 % and three
//! standard deviations of both sweeps together (1.4826 times the median distance from the median, as of normal noise),
//! and if the middle halves of the samples do not overlap. Points are compared by the time of their kernels if both
//! sweeps have it by the same clock, else by the wall clock.
//!
//! That noise is the one between samples that follow each other. How far the machine itself has changed, the ceilings of
//! both sweeps tell, each measured at the start and at the end: by as much as they differ, between the sweeps or within
//! one, a point may differ without a cause of its own, and is unsure. So is a device whose control does not hold.

use std::collections::BTreeMap;
use std::path::Path;

use super::record::{self, Key, Line, Point, Spread, Status};
use super::report::{self, Used, time};
use crate::Result;

/// Smaller changes do not count: all points together were seen 6 % apart in two sweeps of one program on a busy machine.
const LEAST: f64 = 0.1;
/// Standard deviations of noise, and what makes one of a median distance.
const DEVIATIONS: f64 = 3.0;
const NORMAL: f64 = 1.4826;

/// A point in two sweeps.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Change {
    /// The point.
    pub point: String,
    /// Microseconds in the first sweep: median, first and third quartile.
    pub before: [f64; 3],
    /// In the second.
    pub after: [f64; 3],
    /// Median of the second over that of the first.
    pub ratio: f64,
    /// How far from 1 the ratio of points that have not changed may be.
    pub noise: f64,
}

/// Two sweeps.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Comparison {
    /// Points that both sweeps have times of.
    pub compared: usize,
    /// Beyond the noise, the worst first.
    pub slower: Vec<Change>,
    /// Beyond the noise, the best first.
    pub faster: Vec<Change>,
    /// Beyond the noise, but not by more than the machine itself has changed, or on a device whose control does not hold.
    pub unsure: Vec<Change>,
    /// How far the ceilings of each device differ, in the second sweep over the first: copies and multiply-adds.
    pub machine: BTreeMap<String, [f64; 2]>,
    /// The median ratio of all points of each device: how much faster or slower all of it was.
    pub devices: BTreeMap<String, f64>,
    /// Points that were right and are not, and how.
    pub broken: Vec<String>,
    /// Points that were not right and are.
    pub repaired: Vec<String>,
    /// Points only in the first.
    pub only_before: Vec<String>,
    /// Points only in the second.
    pub only_after: Vec<String>,
    /// Drivers, commits and texts of kernels that are not the same.
    pub changed: Vec<String>,
    /// Controls of either that are outside of their band.
    pub untrusted: Vec<String>,
}

/// Matches the points of two folders.
///
/// # Errors
/// `File` for a folder that is none of a sweep.
pub fn compare(before: &Path, after: &Path) -> Result<Comparison> {
    let (a, b) = (record::read(before)?, record::read(after)?);
    let by_key =
        |lines: &'_ [Line]| -> BTreeMap<Key, Point> { record::points(lines).map(|p| (p.key(), p.clone())).collect() };
    let mut comparison = Comparison::default();
    for (folder, lines) in [(before, &a), (after, &b)] {
        for line in lines {
            if let Line::Control(c) = line
                && !c.holds()
            {
                let text = format!("{}: {} at the {}: ratio {:.3}", folder.display(), c.adapter, c.when, c.ratio);
                comparison.untrusted.push(text);
            }
        }
    }
    let machines = machines(&report::devices(&a), &report::devices(&b));
    comparison.machine = machines.iter().filter_map(|(device, m)| Some((title(device), m.ceilings?))).collect();
    let (a, b) = (by_key(&a), by_key(&b));
    let missing = |x: &BTreeMap<Key, Point>, y: &BTreeMap<Key, Point>| -> Vec<String> {
        x.keys().filter(|key| !y.contains_key(key)).map(ToString::to_string).collect()
    };
    comparison.only_before = missing(&a, &b);
    comparison.only_after = missing(&b, &a);
    let mut changed = BTreeMap::new();
    let mut ratios: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (key, p) in &a {
        let Some(q) = b.get(key) else { continue };
        for (what, x, y) in [
            (format!("driver of {}", p.adapter), &p.driver, &q.driver),
            ("wgpu".into(), &p.wgpu, &q.wgpu),
            ("commit".into(), &p.commit, &q.commit),
        ] {
            if x != y {
                changed.insert(what, format!("{x}, then {y}"));
            }
        }
        for k in &p.kernels {
            if q.kernels.iter().any(|l| l.label == k.label && l.hash != k.hash) {
                changed.insert(format!("text of kernel {}", k.label), "another".into());
            }
        }
        if (p.status == Status::Right) != (q.status == Status::Right) {
            let words = |p: &Point| match p.status {
                Status::Right => "right".to_owned(),
                _ => p.detail.clone().unwrap_or_else(|| format!("{:?}", p.status).to_lowercase()),
            };
            let was = p.status == Status::Right;
            let list = if was { &mut comparison.broken } else { &mut comparison.repaired };
            list.push(format!("{key}: {}, then {}", words(p), words(q)));
        }
        let Some((x, y)) = times(p, q) else { continue };
        comparison.compared += 1;
        let device = (p.adapter.clone(), p.build.clone());
        ratios.entry(title(&device)).or_default().push(y.median / x.median);
        if let Some(change) = change(key, &x, &y) {
            let within = machines.get(&device).map_or(1.0, |m| m.within);
            let list = match change.ratio {
                ratio if ratio.max(1.0 / ratio) <= within => &mut comparison.unsure,
                ratio if ratio > 1.0 => &mut comparison.slower,
                _ => &mut comparison.faster,
            };
            list.push(change);
        }
    }
    comparison.unsure.sort_by(|x, y| y.ratio.total_cmp(&x.ratio));
    comparison.slower.sort_by(|x, y| y.ratio.total_cmp(&x.ratio));
    comparison.faster.sort_by(|x, y| x.ratio.total_cmp(&y.ratio));
    let median = |(device, ratios): (String, Vec<f64>)| Some((device, Spread::of(&ratios)?.median));
    comparison.devices = ratios.into_iter().filter_map(median).collect();
    comparison.changed = changed.into_iter().map(|(what, how)| format!("{what}: {how}")).collect();
    Ok(comparison)
}

fn title((name, build): &(String, String)) -> String {
    report::title(name, build)
}

/// What the ceilings and controls say of a device in two sweeps.
struct Machine {
    /// Of the second sweep over the first, where both have them.
    ceilings: Option<[f64; 2]>,
    /// Times that differ by no more than this say nothing.
    within: f64,
}

/// By name and build.
fn machines(before: &[Used], after: &[Used]) -> BTreeMap<(String, String), Machine> {
    let of = |a: &Used| {
        let b = after.iter().find(|b| b.about.name == a.about.name && b.about.build == a.about.build)?;
        let ratio = |x: Option<f64>, y: Option<f64>| Some(y? / x?);
        let copies = ratio(a.about.bandwidth, b.about.bandwidth);
        let sums = ratio(a.about.arithmetic, b.about.arithmetic);
        let apart = [copies, sums].into_iter().flatten().fold(1f64, |most, r| most.max(r).max(1.0 / r));
        let within = if a.controlled && b.controlled { apart.max(a.apart).max(b.apart) } else { f64::INFINITY };
        let ceilings = copies.zip(sums).map(|(x, y)| [x, y]);
        Some(((a.about.name.clone(), a.about.build.clone()), Machine { ceilings, within }))
    };
    before.iter().filter_map(of).collect()
}

/// Of the same kind in both.
fn times(p: &Point, q: &Point) -> Option<(Spread, Spread)> {
    if p.status != Status::Right || q.status != Status::Right {
        return None;
    }
    if p.clock == q.clock
        && let (Some(x), Some(y)) = (p.kernel_us, q.kernel_us)
    {
        return Some((x, y));
    }
    p.wall_us.zip(q.wall_us)
}

/// The change, if it is beyond the noise.
fn change(key: &Key, x: &Spread, y: &Spread) -> Option<Change> {
    let ratio = y.median / x.median;
    let noise = LEAST.max(DEVIATIONS * NORMAL * (x.mad / x.median).hypot(y.mad / y.median));
    let apart = x.q3 < y.q1 || y.q3 < x.q1;
    let beyond = ratio > 1.0 + noise || ratio < 1.0 / (1.0 + noise);
    let three = |s: &Spread| [s.median, s.q1, s.q3];
    (apart && beyond).then(|| Change { point: key.to_string(), before: three(x), after: three(y), ratio, noise })
}

impl Comparison {
    /// Why it cannot be said that nothing became slower or wrong: empty if it can.
    pub fn objections(&self) -> Vec<String> {
        let slower = self.unsure.iter().filter(|c| c.ratio > 1.0).count();
        let counted = [
            (self.slower.len(), "slower"),
            (self.broken.len(), "not right any more"),
            (self.only_before.len(), "only in the first"),
            (slower, "slower by no more than the machine has changed, or on a device whose control does not hold"),
            (self.untrusted.len(), "controls outside of their bands"),
        ];
        let mut all: Vec<String> =
            counted.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if self.compared == 0 {
            all.push("no point has times in both sweeps".into());
        }
        all
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.untrusted {
            text += &format!("NOT TO BE TRUSTED: {line}\n");
        }
        for (what, changes) in [("slower", &self.slower), ("faster", &self.faster), ("unsure", &self.unsure)] {
            for c in changes {
                let all = |[median, q1, q3]: [f64; 3]| format!("{} ({} to {})", time(median), time(q1), time(q3));
                text += &format!(
                    "{what}: {}: {} then, {} now: {:.2} times; apart by chance up to {:.2}\n",
                    c.point,
                    all(c.before),
                    all(c.after),
                    c.ratio,
                    1.0 + c.noise
                );
            }
        }
        for (what, lines) in [
            ("NOT RIGHT ANY MORE", &self.broken),
            ("right again", &self.repaired),
            ("only in the first", &self.only_before),
            ("only in the second", &self.only_after),
            ("changed", &self.changed),
        ] {
            for line in lines {
                text += &format!("{what}: {line}\n");
            }
        }
        for (device, [copies, sums]) in &self.machine {
            text +=
                &format!("the machine: {device}: copies {copies:.2} times as fast, multiply-adds {sums:.2} times\n");
        }
        for (device, ratio) in &self.devices {
            text += &format!("all points of {device}: {ratio:.2} times in the median\n");
        }
        let counts = [(&self.slower, "slower"), (&self.faster, "faster"), (&self.unsure, "unsure")];
        let told: Vec<String> = counts.iter().map(|(list, what)| format!("{} {what}", list.len())).collect();
        text += &format!("{} points compared: {}\n", self.compared, told.join(", "));
        if counts[..2].iter().any(|(list, _)| !list.is_empty()) {
            text += &format!(
                "slower and faster: medians apart by more than {:.0} % and 3 standard deviations, quartiles not overlapping\n",
                100.0 * LEAST
            );
        }
        if !self.unsure.is_empty() {
            text += "unsure: by no more than the machine itself changed, or with a control that does not hold\n";
        }
        text
    }
}

//! Simulated sessions: an animal that runs, place cells that nobody has sorted, and events in which they speak of
//! somewhere else.
//!
//! Every electrode hears a few cells. A cell fires by an inhomogeneous Poisson process whose rate is a Gaussian bump of
//! position; the marks of its spikes scatter about its mean waveform. While the animal rests during decoding, the cells
//! replay a run along the track within a fraction of a second, or fragments of places, as described by E. Denovellis et
//! al., eLife 10 (2021), doi:10.7554/eLife.64505.

use ndarray::Array2;

use super::{Environment, Session, Spikes, Trajectory};
use crate::random::Random;
use crate::{Error, Result};

/// Where the animal runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arena {
    /// To and fro on a linear track of this length in cm, with a rest at either end.
    Track(f64),
    /// Freely in a box of this width and depth in cm.
    Box([f64; 2]),
}

/// What is simulated. The same values give the same session.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulation {
    /// Of the random numbers.
    pub seed: u64,
    /// Where.
    pub arena: Arena,
    /// Width of a place bin, cm.
    pub place_bin_size: f64,
    /// Position samples, and time bins to decode, a second.
    pub sampling_frequency: f64,
    /// Seconds from which the decoder learns.
    pub encoding_s: f64,
    /// Seconds to decode.
    pub decoding_s: f64,
    /// Number of electrodes.
    pub electrodes: usize,
    /// Cells that each of them hears.
    pub cells: usize,
    /// Features of a waveform, one a channel.
    pub features: usize,
    /// Rate in the middle of a place field, Hz.
    pub peak_rate: f64,
    /// Standard deviation of a place field, cm.
    pub field_std: f64,
    /// Whether events are replayed while the animal rests (on a track).
    pub replay: bool,
}

/// What the cells spoke of in an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A run from one end to the other, many times faster than the animal.
    Continuous,
    /// One place after another without order.
    Fragmented,
}

/// A stretch of time in which the cells spoke of somewhere else.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Event {
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
    /// What of.
    pub content: Content,
}

/// Running speed on the track, cm/s.
const SPEED: f64 = 36.0;
/// Rest at an end of the track, s.
const REST: f64 = 1.5;
/// Length of an event, s, and where in a rest it begins.
const EVENT: [f64; 2] = [0.3, 0.6];
/// How many times more the cells fire in an event than in a run.
const EVENT_GAIN: f64 = 5.0;
/// One place in a fragmented event, s.
const FRAGMENT: f64 = 0.03;
/// Rate outside of all fields, Hz.
const BACKGROUND: f64 = 0.1;
/// Scatter of the marks, µV.
const NOISE: f64 = 14.0;
/// Clock of the spikes, Hz; positions and marks have steps of 1/64 cm and 1/8 µV, as amplifiers and cameras have steps.
const CLOCK: f64 = 32768.0;

/// To a step of one part in `parts`.
fn rounded(x: f64, parts: f64) -> f64 {
    (x * parts).round() / parts
}

struct Cell {
    field: Vec<f64>,
    mark: Vec<f64>,
    random: Random,
}

impl Simulation {
    /// The session that comes with the crate.
    pub fn bundled() -> Self {
        Self {
            seed: 20_261_120,
            arena: Arena::Track(180.0),
            place_bin_size: 2.0,
            sampling_frequency: 128.0,
            encoding_s: 80.0,
            decoding_s: 24.0,
            electrodes: 6,
            cells: 3,
            features: 4,
            peak_rate: 16.0,
            field_std: 10.0,
            replay: true,
        }
    }

    fn check(&self) -> Result<()> {
        let sizes: &[f64] = match &self.arena {
            Arena::Track(length) => std::slice::from_ref(length),
            Arena::Box(sides) => sides,
        };
        let positive = [
            ("arena", sizes.iter().copied().fold(f64::INFINITY, f64::min)),
            ("place_bin_size", self.place_bin_size),
            ("sampling_frequency", self.sampling_frequency),
            ("encoding_s", self.encoding_s),
            ("decoding_s", self.decoding_s),
            ("peak_rate", self.peak_rate),
            ("field_std", self.field_std),
        ];
        if let Some((name, value)) = positive.into_iter().find(|(_, v)| !(*v > 0.0 && v.is_finite())) {
            return Err(Error::invalid(name, format!("{value}, must be positive")));
        }
        if self.electrodes == 0 || self.cells == 0 || self.features == 0 {
            return Err(Error::invalid("electrodes, cells or features", "0, must be at least 1"));
        }
        Ok(())
    }

    fn sides(&self) -> Vec<f64> {
        match self.arena {
            Arena::Track(length) => vec![length],
            Arena::Box(sides) => sides.to_vec(),
        }
    }

    /// Where the animal is at each sample, and the beginnings of its rests (s).
    fn run(&self, samples: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
        let mut random = Random::new(self.seed, 0);
        let dt = 1.0 / self.sampling_frequency;
        let mut positions = Vec::with_capacity(samples);
        let mut rests = Vec::new();
        match self.arena {
            Arena::Track(length) => {
                let (mut x, mut direction, mut resting) = (0.0, 1.0, 0.0);
                for k in 0..samples {
                    positions.push(vec![rounded(x, 64.0)]);
                    if resting > 0.0 {
                        resting -= dt;
                        continue;
                    }
                    x += direction * SPEED * (1.0 + 0.25 * random.normal()) * dt;
                    if !(0.0..=length).contains(&x) {
                        x = x.clamp(0.0, length);
                        direction = -direction;
                        resting = REST;
                        rests.push((k + 1) as f64 * dt);
                    }
                }
            }
            Arena::Box(sides) => {
                // Velocity wanders about 0 (an Ornstein–Uhlenbeck process of 1.5 s) and turns at the walls.
                let keep = (-dt / 1.5).exp();
                let kick = SPEED / 2f64.sqrt() * (1.0 - keep * keep).sqrt();
                let mut x = [0.5 * sides[0], 0.5 * sides[1]];
                let mut v = [0.0; 2];
                for _ in 0..samples {
                    positions.push(x.iter().map(|x| rounded(*x, 64.0)).collect());
                    for k in 0..2 {
                        v[k] = keep * v[k] + kick * random.normal();
                        x[k] += v[k] * dt;
                        if !(0.0..=sides[k]).contains(&x[k]) {
                            x[k] = x[k].clamp(0.0, sides[k]);
                            v[k] = -v[k];
                        }
                    }
                }
            }
        }
        (positions, rests)
    }

    fn cells(&self) -> Vec<Vec<Cell>> {
        let mut random = Random::new(self.seed, 1);
        let sides = self.sides();
        let cells = self.electrodes * self.cells;
        (0..self.electrodes)
            .map(|e| {
                (0..self.cells)
                    .map(|c| {
                        // Fields cover a track evenly, and neighbours are heard by different electrodes.
                        let rank = (c * self.electrodes + e) as f64 + 0.5;
                        let field = match sides[..] {
                            [length] => vec![length * (rank + 0.5 * random.normal()) / cells as f64],
                            _ => sides.iter().map(|side| side * random.uniform()).collect(),
                        };
                        let size = 90.0 + 130.0 * random.uniform();
                        let mark = (0..self.features).map(|_| size * (0.15 + 0.85 * random.uniform())).collect();
                        Cell { field, mark, random: Random::new(self.seed, 2 + (e * self.cells + c) as u64) }
                    })
                    .collect()
            })
            .collect()
    }

    /// The session and the events in it.
    ///
    /// # Errors
    /// `InvalidArgument` for a size, a rate or a number that is not positive.
    pub fn session(&self) -> Result<(Session, Vec<Event>)> {
        self.check()?;
        let rate = self.sampling_frequency;
        let (learned, decoded) = ((self.encoding_s * rate) as usize, (self.decoding_s * rate) as usize);
        if learned == 0 || decoded == 0 {
            return Err(Error::invalid("encoding_s or decoding_s", "less than one sample"));
        }
        let (positions, rests) = self.run(learned + decoded);
        let sides = self.sides();
        let begins = learned as f64 / rate;
        let ends = (learned + decoded) as f64 / rate;
        let mut events = Vec::new();
        if self.replay {
            let whole = rests.iter().map(|r| r + EVENT[1]).filter(|t| *t >= begins && t + EVENT[0] <= ends);
            for (i, start) in whole.enumerate() {
                let content = if i % 3 == 2 { Content::Fragmented } else { Content::Continuous };
                events.push(Event { start, end: start + EVENT[0], content });
            }
        }
        // What the cells speak of, and how loudly, at each sample.
        let mut random = Random::new(self.seed, u64::MAX);
        let mut fragment = (usize::MAX, vec![0.0; sides.len()]);
        let spoken: Vec<(Vec<f64>, f64)> = positions
            .iter()
            .enumerate()
            .map(|(k, x)| {
                let t = k as f64 / rate;
                let Some(event) = events.iter().find(|e| (e.start..e.end).contains(&t)) else {
                    return (x.clone(), 1.0);
                };
                let place = match event.content {
                    // Away from where the animal is.
                    Content::Continuous => {
                        let part = (t - event.start) / (event.end - event.start);
                        sides
                            .iter()
                            .zip(x)
                            .map(|(s, x)| if *x < s / 2.0 { s * part } else { s * (1.0 - part) })
                            .collect()
                    }
                    Content::Fragmented => {
                        let number = ((t - event.start) / FRAGMENT) as usize;
                        if fragment.0 != number {
                            fragment = (number, sides.iter().map(|s| s * random.uniform()).collect());
                        }
                        fragment.1.clone()
                    }
                };
                (place, EVENT_GAIN)
            })
            .collect();

        let (mut encoding, mut decoding) = (Vec::new(), Vec::new());
        for cells in self.cells() {
            let (mut times, mut marks) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
            for mut cell in cells {
                for (k, (x, gain)) in spoken.iter().enumerate() {
                    let square: f64 = x.iter().zip(&cell.field).map(|(x, f)| ((x - f) / self.field_std).powi(2)).sum();
                    let firing = gain * self.peak_rate * (-0.5 * square).exp() + BACKGROUND;
                    // At most one spike a sample of a cell: it has to recover.
                    if cell.random.uniform() >= 1.0 - (-firing / rate).exp() {
                        continue;
                    }
                    let t = ((k as f64 + cell.random.uniform()) / rate * CLOCK).floor() / CLOCK;
                    let part = usize::from(k >= learned);
                    times[part].push(t);
                    let mark = cell.mark.iter().map(|m| rounded(m + NOISE * cell.random.normal(), 8.0) as f32);
                    marks[part].extend(mark);
                }
            }
            for (times, marks, into) in times
                .into_iter()
                .zip(marks)
                .zip([&mut encoding, &mut decoding])
                .map(|((times, marks), into)| (times, marks, into))
            {
                let marks = Array2::from_shape_vec((times.len(), self.features), marks)
                    .map_err(|e| Error::Internal(e.to_string()))?;
                into.push(Spikes::sorted(times, marks)?);
            }
        }

        let table =
            |rows: &[Vec<f64>]| Array2::from_shape_fn((rows.len(), sides.len()), |(row, column)| rows[row][column]);
        let times = |from: usize, to: usize| (from..to).map(|k| k as f64 / rate).collect::<Vec<f64>>();
        let time = times(learned, learned + decoded);
        let counts: Vec<usize> = sides.iter().map(|s| (s / self.place_bin_size).ceil().max(1.0) as usize).collect();
        let bins: usize = counts.iter().product();
        let centers = Array2::from_shape_fn((bins, sides.len()), |(bin, axis)| {
            let below: usize = counts[axis + 1..].iter().product();
            ((bin / below % counts[axis]) as f64 + 0.5) * self.place_bin_size
        });
        let session = Session {
            trajectory: Trajectory::new(times(0, learned), table(&positions[..learned]))?,
            weights: None,
            environment: Environment::new(centers, vec![true; bins])?,
            encoding,
            decoding,
            time: time.clone(),
            position_std: Some(vec![6.0]),
            waveform_std: Some(vec![24.0]),
            decode_trajectory: Some(Trajectory::new(time, table(&positions[learned..]))?),
            exact_log_likelihood: None,
            reference_log_likelihood: None,
            reference_local_log_likelihood: None,
            left_out: Vec::new(),
        };
        Ok((session, events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_session_is_what_the_simulation_makes() {
        let (made, events) = Simulation::bundled().session().unwrap();
        assert_eq!(Session::bundled().unwrap(), made);
        assert!(events.len() >= 2, "{events:?}");
        assert!(events.iter().any(|e| e.content == Content::Continuous));
        assert!(events.iter().all(|e| e.start >= made.time[0] && e.end <= made.time[made.time.len() - 1]));
        let bytes = std::fs::metadata(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/decode/simulated_session.npz"));
        assert!(bytes.unwrap().len() < 200_000);
    }

    #[test]
    fn cells_fire_at_their_rate_in_their_field() {
        let simulation = Simulation { electrodes: 1, cells: 1, encoding_s: 400.0, ..Simulation::bundled() };
        let (session, _) = simulation.session().unwrap();
        let field = simulation.cells()[0][0].field[0];
        let expected: f64 = session
            .trajectory
            .position()
            .iter()
            .map(|x| {
                let z = (x - field) / simulation.field_std;
                let rate = simulation.peak_rate * (-0.5 * z * z).exp() + BACKGROUND;
                1.0 - (-rate / simulation.sampling_frequency).exp()
            })
            .sum();
        let found = session.encoding[0].len() as f64;
        assert!((found - expected).abs() < 4.0 * expected.sqrt(), "{found} spikes, {expected} expected");
        let at = session.trajectory.at(session.encoding[0].times());
        let inside = at.iter().filter(|x| (*x - field).abs() < 3.0 * simulation.field_std).count() as f64;
        assert!(inside > 0.8 * found);
    }

    #[test]
    fn a_box_has_two_dimensions_and_stays_in_its_walls() {
        let simulation = Simulation { arena: Arena::Box([60.0, 40.0]), ..Simulation::bundled() };
        let (session, events) = simulation.session().unwrap();
        assert_eq!(session.environment.place_bin_centers().dim(), (30 * 20, 2));
        assert!(events.is_empty());
        let x = session.trajectory.position();
        assert!(
            x.column(0).iter().all(|x| (0.0..=60.0).contains(x))
                && x.column(1).iter().all(|y| (0.0..=40.0).contains(y))
        );
        let spread =
            x.column(1).iter().fold(0.0f64, |m, y| m.max(*y)) - x.column(1).iter().fold(40.0f64, |m, y| m.min(*y));
        assert!(spread > 30.0, "{spread}");
        assert!(Simulation { cells: 0, ..Simulation::bundled() }.session().is_err());
        assert!(Simulation { decoding_s: f64::NAN, ..Simulation::bundled() }.session().is_err());
    }
}

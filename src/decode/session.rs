//! A recording session as a file: where the animal was, what the electrodes heard, and which times are to be decoded.

use std::path::Path;

use ndarray::Array2;

use super::{BinEdges, Environment, Spikes, TimeBins, Trajectory};
use crate::io::Fingerprint;
use crate::io::npz::{self, Npz};
use crate::{Error, Result};

/// All that a decoder needs.
///
/// In an NPZ file: `position_time` (n), `position` (n × d), `place_bin_centers` (bins × d), `is_track_interior` (bins),
/// `time` (T), and for every electrode e = 0, 1, … `encoding_spike_times_e` (n), `encoding_marks_e` (n × D),
/// `decoding_spike_times_e` and `decoding_marks_e`; times in seconds, positions in cm, marks in µV. It may hold
/// `position_std` and `waveform_std` (one number or one a dimension), `weights` (one a position sample),
/// `decode_position_time` and `decode_position`, where the animal was while it is decoded, and
/// `exact_log_likelihood`, `reference_log_likelihood` (T × bins on the track) and `reference_local_log_likelihood`
/// (T × 1), to compare with. A table of one column may have one dimension; numbers may have any NumPy type that holds
/// them.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Where the animal was while the encoding spikes were recorded.
    pub trajectory: Trajectory,
    /// One weight a position sample, where there are some.
    pub weights: Option<Vec<f64>>,
    /// The places that are decoded.
    pub environment: Environment,
    /// Spikes to learn from, by electrode.
    pub encoding: Vec<Spikes>,
    /// Spikes to decode, by electrode.
    pub decoding: Vec<Spikes>,
    /// Beginnings of the time bins to decode, seconds.
    pub time: Vec<f64>,
    /// Bandwidth in position, cm: one, or one a dimension.
    pub position_std: Option<Vec<f64>>,
    /// Bandwidth of the marks, µV: one, or one a dimension.
    pub waveform_std: Option<Vec<f64>>,
    /// Where the animal was in truth while the decoding spikes were recorded.
    pub decode_trajectory: Option<Trajectory>,
    /// The log likelihood that an exact computation gives (T × P).
    pub exact_log_likelihood: Option<Array2<f64>>,
    /// The log likelihood that the reference gives (T × P).
    pub reference_log_likelihood: Option<Array2<f64>>,
    /// The local log likelihood that the reference gives (T × 1).
    pub reference_local_log_likelihood: Option<Array2<f64>>,
    /// Why arrays to compare with were left out, a sentence each: they are damaged or of another shape.
    pub left_out: Vec<String>,
}

/// The largest mark that is believed. Kernels take marks up to 10¹⁵ standard deviations.
const LARGEST_MARK: f32 = 1e12;

/// The names that are numbered by electrode.
const BY_ELECTRODE: [&str; 4] =
    ["encoding_spike_times_", "encoding_marks_", "decoding_spike_times_", "decoding_marks_"];

/// Turns a refused value into a sentence about the array that holds it.
fn about<T>(npz: &Npz, result: Result<T>, name: impl Fn(&str) -> String) -> Result<T> {
    result.map_err(|e| match e {
        Error::InvalidArgument { what, why } => npz.error(format_args!("array \"{}\": {why}", name(&what))),
        other => other,
    })
}

/// An array that may be missing.
fn optional<T>(npz: &mut Npz, name: &str, read: impl FnOnce(&mut Npz, &str) -> Result<T>) -> Result<Option<T>> {
    if npz.has(name) { read(npz, name).map(Some) } else { Ok(None) }
}

/// The number of electrodes, whose names must be numbered from 0 without a gap.
fn electrodes(npz: &Npz) -> Result<usize> {
    let mut numbers: Vec<(usize, &str)> = Vec::new();
    for name in npz.names() {
        let number = BY_ELECTRODE.iter().find_map(|prefix| name.strip_prefix(prefix));
        let Some(number) = number else { continue };
        // "01" or "x" belongs to no electrode.
        match number.parse::<usize>() {
            Ok(n) if n.to_string() == number => numbers.push((n, name)),
            _ => return Err(npz.error(format_args!("array \"{name}\" has no electrode's number: 0, 1, 2, …"))),
        }
    }
    numbers.sort_unstable();
    let mut expected = 0;
    for (number, name) in numbers {
        if number > expected {
            let why = format!(
                "has \"{name}\" and nothing of electrode {expected}; electrodes are numbered 0, 1, 2, … without a gap"
            );
            return Err(npz.error(why));
        }
        expected = number + 1;
    }
    Ok(expected)
}

/// Standard deviations: one, or one a dimension, each positive.
fn bandwidth(npz: &mut Npz, name: &str) -> Result<Vec<f64>> {
    let array = npz.array::<f64>(name)?;
    if array.ndim() > 1 || array.is_empty() {
        let why = format!("array \"{name}\" has the shape {:?}; one number, or one a dimension", array.shape());
        return Err(npz.error(why));
    }
    if let Some(bad) = array.iter().find(|x| !(**x > 0.0 && x.is_finite())) {
        return Err(npz.error(format_args!("array \"{name}\" has {bad:?}; a standard deviation must be positive")));
    }
    Ok(array.iter().copied().collect())
}

/// A trajectory, and those of its weights whose position is known.
fn trajectory(npz: &mut Npz, prefix: &str, weights: Option<Vec<f64>>) -> Result<(Trajectory, Option<Vec<f64>>)> {
    let time = npz.vector::<f64>(&format!("{prefix}position_time"))?;
    let position = npz.matrix::<f64>(&format!("{prefix}position"))?;
    let weights = match weights {
        Some(weights) if weights.len() != time.len() => {
            let why = format!("array \"weights\" has {} values for {} position samples", weights.len(), time.len());
            return Err(npz.error(why));
        }
        // A trajectory leaves out the samples whose position is not known.
        Some(weights) if position.nrows() == weights.len() => {
            let known = weights.into_iter().zip(position.rows()).filter(|(_, p)| !p.iter().any(|x| x.is_nan()));
            Some(known.map(|(w, _)| w).collect())
        }
        other => other,
    };
    let trajectory = about(npz, Trajectory::new(time, position), |what| format!("{prefix}{what}"))?;
    Ok((trajectory, weights))
}

/// The spikes of one electrode.
fn spikes(npz: &mut Npz, kind: &str, electrode: usize, sort: bool) -> Result<Spikes> {
    let (times_name, marks_name) = (format!("{kind}_spike_times_{electrode}"), format!("{kind}_marks_{electrode}"));
    let times = npz.vector::<f64>(&times_name)?;
    let marks = npz.matrix::<f32>(&marks_name)?;
    let spikes = if sort { Spikes::sorted(times, marks) } else { Spikes::new(times, marks) };
    let spikes =
        about(npz, spikes, |what| if what == "spike_times" { times_name.clone() } else { marks_name.clone() })?;
    if let Some(((row, column), value)) = spikes.features().indexed_iter().find(|(_, v)| v.abs() > LARGEST_MARK) {
        let why = format!("feature {column} of spike {row} is {value:e}, which is no waveform's");
        return Err(npz.error(format_args!("array \"{marks_name}\": {why}; remove the spike or repair it")));
    }
    Ok(spikes)
}

/// A table of so many rows and columns to compare with; the result does not depend on it, so that one which cannot be
/// used is left out.
fn comparison(
    npz: &mut Npz,
    name: &str,
    (rows, columns): (usize, usize),
    left_out: &mut Vec<String>,
) -> Option<Array2<f64>> {
    let table = optional(npz, name, |npz, name| npz.matrix::<f64>(name)).and_then(|table| match table {
        Some(table) if table.dim() != (rows, columns) => {
            let shape = table.shape();
            let why = format!("array \"{name}\" has the shape {shape:?} for {rows} time bins of {columns} values each");
            Err(npz.error(why))
        }
        other => Ok(other),
    });
    table.unwrap_or_else(|error| {
        left_out.push(format!("{error}; nothing is compared with it"));
        None
    })
}

impl Session {
    /// Reads a session; `sort_spikes` brings the spikes of each electrode into order of time, which is an error without.
    ///
    /// # Errors
    /// `File` with one sentence that names the array: one is missing (the names that there are, are listed), has another
    /// type or shape than it must, disagrees with another, or holds what cannot be used. Arrays to compare with are then
    /// left out ([`Self::left_out`]).
    pub fn read(path: impl AsRef<Path>, sort_spikes: bool) -> Result<Self> {
        Self::from_npz(Npz::open(path)?, sort_spikes)
    }

    /// The simulated session that comes with the crate: a rat on a linear track, which dreams of running at its ends.
    ///
    /// # Errors
    /// None, unless the crate is damaged.
    pub fn bundled() -> Result<Self> {
        let bytes: &'static [u8] = include_bytes!("../../assets/decode/simulated_session.npz");
        Self::from_npz(Npz::from_bytes("simulated_session.npz", bytes)?, false)
    }

    /// Bytes of its arrays.
    pub fn bytes(&self) -> u64 {
        let spikes = |x: &Spikes| x.len() * size_of::<f64>() + x.features().len() * size_of::<f32>();
        let path = |t: &Trajectory| (t.time().len() + t.position().len()) * size_of::<f64>();
        let tables = [&self.exact_log_likelihood, &self.reference_log_likelihood, &self.reference_local_log_likelihood];
        let floats = self.time.len()
            + self.weights.as_ref().map_or(0, Vec::len)
            + self.environment.place_bin_centers().len()
            + tables.into_iter().flatten().map(|t| t.len()).sum::<usize>();
        let spikes: usize = self.encoding.iter().chain(&self.decoding).map(spikes).sum();
        (spikes + path(&self.trajectory) + self.decode_trajectory.as_ref().map_or(0, path) + floats * size_of::<f64>())
            as u64
    }

    /// As [`Self::read`] from a file that is open.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_npz(mut npz: Npz, sort_spikes: bool) -> Result<Self> {
        let npz = &mut npz;
        let weights = optional(npz, "weights", |npz, name| npz.vector::<f64>(name))?;
        if let Some(bad) = weights.iter().flatten().find(|w| !(**w >= 0.0 && w.is_finite())) {
            return Err(npz.error(format_args!("array \"weights\" has {bad:?}; a weight is 0 or more")));
        }
        let (trajectory, weights) = self::trajectory(npz, "", weights)?;
        let centers = npz.matrix::<f64>("place_bin_centers")?;
        let interior = npz.vector::<bool>("is_track_interior")?;
        let environment = about(npz, Environment::new(centers, interior), str::to_owned)?;
        let dims = environment.dims();
        let same_dims = |npz: &Npz, name: &str, trajectory: &Trajectory| {
            let found = trajectory.position().ncols();
            let why = format!("array \"{name}\" has {found} columns and \"place_bin_centers\" has {dims}");
            if found == dims { Ok(()) } else { Err(npz.error(why)) }
        };
        same_dims(npz, "position", &trajectory)?;
        let time = npz.vector::<f64>("time")?;
        if time.is_empty() {
            return Err(npz.error("array \"time\" is empty; it holds the beginning of every time bin to decode"));
        }
        about(npz, TimeBins::new(time.clone(), BinEdges::HalfOpen, None), str::to_owned)?;

        let count = electrodes(npz)?;
        // Without an electrode this asks for the first one's array, and says which ones there are.
        let mut encoding = Vec::new();
        let mut decoding = Vec::new();
        for e in 0..count.max(1) {
            let [learn, decode] = ["encoding", "decoding"].map(|kind| spikes(npz, kind, e, sort_spikes));
            let (learn, decode) = (learn?, decode?);
            let (ours, theirs) = (learn.features().ncols(), decode.features().ncols());
            if ours != theirs {
                let why = format!(
                    "array \"decoding_marks_{e}\" has {theirs} columns and \"encoding_marks_{e}\" has {ours}; \
                     the marks of one electrode have one dimension"
                );
                return Err(npz.error(why));
            }
            encoding.push(learn);
            decoding.push(decode);
        }
        if encoding.iter().all(Spikes::is_empty) {
            return Err(npz.error("has no encoding spike on any electrode; there is nothing to learn from"));
        }

        let position_std = optional(npz, "position_std", bandwidth)?;
        if let Some(n) = position_std.as_ref().map(Vec::len).filter(|n| *n != 1 && *n != dims) {
            let why =
                format!("array \"position_std\" has {n} values for {dims} dimensions of position; one, or {dims}");
            return Err(npz.error(why));
        }
        let waveform_std = optional(npz, "waveform_std", bandwidth)?;
        if let Some(n) = waveform_std.as_ref().map(Vec::len).filter(|n| *n != 1)
            && let Some(e) = encoding.iter().position(|s| s.features().ncols() != n)
        {
            let has = encoding[e].features().ncols();
            let why = format!(
                "array \"waveform_std\" has {n} values and \"encoding_marks_{e}\" has {has} columns; one, or one a column"
            );
            return Err(npz.error(why));
        }
        let decode_trajectory = if npz.has("decode_position") || npz.has("decode_position_time") {
            let (truth, _) = self::trajectory(npz, "decode_", None)?;
            same_dims(npz, "decode_position", &truth)?;
            Some(truth)
        } else {
            None
        };
        let (rows, columns) = (time.len(), environment.n_interior());
        let mut left_out = Vec::new();
        let mut compared = |name, columns| comparison(npz, name, (rows, columns), &mut left_out);
        Ok(Self {
            exact_log_likelihood: compared("exact_log_likelihood", columns),
            reference_log_likelihood: compared("reference_log_likelihood", columns),
            reference_local_log_likelihood: compared("reference_local_log_likelihood", 1),
            left_out,
            trajectory,
            weights,
            environment,
            encoding,
            decoding,
            time,
            position_std,
            waveform_std,
            decode_trajectory,
        })
    }

    /// Writes the session as an NPZ file, whole or not at all.
    ///
    /// # Errors
    /// `File` if it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        npz::write(path, |file| {
            let vector =
                |file: &mut npz::Writer<'_>, name: &str, values: &[f64]| file.array(name, &[values.len()], values);
            vector(file, "position_time", self.trajectory.time())?;
            file.ndarray("position", self.trajectory.position())?;
            file.ndarray("place_bin_centers", self.environment.place_bin_centers())?;
            let interior = self.environment.is_track_interior();
            file.array("is_track_interior", &[interior.len()], interior)?;
            vector(file, "time", &self.time)?;
            for (name, std) in [("position_std", &self.position_std), ("waveform_std", &self.waveform_std)] {
                match std.as_deref() {
                    Some([one]) => file.array(name, &[], &[*one])?,
                    Some(many) => vector(file, name, many)?,
                    None => {}
                }
            }
            if let Some(weights) = &self.weights {
                vector(file, "weights", weights)?;
            }
            for (kind, electrodes) in [("encoding", &self.encoding), ("decoding", &self.decoding)] {
                for (e, spikes) in electrodes.iter().enumerate() {
                    vector(file, &format!("{kind}_spike_times_{e}"), spikes.times())?;
                    file.ndarray(&format!("{kind}_marks_{e}"), spikes.features())?;
                }
            }
            if let Some(truth) = &self.decode_trajectory {
                vector(file, "decode_position_time", truth.time())?;
                file.ndarray("decode_position", truth.position())?;
            }
            for (name, table) in [
                ("exact_log_likelihood", &self.exact_log_likelihood),
                ("reference_log_likelihood", &self.reference_log_likelihood),
                ("reference_local_log_likelihood", &self.reference_local_log_likelihood),
            ] {
                if let Some(table) = table {
                    file.ndarray(name, table)?;
                }
            }
            Ok(())
        })
    }

    /// A sign of all that a decoded result depends on, but not of what it is compared with.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut sign = Fingerprint::default();
        let mut table = |values: &Array2<f64>| {
            sign.number(values.ncols() as u64);
            values.iter().for_each(|v| sign.number(v.to_bits()));
        };
        table(self.trajectory.position());
        table(self.environment.place_bin_centers());
        if let Some(truth) = &self.decode_trajectory {
            table(truth.position());
            sign.f64s(truth.time());
        }
        sign.f64s(self.trajectory.time());
        self.environment.is_track_interior().iter().for_each(|inside| sign.word(u32::from(*inside)));
        sign.f64s(&self.time);
        for list in [&self.position_std, &self.waveform_std, &self.weights] {
            sign.f64s(list.as_deref().unwrap_or(&[]));
        }
        for spikes in self.encoding.iter().chain(&self.decoding) {
            sign.f64s(spikes.times());
            sign.number(spikes.features().ncols() as u64);
            spikes.features().iter().for_each(|v| sign.word(v.to_bits()));
        }
        sign
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::simulate::{Arena, Simulation};

    fn small() -> Session {
        let simulation = Simulation {
            arena: Arena::Box([40.0, 30.0]),
            encoding_s: 10.0,
            decoding_s: 2.0,
            electrodes: 2,
            ..Simulation::bundled()
        };
        simulation.session().unwrap().0
    }

    #[test]
    fn a_session_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.npz");
        let mut session = small();
        session.weights = Some((0..session.trajectory.time().len()).map(|i| i as f64 / 7.0).collect());
        session.waveform_std = Some(vec![24.0, 20.0, 22.0, 1e-3]);
        let (t, p) = (session.time.len(), session.environment.n_interior());
        session.exact_log_likelihood = Some(Array2::from_elem((t, p), -1.5));
        session.reference_local_log_likelihood = Some(Array2::from_elem((t, 1), -2.5));
        session.write(&path).unwrap();
        let back = Session::read(&path, false).unwrap();
        assert_eq!(back, session);
        assert_eq!(back.fingerprint(), session.fingerprint());
        for changed in [
            Session { position_std: None, ..session.clone() },
            Session { time: session.time[1..].to_vec(), ..session.clone() },
            Session { decoding: session.encoding.clone(), encoding: session.decoding.clone(), ..session.clone() },
        ] {
            assert_ne!(changed.fingerprint(), session.fingerprint());
        }
        let compared = Session { exact_log_likelihood: None, ..session.clone() };
        assert_eq!(compared.fingerprint(), session.fingerprint());
    }

    #[test]
    fn weights_stay_with_their_samples_where_positions_are_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.npz");
        let session = small();
        npz::write(&path, |file| {
            file.array("position_time", &[4], &[0.0, 1.0, 2.0, 3.0])?;
            file.array("position", &[4, 2], &[1.0f32, 1.0, f32::NAN, 1.0, 3.0, 3.0, 4.0, 4.0])?;
            file.array("weights", &[4], &[1i32, 2, 3, 4])?;
            file.ndarray("place_bin_centers", session.environment.place_bin_centers())?;
            let interior = session.environment.is_track_interior();
            file.array("is_track_interior", &[interior.len()], interior)?;
            file.array("time", &[2], &[0.0, 1.0])?;
            for kind in ["encoding", "decoding"] {
                file.array(&format!("{kind}_spike_times_0"), &[2], &[1.5, 0.5])?;
                file.array(&format!("{kind}_marks_0"), &[2], &[10.0, 20.0])?;
            }
            Ok(())
        })
        .unwrap();
        assert!(Session::read(&path, false).unwrap_err().to_string().contains("\"encoding_spike_times_0\": number 1"));
        let read = Session::read(&path, true).unwrap();
        assert_eq!(read.weights.as_deref(), Some(&[1.0, 3.0, 4.0][..]));
        assert_eq!(read.trajectory.time(), [0.0, 2.0, 3.0]);
        assert_eq!(read.encoding[0].times(), [0.5, 1.5]);
        assert_eq!(read.encoding[0].features().column(0).to_vec(), [20.0, 10.0]);
    }
}

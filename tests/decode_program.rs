//! `spikewave decode` as its users meet it: results, files, bad sessions, interruptions.

#[path = "common/data.rs"]
mod data;
#[path = "common/program.rs"]
mod program;

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use program::{adapters, assert_png, command, has_keys, listed, number, run, run_command, text};
use serde_json::Value;
use spikewave::decode::simulate::{Arena, Content, Simulation};
use spikewave::io::npy::{self, Element};
use spikewave::io::npz::{self, Npz};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/decode/simulated_session.npz");

/// Arguments of a run on the native path.
fn decode<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["decode", "--device", "cpu"][..], args].concat()
}

/// An NPY file in memory.
fn array<T: Element>(shape: &[usize], values: &[T]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    npy::write(&path, shape, values).unwrap();
    std::fs::read(path).unwrap()
}

/// The bundled session with members replaced, added (`Some`) or left out (`None`).
fn changed(folder: &TempDir, name: &str, changes: &[(&str, Option<Vec<u8>>)]) -> PathBuf {
    let mut from = zip::ZipArchive::new(std::fs::File::open(BUNDLED).unwrap()).unwrap();
    let mut to = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut member = |name: &str, bytes: &[u8]| {
        to.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        to.write_all(bytes).unwrap();
    };
    for i in 0..from.len() {
        let mut file = from.by_index(i).unwrap();
        let name = file.name().unwrap().strip_suffix(".npy").unwrap().to_owned();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        if !changes.iter().any(|(n, _)| *n == name) {
            member(&name, &bytes);
        }
    }
    for (name, bytes) in changes {
        if let Some(bytes) = bytes {
            member(name, bytes);
        }
    }
    let path = folder.path().join(name);
    std::fs::write(&path, to.finish().unwrap().into_inner()).unwrap();
    path
}

/// The documented keys.
fn check(value: &Value) {
    has_keys(
        value,
        &[
            "device",
            "method",
            "n_time",
            "n_bins",
            "n_spikes",
            "median_error_cm",
            "max_abs_difference",
            "timing",
            "memory",
        ],
    );
    for key in ["fit_ms", "warmup_ms", "first_ms", "likelihood_ms", "state_space_ms"] {
        assert!(number(&value["timing"][key]) >= 0.0, "{value}");
    }
    let timing = value["timing"].as_object().unwrap();
    let parts = timing.iter().filter(|(name, _)| !["first_ms", "total_ms"].contains(&name.as_str()));
    let (sum, total) = (parts.map(|(_, ms)| number(ms)).sum::<f64>(), number(&timing["total_ms"]));
    assert!(sum <= total && sum >= 0.8 * total - 20.0, "{sum} of {total} ms: {value}");
    let memory = &value["memory"];
    let (planned, peak) = (number(&memory["planned_bytes"]), number(&memory["peak_bytes"]));
    assert!(peak > 0.0 && peak <= number(&memory["budget_bytes"]), "{value}");
    assert!((peak / planned - 1.0).abs() <= 0.1, "{value}");
}

#[test]
fn without_a_session_the_bundled_one_is_decoded_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let (png, out) = (folder.path().join("decode.png"), folder.path().join("out.npz"));
    let found = run(&decode(&["--plot", text(&png), "--output", text(&out), "--json"])).json();
    check(&found);
    assert_eq!((&found["method"], &found["n_bins"]), (&"exact".into(), &90.into()));
    assert!(found["device"].as_str().unwrap().starts_with("cpu"), "{found}");
    assert!(found["max_abs_difference"].is_null() && found["resumed_from"].is_null(), "{found}");
    assert!(number(&found["median_error_cm"]) < 8.0, "{found}");
    assert_eq!(listed(&folder), ["decode.png", "out.npz"]);
    assert_png(&png);

    let mut npz = Npz::open(&out).unwrap();
    let (t, p) = (number(&found["n_time"]) as usize, 90);
    let ll = npz.matrix::<f32>("log_likelihood").unwrap();
    assert!(ll.dim() == (t, p) && ll.iter().all(|v| v.is_finite()));
    let posterior = npz.matrix::<f32>("acausal_posterior").unwrap();
    assert_eq!(posterior.dim(), (t, p));
    assert!(posterior.rows().into_iter().all(|row| (row.sum() - 1.0).abs() < 1e-4));
    assert_eq!(npz.matrix::<f32>("acausal_state_probabilities").unwrap().dim(), (t, 1));
    let map = npz.matrix::<f64>("map_position").unwrap();
    let centers = npz.matrix::<f64>("place_bin_centers").unwrap();
    for (row, x) in posterior.rows().into_iter().zip(map.iter()) {
        let best = row.iter().copied().fold(0.0f32, f32::max);
        assert!(row.iter().zip(&centers).any(|(p, c)| *p == best && c == x));
    }
    assert_eq!(npz.vector::<f64>("time").unwrap().len(), t);

    let table = run(&decode(&[])).done();
    for words in ["place bins", "exact", "median", "cm", "memory", "6 electrodes"] {
        assert!(table.stdout.contains(words), "{}", table.stdout);
    }
    assert!(table.stderr.starts_with("device: cpu"), "{}", table.stderr);
    // The session by its file is the session without.
    let named = run(&decode(&["--data", BUNDLED, "--json"])).json();
    assert_eq!(named["log_evidence"], found["log_evidence"]);
}

#[test]
fn models_show_when_the_cells_speak_of_somewhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let (_, events) = Simulation::bundled().session().unwrap();
    for (model, states, far) in [("contfrag", 2, 1), ("nonlocal", 4, 2)] {
        let out = folder.path().join("out.npz");
        let png = folder.path().join("out.png");
        let args = ["--model", model, "--output", text(&out), "--plot", text(&png), "--json"];
        let found = run(&decode(&args)).json();
        check(&found);
        assert_png(&png);
        assert_eq!(found["states"].as_array().unwrap().len(), states);
        let mut npz = Npz::open(&out).unwrap();
        positions_are_of_states_with_one(&found, &mut npz, states, far);
        let listed = found["states"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap());
        assert_eq!(names(&out), listed.collect::<Vec<_>>());
        let time = npz.vector::<f64>("time").unwrap();
        let p = npz.matrix::<f32>("acausal_state_probabilities").unwrap();
        assert!(p.rows().into_iter().all(|row| (row.sum() - 1.0).abs() < 1e-4));
        // Mean probability of the states from `far` on, within the events and outside of them.
        let mean = |inside: bool| {
            let chosen = time.iter().enumerate().filter(|(_, t)| {
                let event = events.iter().any(|e| {
                    let of_kind = model == "nonlocal" || e.content == Content::Fragmented;
                    of_kind && e.start <= **t && **t < e.end
                });
                event == inside
            });
            let values: Vec<f32> = chosen.map(|(i, _)| p.row(i).iter().skip(far).sum()).collect();
            values.iter().sum::<f32>() / values.len() as f32
        };
        assert!(
            mean(true) > 0.4 && mean(true) > 5.0 * mean(false),
            "{model}: {} inside, {} outside",
            mean(true),
            mean(false)
        );
    }
}

/// The state names as they stand in a file: NumPy's Unicode strings.
fn names(path: &Path) -> Vec<String> {
    let mut zip = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let npy = npyz::NpyFile::new(zip.by_name("state_names.npy").unwrap()).unwrap();
    npy.into_vec::<String>().unwrap()
}

/// Posterior and positions are those of the two states that have a position, and are not known where these are unlikely.
fn positions_are_of_states_with_one(found: &Value, npz: &mut Npz, states: usize, far: usize) {
    let posterior = npz.matrix::<f32>("acausal_posterior").unwrap();
    let by_state = npz.array::<f32>("acausal_posterior_by_state").unwrap();
    assert_eq!(by_state.shape(), [posterior.nrows(), 2, posterior.ncols()]);
    let sum = by_state.sum_axis(ndarray::Axis(1));
    assert!(sum.iter().zip(&posterior).all(|(a, b)| (a - b).abs() < 1e-6));
    let p = npz.matrix::<f32>("acausal_state_probabilities").unwrap();
    let (map, mean) = (npz.matrix::<f64>("map_position").unwrap(), npz.matrix::<f64>("mean_position").unwrap());
    let mut known = 0;
    for t in 0..p.nrows() {
        let mass: f32 = p.row(t).iter().skip(states - 2).sum();
        assert_eq!((map[[t, 0]].is_nan(), mean[[t, 0]].is_nan()), (mass < 0.5, mass < 0.5), "time bin {t}: {mass}");
        known += usize::from(mass >= 0.5);
    }
    assert!(if far == 2 { known < p.nrows() / 2 && known > 0 } else { known == p.nrows() });
    assert_eq!(number(&found["error_n_time"]) as usize, known);
    assert_eq!(found["error_of"].as_str().unwrap().contains("non-local"), far == 2);
}

/// Sessions with known likelihoods, and the devices to decode them on.
fn known() -> Vec<(PathBuf, String)> {
    let files = ["box_2d_4d.npz", "track_1d_10d.npz", "track_1d_ragged.npz"];
    let devices: Vec<String> = std::iter::once("cpu".to_owned()).chain(adapters()).collect();
    let files: Vec<PathBuf> = files.into_iter().filter_map(data::kde).collect();
    files.iter().flat_map(|f| devices.iter().map(move |d| (f.clone(), d.clone()))).collect()
}

#[test]
fn likelihoods_are_those_of_exact_arithmetic() {
    for (file, device) in known() {
        let args = ["decode", "--device", &device, "--data", text(&file), "--json"];
        let found = run(&args).json();
        check(&found);
        assert!(number(&found["max_abs_difference"]) <= 1e-3, "{}: {found}", file.display());
        let exact = &found["differences"]["exact_log_likelihood"];
        assert!(number(&exact["median_abs"]) <= 1e-5, "{}: {found}", file.display());
        if file.ends_with("track_1d_10d.npz") {
            assert!(number(&found["median_error_cm"]) < 12.0, "{found}");
        }
    }
}

#[test]
fn parity_with_the_reference() {
    for (file, device) in known() {
        let parity =
            ["--log-intensity-floor", "reference", "--bin-edges", "reference", "--data", text(&file), "--json"];
        let start = ["decode", "--device", &device];
        let found = run(&[&start[..], &parity, &["--likelihood-only"]].concat()).json();
        let difference = number(&found["differences"]["reference_log_likelihood"]["max_abs"]);
        assert!(difference <= 1e-4, "{}: {difference} on {device}", file.display());
        let found = run(&[&start[..], &parity, &["--local"]].concat()).json();
        assert_eq!(found["n_bins"], 1);
        let difference = number(&found["differences"]["reference_local_log_likelihood"]["max_abs"]);
        assert!(difference <= 1e-4, "local, {}: {difference} on {device}", file.display());
    }
}

#[test]
fn a_gridded_likelihood_keeps_to_its_tolerance() {
    let folder = tempfile::tempdir().unwrap();
    let likelihood = |name: &str, more: &[&str]| {
        let path = folder.path().join(name);
        let found =
            run(&[&decode(&["--likelihood-only", "--output", text(&path), "--json"])[..], more].concat()).json();
        (npy::read::<f32>(&path).unwrap().1, found)
    };
    let (exact, _) = likelihood("exact.npy", &[]);
    let (gridded, found) = likelihood("gridded.npy", &["--method", "gridded", "--tolerance", "1e-3"]);
    assert_eq!(found["method"], "gridded");
    // A time bin may have several spikes.
    let worst = exact.iter().zip(&gridded).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
    assert!(worst > 0.0 && worst < 1e-2, "{worst}");
    run(&decode(&["--method", "gridded"])).refused(2, &["tolerance", "missing"]);
    run(&decode(&["--tolerance", "1e-3"])).refused(2, &["tolerance", "gridded"]);
    run(&decode(&["--method", "gridded", "--tolerance", "0"])).refused(2, &["tolerance"]);
}

#[test]
fn a_plan_is_printed_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let npy = folder.path().join("ll.npy");
    let plan = run(&decode(&["--plan", "--output", text(&npy), "--json"])).json();
    has_keys(&plan, &["device", "reason", "method", "likelihood", "state_space", "memory"]);
    has_keys(
        &plan["likelihood"],
        &["n_time", "n_bins", "n_spikes", "chunks", "dispatches", "operations", "device_bytes"],
    );
    let memory = &plan["memory"];
    let parts: f64 = memory["parts"].as_object().unwrap().values().map(number).sum();
    assert!(parts > 0.0 && parts == number(&memory["planned_with_host_bytes"]), "{plan}");
    assert!(run(&decode(&["--plan"])).done().stdout.contains("operations"));
    run(&decode(&["--plan", "--local"])).done();
    assert!(listed(&folder).is_empty());
}

#[test]
fn bad_sessions_are_refused_with_the_array_and_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut bundled = Npz::open(BUNDLED).unwrap();
    let times = bundled.vector::<f64>("encoding_spike_times_1").unwrap();
    let n = times.len();
    let with = |value: f64| {
        let mut times = times.clone();
        times[n / 2] = value;
        Some(array(&[n], &times))
    };
    let ones = |shape: &[usize]| Some(array(shape, &vec![1.0f64; shape.iter().product()]));
    let samples = bundled.vector::<f64>("position_time").unwrap().len();
    let mut position = vec![1.0; samples];
    position[7] = f64::INFINITY;
    let empty = |prefix: &'static str| -> Vec<(String, Option<Vec<u8>>)> {
        (0..6)
            .flat_map(|e| {
                [
                    (format!("{prefix}_spike_times_{e}"), Some(array::<f64>(&[0], &[]))),
                    (format!("{prefix}_marks_{e}"), Some(array::<f32>(&[0, 4], &[]))),
                ]
            })
            .collect()
    };
    type Changes<'a> = Vec<(&'a str, Option<Vec<u8>>)>;
    let silent = empty("encoding");
    let cases: Vec<(Changes<'_>, Vec<&str>)> = vec![
        (vec![("encoding_spike_times_1", with(0.0))], vec!["encoding_spike_times_1", "sort"]),
        (vec![("encoding_spike_times_1", with(f64::NAN))], vec!["encoding_spike_times_1", "NaN"]),
        (vec![("encoding_spike_times_1", ones(&[n - 1]))], vec!["encoding_marks_1", "one row a spike"]),
        (
            vec![("decoding_spike_times_2", None)],
            vec!["no array \"decoding_spike_times_2\"", "it holds", "place_bin_centers"],
        ),
        (
            vec![("encoding_marks_1", ones(&[n, 3]))],
            vec!["decoding_marks_1", "encoding_marks_1", "has 4 columns", "has 3;"],
        ),
        (vec![("encoding_marks_1", ones(&[n, 2, 2]))], vec!["encoding_marks_1", "rows and columns"]),
        (vec![("encoding_marks_1", Some(array(&[n, 4], &vec![f32::NAN; 4 * n])))], vec!["encoding_marks_1", "NaN"]),
        (vec![("encoding_marks_1", Some(array(&[n, 4], &vec![true; 4 * n])))], vec!["encoding_marks_1", "bool"]),
        (
            ["encoding_spike_times_2", "encoding_marks_2", "decoding_spike_times_2", "decoding_marks_2"]
                .map(|name| (name, None))
                .to_vec(),
            vec!["electrode 2", "without a gap"],
        ),
        (
            vec![("encoding_marks_1", Some(array(&[n, 4], &vec![1e30f32; 4 * n])))],
            vec!["encoding_marks_1", "feature 0 of spike 0 is 1e30"],
        ),
        (vec![("waveform_std", Some(array(&[], &[-1e300])))], vec!["waveform_std", "-1e300"]),
        (
            vec![("place_bin_centers", Some(array(&[90], &std::array::from_fn::<f64, 90, _>(|i| 1e4 + i as f64))))],
            vec!["place_bin_centers", "both in cm and in the same frame?"],
        ),
        (vec![("encoding_marks_x", ones(&[1]))], vec!["encoding_marks_x", "electrode"]),
        (vec![("position", ones(&[samples - 1, 1]))], vec!["\"position\"", "one row a time"]),
        (vec![("position", ones(&[samples, 2]))], vec!["\"position\"", "2 columns", "place_bin_centers"]),
        (vec![("position", Some(array(&[samples], &position)))], vec!["\"position\"", "row 7", "inf"]),
        (
            vec![("position", Some(array(&[samples], &vec![f64::NAN; samples])))],
            vec!["\"position\"", "no position is known"],
        ),
        (vec![("position_time", ones(&[samples - 1]))], vec!["\"position\"", "times"]),
        (vec![("is_track_interior", Some(array(&[90], &[false; 90])))], vec!["is_track_interior", "no bin is inside"]),
        (vec![("is_track_interior", Some(array(&[89], &[true; 89])))], vec!["is_track_interior", "90 place bins"]),
        (vec![("place_bin_centers", Some(array(&[90], &[f64::NAN; 90])))], vec!["place_bin_centers", "NaN"]),
        (vec![("position_std", Some(array(&[], &[0.0])))], vec!["position_std", "positive"]),
        (vec![("position_std", Some(array(&[2], &[1.0, 2.0])))], vec!["position_std", "2 values"]),
        (vec![("waveform_std", Some(array(&[], &[-24.0])))], vec!["waveform_std", "-24", "positive"]),
        (vec![("waveform_std", Some(array(&[3], &[1.0, 2.0, 3.0])))], vec!["waveform_std", "3 values", "4 columns"]),
        (vec![("waveform_std", Some(array(&[], &[f64::NAN])))], vec!["waveform_std", "NaN"]),
        (vec![("weights", ones(&[3]))], vec!["weights", "3 values"]),
        (vec![("weights", Some(array(&[samples], &vec![-1.0; samples])))], vec!["weights", "-1"]),
        (vec![("time", Some(array::<f64>(&[0], &[])))], vec!["\"time\"", "empty"]),
        (vec![("time", Some(array(&[2], &[1.0, 1.0])))], vec!["\"time\"", "width"]),
        (vec![("time", Some(array(&[2], &[2.0, 1.0])))], vec!["\"time\"", "sort"]),
        (vec![("time", None)], vec!["no array \"time\"", "position_time"]),
        (vec![("decode_position", None)], vec!["no array \"decode_position\""]),
        (silent.iter().map(|(n, b)| (n.as_str(), b.clone())).collect(), vec!["no encoding spike"]),
    ];
    for (changes, words) in cases {
        let path = changed(&folder, "bad.npz", &changes);
        let words = [&["bad.npz"][..], &words].concat();
        run(&decode(&["--data", text(&path)])).refused(3, &words);
    }
    let whole = std::fs::read(BUNDLED).unwrap();
    let path = folder.path().join("cut.npz");
    for length in [0, 2, 1000, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        run(&decode(&["--data", text(&path)])).refused(3, &["cut.npz"]);
    }
    let mut flipped = whole;
    let at = flipped.len() / 2;
    flipped[at] ^= 0x10;
    std::fs::write(&path, flipped).unwrap();
    run(&decode(&["--data", text(&path)])).refused(3, &["cut.npz", "array"]);
    std::fs::write(&path, "time,position\n0,1\n").unwrap();
    run(&decode(&["--data", text(&path)])).refused(3, &["is not an NPZ file"]);
    run(&decode(&["--data", "/nowhere/s.npz"])).refused(3, &["/nowhere/s.npz"]);

    // Sorted, where that is asked for.
    let path = changed(&folder, "unsorted.npz", &[("encoding_spike_times_1", with(0.0))]);
    run(&decode(&["--data", text(&path), "--sort-spikes", "--json"])).json();
    // What is compared with may be damaged.
    let path = changed(&folder, "compared.npz", &[("exact_log_likelihood", ones(&[3, 90]))]);
    let found = run(&decode(&["--data", text(&path), "--json"]));
    assert!(found.stderr.lines().filter(|l| l.starts_with("warning: ")).count() == 1, "{}", found.stderr);
    assert!(found.stderr.contains("exact_log_likelihood\" has the shape [3, 90]"), "{}", found.stderr);
    assert!(found.json()["max_abs_difference"].is_null());
    // Half of the track was never visited; times are a column, and a bandwidth is a float16.
    let mut centers = bundled.vector::<f64>("place_bin_centers").unwrap();
    centers[45..].iter_mut().for_each(|x| *x += 1e4);
    let time = bundled.vector::<f64>("time").unwrap();
    let mut std = array(&[], &[0x4600u16]);
    let at = std.windows(2).position(|w| w == b"u2").unwrap();
    std[at] = b'f';
    let path = changed(
        &folder,
        "half.npz",
        &[
            ("place_bin_centers", Some(array(&[90], &centers))),
            ("time", Some(array(&[time.len(), 1], &time))),
            ("position_std", Some(std)),
        ],
    );
    let said = run(&decode(&["--data", text(&path)])).done().stderr;
    assert!(said.contains("note: 45 of 90 bins inside the track were never visited"), "{said}");
    let found = run(&decode(&["--data", text(&path), "--json"])).json();
    assert_eq!(found["bins_never_visited"], 45);
    let six = run(&decode(&["--data", text(&path), "--position-std", "6", "--json"])).json();
    assert_eq!(found["log_evidence"], six["log_evidence"]);
    // No spike to decode: nothing but the ground-process intensity.
    let nothing = empty("decoding");
    let nothing: Changes<'_> = nothing.iter().map(|(n, b)| (n.as_str(), b.clone())).collect();
    let path = changed(&folder, "nothing.npz", &nothing);
    let found = run(&decode(&["--data", text(&path), "--json"])).json();
    assert_eq!(found["n_spikes"], 0);
    // Nor anything non-local.
    let found = run(&decode(&["--data", text(&path), "--model", "nonlocal", "--json"])).json();
    assert!(found["median_error_cm"].is_null() && found["error_n_time"] == 0, "{found}");
    let said = run(&decode(&["--data", text(&path), "--model", "nonlocal"])).done().stdout;
    assert!(said.contains("error: none, since the non-local states never hold half"), "{said}");
}

#[test]
fn bad_arguments_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (args, words) in [
        (&["--output", "out.csv"][..], &["output", ".npz or .npy"][..]),
        (&["--plot", "out.pdf"], &["plot", ".png"]),
        (&["--plot", "out"], &["plot", ".png"]),
        (&["--local", "--method", "gridded", "--tolerance", "1e-3"], &["method", "local likelihood is always exact"]),
        (&["--position-std", "0"], &["position_std", "positive"]),
        (&["--waveform-std", "-1"], &["waveform_std", "positive"]),
        (&["--time-bin-size", "0"], &["time_bin_size", "positive"]),
        (&["--movement-var", "0"], &["movement_var", "positive"]),
        (&["--chunk-bins", "0"], &["chunk_bins"]),
    ] {
        run(&decode(args)).refused(2, words);
    }
    for args in [&["--model", "nosuch"][..], &["--local", "--model", "contfrag"], &["--method", "nosuch"]] {
        let refused = run(&decode(args));
        assert!(refused.code == Some(2) && refused.stdout.is_empty(), "{}", refused.stderr);
    }
    run(&decode(&["--output", "/nowhere/out.npz"])).refused(3, &["/nowhere"]);
    let folder_png = folder.path().join("folder.png");
    std::fs::create_dir(&folder_png).unwrap();
    run(&decode(&["--plot", text(&folder_png)])).refused(3, &["is a folder"]);
    run(&["decode", "--device", "nosuch"]).refused(4, &["nosuch"]);
    let no_truth = changed(&folder, "s.npz", &[("decode_position", None), ("decode_position_time", None)]);
    run(&decode(&["--data", text(&no_truth), "--local"])).refused(3, &["decode_position"]);
    run(&decode(&["--data", text(&no_truth), "--model", "nonlocal"])).refused(3, &["decode_position"]);
    let unknown = run(&decode(&["--data", text(&no_truth), "--json"])).json();
    assert!(unknown["median_error_cm"].is_null(), "{unknown}");
    // A budget under one tile.
    let npy = folder.path().join("ll.npy");
    let args = ["--memory-budget", "64KiB", "--output", text(&npy), "--likelihood-only"];
    run(&decode(&args)).refused(5, &["over the memory budget", "the least that would do"]);
    assert_eq!(listed(&folder), ["folder.png", "s.npz"]);
}

#[cfg(unix)]
#[test]
fn no_file_is_written_over_another_of_the_same_run() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let session = path("s.npz");
    std::fs::copy(BUNDLED, &session).unwrap();
    std::fs::create_dir(path("sub")).unwrap();
    symlink("s.npz", path("link.npz")).unwrap();
    symlink("new.png", path("link.npy")).unwrap();
    std::fs::hard_link(&session, path("hard.png")).unwrap();
    let around = path("sub/../s.npz");
    for [output, plot] in [
        [Some(session.clone()), None],
        [Some(around), None],
        [Some(path("link.npz")), None],
        [None, Some(path("hard.png"))],
        [Some(path("link.npy")), Some(path("sub/../new.png"))],
    ] {
        let mut args = decode(&["--data", &session]);
        output.iter().for_each(|o| args.extend(["--output", o]));
        plot.iter().for_each(|p| args.extend(["--plot", p]));
        run(&args).refused(2, &["is the file of --", "another name"]);
    }
    assert!(std::fs::read(&session).unwrap() == std::fs::read(BUNDLED).unwrap());
    assert_eq!(listed(&folder), ["hard.png", "link.npy", "link.npz", "s.npz", "sub"]);

    // A link stays, and what it points to is written; a pipe is none.
    let output = path("OUT.NPZ");
    symlink("sub/out.npz", &output).unwrap();
    run(&decode(&["--output", &output, "--plot", &path("p.PNG"), "--json"])).json();
    assert!(Path::new(&output).is_symlink());
    assert_eq!(Npz::open(path("sub/out.npz")).unwrap().matrix::<f32>("log_likelihood").unwrap().ncols(), 90);
    assert_png(Path::new(&path("p.PNG")));
    symlink("/dev/null", path("null.npz")).unwrap();
    symlink("/dev/null", path("null.npy")).unwrap();
    symlink("/dev/null", path("null.png")).unwrap();
    for args in [["--output", &path("null.npz")], ["--output", &path("null.npy")], ["--plot", &path("null.png")]] {
        run(&decode(&args)).refused(3, &["is not a regular file"]);
    }
}

/// A session that takes a while.
fn long_session(folder: &TempDir) -> PathBuf {
    let arena = Arena::Box([40.0, 30.0]);
    let simulation = Simulation { arena, place_bin_size: 1.0, decoding_s: 120.0, ..Simulation::bundled() };
    let path = folder.path().join("long.npz");
    simulation.session().unwrap().0.write(&path).unwrap();
    path
}

/// Lines of a journal, the first of which is a title.
fn chunks_done(journal: &Path) -> usize {
    std::fs::read_to_string(journal).map_or(0, |text| text.lines().count().saturating_sub(1))
}

#[test]
fn a_killed_run_goes_on_where_it_was_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let session = long_session(&folder);
    let (once, twice) = (folder.path().join("once.npy"), folder.path().join("twice.npy"));
    let base = ["--data", text(&session), "--likelihood-only", "--json"];
    let whole = run(&[&decode(&base)[..], &["--output", text(&once), "--chunk-bins", "1000"]].concat()).json();
    assert!(whole["resumed_from"].is_null());
    // The process holds what is planned, beside the program and the session themselves.
    let memory = &whole["memory"];
    let (planned, resident) = (number(&memory["planned_with_host_bytes"]), memory["resident_peak_bytes"].as_f64());
    assert!(resident.is_none_or(|r| r <= 1.1 * planned + f64::from(48 << 20)), "{whole}");
    let bytes = std::fs::read(&once).unwrap();

    let again = ["--output", text(&twice), "--chunk-bins", "64"];
    let args = [&decode(&base)[..], &again].concat();
    let (partial, journal) = (folder.path().join("twice.npy.partial"), folder.path().join("twice.npy.partial.journal"));
    let mut kills = 0;
    for round in 1..=3 {
        let already = chunks_done(&journal);
        let mut child = command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        while chunks_done(&journal) < already + 20 * round && started.elapsed() < Duration::from_secs(120) {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        if child.wait().unwrap().code().is_none() {
            kills += 1;
            assert!(!twice.exists() && partial.exists());
        }
    }
    assert!(kills >= 1, "the run was too quick to be killed");
    // With other options or another session it is not touched.
    let other = [&args[..], &["--position-std", "7"]].concat();
    run(&other).refused(3, &["twice.npy.partial", "delete it"]);
    let mut last = args.clone();
    last.retain(|a| *a != "--json");
    let resumed = run(&last).done();
    assert!(resumed.stderr.contains("resumed: "), "{}", resumed.stderr);
    assert_eq!(listed(&folder), ["long.npz", "once.npy", "twice.npy"]);
    assert!(std::fs::read(&twice).unwrap() == bytes, "other bytes than in one go");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_so_and_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let session = long_session(&folder);
    let (npy, journal) = (folder.path().join("ll.npy"), folder.path().join("ll.npy.partial.journal"));
    let args = ["--data", text(&session), "--likelihood-only", "--output", text(&npy), "--chunk-bins", "64", "--json"];
    let args = decode(&args);
    let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while chunks_done(&journal) < 5 && started.elapsed() < Duration::from_secs(120) {
        assert!(child.try_wait().unwrap().is_none(), "the run was too quick to be interrupted");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap().success());
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(130) && said.ends_with("spikewave: cancelled\n"), "{said}");
    assert!(out.stdout.is_empty() && !npy.exists());
    assert!(number(&run(&args).json()["resumed_from"]) > 0.0);
    assert_eq!(listed(&folder), ["ll.npy", "long.npz"]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_npz_leaves_nothing_and_a_killed_one_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let session = long_session(&folder);
    let out = folder.path().join("out.npz");
    let args = decode(&["--data", text(&session), "--model", "contfrag", "--output", text(&out)]);
    for signal in ["-INT", "-KILL"] {
        let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = || listed(&folder).iter().any(|name| name.starts_with(&format!(".out.npz.{}-", child.id())));
        let started = Instant::now();
        while !begun() && started.elapsed() < Duration::from_secs(120) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(child.try_wait().unwrap().is_none(), "the run was too quick to be interrupted");
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let done = child.wait_with_output().unwrap();
        assert_eq!(done.status.code(), (signal == "-INT").then_some(130));
        assert!(done.stdout.is_empty() && !out.exists());
        assert_eq!(listed(&folder).len(), if signal == "-INT" { 1 } else { 2 });
    }
    run(&[&args[..], &["--json"]].concat()).json();
    assert_eq!(listed(&folder), ["long.npz", "out.npz"]);
}

/// A run whose files may not grow beyond so many KiB: writes fail as on a full disk.
#[cfg(target_os = "linux")]
fn confined(kib: usize, args: &[&str]) -> Command {
    let mut shell = Command::new("bash");
    let limit = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
    shell.args(["-c", &limit, env!("CARGO_BIN_EXE_spikewave")]).args(args);
    shell.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).env_remove("RUST_LOG").stdin(Stdio::null());
    shell
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_one_sentence_and_nothing_looks_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let (npy, npz, png) = (path("ll.npy"), path("out.npz"), path("out.png"));
    for args in [["--output", &npz], ["--plot", &png]] {
        run_command(confined(16, &decode(&args))).refused(3, &["cannot be written"]);
        assert!(listed(&folder).is_empty(), "{:?}", listed(&folder));
    }
    let args = decode(&["--output", &npy, "--chunk-bins", "100", "--likelihood-only", "--json"]);
    run_command(confined(256, &args)).refused(3, &["ll.npy", "cannot be written", "run the same again"]);
    assert_eq!(listed(&folder), ["ll.npy.partial", "ll.npy.partial.journal"]);
    let found = run(&args).json();
    assert!(number(&found["resumed_from"]) > 0.0, "{found}");
    let other = path("other.npy");
    run(&decode(&["--output", &other, "--likelihood-only", "--json"])).json();
    assert!(std::fs::read(&npy).unwrap() == std::fs::read(&other).unwrap());
}

#[test]
fn chunks_threads_and_budgets_leave_no_trace_in_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let mut all: Vec<Vec<u8>> = Vec::new();
    let variants: [&[&str]; 4] =
        [&[], &["--chunk-bins", "7"], &["--threads", "1"], &["--memory-budget", "64MiB", "--chunk-bins", "1000"]];
    for (i, more) in variants.into_iter().enumerate() {
        let path = folder.path().join(format!("{i}.npy"));
        run(&[&decode(&["--output", text(&path), "--json"])[..], more].concat()).json();
        all.push(std::fs::read(path).unwrap());
    }
    assert!(all.windows(2).all(|w| w[0] == w[1]));
}

#[test]
fn a_session_that_is_written_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("box.npz");
    let arena = Arena::Box([40.0, 30.0]);
    let simulation =
        Simulation { arena, place_bin_size: 4.0, encoding_s: 60.0, decoding_s: 5.0, ..Simulation::bundled() };
    let (session, _) = simulation.session().unwrap();
    session.write(&path).unwrap();
    let found = run(&decode(&["--data", text(&path), "--json"])).json();
    check(&found);
    assert_eq!(found["n_bins"], 80);
    assert!(number(&found["median_error_cm"]) < 12.0, "{found}");
    // Known values are compared with, whatever their type.
    let out = folder.path().join("out.npz");
    run(&decode(&["--data", text(&path), "--output", text(&out), "--json"])).json();
    let ll = Npz::open(&out).unwrap().matrix::<f64>("log_likelihood").unwrap();
    let known = spikewave::decode::Session { exact_log_likelihood: Some(ll + 0.25), ..session };
    known.write(&path).unwrap();
    let found = run(&decode(&["--data", text(&path), "--json"])).json();
    assert!((number(&found["max_abs_difference"]) - 0.25).abs() < 1e-5, "{found}");
    npz::write(&out, |file| file.array("nothing", &[], &[1.0])).unwrap();
    run(&decode(&["--data", text(&out)])).refused(3, &["no array \"position_time\"", "it holds nothing"]);
}

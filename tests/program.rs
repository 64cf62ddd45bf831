//! The program as its users meet it: exit status, standard output and standard error of every command, on good input and
//! on bad.
//!
//! Status: 0 done, 2 arguments, 3 input, 4 no such device, 5 memory, 6 the device failed, 130 interrupted.

#[path = "common/data.rs"]
mod data;
#[path = "common/program.rs"]
mod program;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use data::data;
use program::{assert_png, command, has_keys, listed, number, run, run_command, software, text};
use serde_json::Value;
use spikewave::gw::strain::Strain;
use spikewave::gw::synthetic;
use tempfile::TempDir;

const H1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/gw/H-H1_SIMULATED_4_V1-1400000000-32.hdf5");
const L1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/gw/L-L1_SIMULATED_4_V1-1400000000-32.hdf5");

/// Strain files of the bundled pair with something wrong with them.
struct Broken {
    folder: TempDir,
}

impl Broken {
    fn path(&self, name: &str) -> String {
        text(&self.folder.path().join(name)).into()
    }
}

static BROKEN: LazyLock<Broken> = LazyLock::new(|| {
    let broken = Broken { folder: tempfile::tempdir().unwrap() };
    let bytes = std::fs::read(H1).unwrap();
    for (name, length) in [("empty", 0), ("t7", 7), ("t100", 100), ("t9000", 9000), ("half", bytes.len() / 2)] {
        std::fs::write(broken.path(name), &bytes[..length]).unwrap();
    }
    std::fs::write(broken.path("cut"), &bytes[..bytes.len() - 1]).unwrap();
    std::fs::write(broken.path("text"), "GPS strain\n1400000000 1e-21\n").unwrap();
    let [_, l1] = synthetic::bundled().unwrap();
    let write = |name: &str, strain: &Strain| strain.write(broken.path(name)).unwrap();
    write("later", &Strain { gps_start: l1.gps_start + 100.0, ..l1.clone() });
    let values = l1.values.iter().step_by(2).copied().collect();
    write("slow", &Strain { values, sample_rate_hz: 2048.0, ..l1.clone() });
    write("nan", &Strain { values: vec![f64::NAN; l1.values.len()], ..l1.clone() });
    let mut gap = l1;
    gap.values[4096 * 7..4096 * 8].fill(f64::NAN);
    gap.quality.words[7] = 0;
    write("gap", &gap);
    broken
});

#[test]
fn help_and_version() {
    let help = run(&["--help"]).done().stdout;
    for word in ["devices", "warmup", "gw", "decode"] {
        assert!(help.contains(word), "{help}");
    }
    let help = run(&["gw", "--help"]).done().stdout;
    for word in ["info", "psd", "range", "segments", "whiten", "search", "detect"] {
        assert!(help.contains(word), "{help}");
    }
    assert!(run(&["--version"]).done().stdout.contains(env!("CARGO_PKG_VERSION")));
    for args in [&["gw", "nosuch"][..], &["gw", "search", "--nosuch"], &["gw", "search", "--h1", H1], &["gw", "info"]] {
        let refused = run(args);
        assert!(refused.code == Some(2) && refused.stdout.is_empty() && refused.stderr.contains("--help"), "{args:?}");
    }
}

#[test]
fn info_says_what_a_file_holds() {
    let one = run(&["gw", "info", H1, "--json"]).json();
    has_keys(&one, &["n", "sample_rate_hz", "gps_start", "duration_s", "detector", "dq", "injections", "gaps"]);
    assert_eq!((&one["n"], &one["detector"]), (&131_072.into(), &"H1".into()));
    assert_eq!((number(&one["sample_rate_hz"]), number(&one["duration_s"])), (4096.0, 32.0));
    assert_eq!(number(&one["gps_start"]), 1400000000.0);
    assert_eq!(number(&one["dq"]["DATA"]), 1.0);
    assert_eq!(number(&one["dq"]["CBC_CAT3"]), 1.0);
    assert!(number(&one["injections"]["NO_CBC_HW_INJ"]) < 1.0);
    let two = run(&["gw", "info", H1, &BROKEN.path("gap"), "--json"]).json();
    assert_eq!(two.as_array().unwrap().len(), 2);
    assert_eq!(number(&two[1]["gaps"][0]["gps_start"]), 1400000007.0);
    assert_eq!(number(&two[1]["dq"]["DATA"]), 31.0 / 32.0);
    let table = run(&["gw", "info", H1, L1]).done().stdout;
    assert!(table.contains("131072 samples at 4096 Hz") && table.contains("CBC_CAT3"), "{table}");
}

#[test]
fn segments_are_cut_at_gaps_and_flags() {
    let gap = BROKEN.path("gap");
    let segments = run(&["gw", "segments", &gap, "--flag", "CBC_CAT3", "--json"]).json();
    let times: Vec<(f64, f64)> = segments["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (number(&s["gps_start"]), number(&s["gps_end"])))
        .collect();
    assert_eq!(times, [(1400000000.0, 1400000007.0), (1400000008.0, 1400000032.0)]);
    assert!(run(&["gw", "segments", H1]).done().stdout.contains("1400000032"));
    run(&["gw", "segments", H1, "--flag", "NO_SUCH"]).refused(2, &["NO_SUCH", "DATA", "CBC_CAT3"]);
}

#[test]
fn ranges_are_those_of_the_reference() {
    let list = run(&["gw", "range", H1, L1, "--json"]).json();
    assert_eq!((&list[0]["detector"], &list[1]["detector"]), (&"H1".into(), &"L1".into()));
    assert!(list.as_array().unwrap().iter().all(|r| (190.0..215.0).contains(&number(&r["range_mpc"]))), "{list}");
    assert!(run(&["gw", "range", H1]).done().stdout.contains("Mpc"));
    let Some(file) = data("L-L1_LOSC_4_V1-1167559920-32.hdf5") else { return };
    let list = run(&["gw", "range", text(&file), "--json"]).json();
    assert!((number(&list[0]["range_mpc"]) - 94.5).abs() < 0.2, "{list}");
}

/// The documented keys of a search.
fn check_search(value: &Value) {
    has_keys(value, &["device", "detectors", "delay_ms", "network_snr", "template", "timing", "memory"]);
    for detector in ["H1", "L1"] {
        has_keys(&value["detectors"][detector], &["snr", "gps_time", "effective_distance_mpc", "range_mpc"]);
    }
    for key in ["setup_ms", "warmup_ms", "run_ms"] {
        assert!(number(&value["timing"][key]) >= 0.0, "{value}");
    }
    let memory = &value["memory"];
    assert!(number(&memory["peak_bytes"]) > 0.0, "{value}");
    assert!(number(&memory["peak_bytes"]) <= number(&memory["budget_bytes"]), "{value}");
    for key in ["pipelines", "buffers", "bind_groups"] {
        assert_eq!(number(&value["created_after_warmup"][key]), 0.0, "{value}");
    }
}

#[test]
fn search_without_files_finds_the_bundled_signal_and_draws_it() {
    let folder = tempfile::tempdir().unwrap();
    let png = folder.path().join("search.png");
    let found = run(&["gw", "search", "--device", "cpu", "--plot", text(&png), "--json"]).json();
    check_search(&found);
    assert!((number(&found["detectors"]["H1"]["gps_time"]) - 1400000016.4184).abs() < 0.005, "{found}");
    assert!(number(&found["network_snr"]) > 20.0, "{found}");
    assert_eq!(listed(&folder), ["search.png"]);
    assert_png(&png);
    let table = run(&["gw", "search", "--device", "cpu", "--bank", "8"]).done();
    assert!(table.stdout.contains("network SNR") && table.stdout.contains("8 templates"), "{}", table.stdout);
    assert!(table.stderr.starts_with("device: cpu"), "{}", table.stderr);
    // The pair by its files is the pair without.
    let named = run(&["gw", "search", "--device", "cpu", "--bank", "8", "--h1", H1, "--l1", L1, "--json"]).json();
    let bare = run(&["gw", "search", "--device", "cpu", "--bank", "8", "--json"]).json();
    assert_eq!(named["detectors"], bare["detectors"]);
}

#[test]
fn search_measures_the_first_event_on_every_kind_of_device() {
    let (Some(h1), Some(l1), Some(template)) = (
        data("H-H1_LOSC_4_V2-1126259446-32.hdf5"),
        data("L-L1_LOSC_4_V2-1126259446-32.hdf5"),
        data("GW150914_4_template.hdf5"),
    ) else {
        return;
    };
    let pair = ["--h1", text(&h1), "--l1", text(&l1), "--template", text(&template), "--json"];
    for device in [Some("cpu".to_owned()), Some("auto".into()), software()].into_iter().flatten() {
        let found = run(&[&["gw", "search", "--device", &device][..], &pair].concat()).json();
        check_search(&found);
        assert!((number(&found["detectors"]["H1"]["snr"]) - 18.561).abs() <= 0.01, "{found}");
        assert!((number(&found["detectors"]["L1"]["snr"]) - 13.208).abs() <= 0.01, "{found}");
        assert!((number(&found["delay_ms"]) + 7.08).abs() <= 0.25, "{found}");
        assert!((number(&found["network_snr"]) - 22.78).abs() <= 0.02, "{found}");
        assert_eq!(found["template"]["source"], "file", "{found}");
    }
    // A budget that it just fits into, as the refusal of a smaller one says.
    let small = run(&[&["gw", "search", "--device", "cpu", "--memory-budget", "16MiB"][..], &pair].concat());
    if small.code == Some(0) {
        check_search(&small.json());
    } else {
        small.refused(5, &["over the memory budget", "largest tensor", "the least that would do"]);
    }
}

#[test]
fn detect_finds_the_bundled_signal_and_draws_it() {
    let folder = tempfile::tempdir().unwrap();
    let png = folder.path().join("detect.png");
    let found = run(&["gw", "detect", "--device", "cpu", "--plot", text(&png), "--json"]).json();
    has_keys(&found, &["device", "triggers", "timing", "memory", "created_after_warmup"]);
    let triggers = found["triggers"].as_array().unwrap();
    for (i, t) in triggers.iter().enumerate() {
        has_keys(t, &["gps_time", "rank", "score", "template", "h1_time", "l1_time"]);
        assert_eq!(number(&t["rank"]), i as f64 + 1.0);
        assert!(i == 0 || number(&t["score"]) <= number(&triggers[i - 1]["score"]));
    }
    assert!((number(&triggers[0]["gps_time"]) - 1400000016.4184).abs() <= 0.02, "{}", triggers[0]);
    assert_eq!(listed(&folder), ["detect.png"]);
    assert_png(&png);
    assert!(run(&["gw", "detect", "--device", "cpu"]).done().stdout.contains("score"));
}

#[test]
fn densities_and_whitened_strain() {
    let psd = run(&["gw", "psd", H1, "--device", "cpu", "--check", "--json"]).json();
    has_keys(&psd, &["device", "detector", "df_hz", "frequency_hz", "psd", "check"]);
    assert!(psd["psd"].as_array().unwrap().iter().all(|v| number(v) > 0.0));
    assert!(run(&["gw", "psd", H1, "--device", "cpu"]).done().stdout.contains("100 Hz"));

    let folder = tempfile::tempdir().unwrap();
    let npy = folder.path().join("white.npy");
    for method in ["official", "truncated", "minimum-phase"] {
        let args =
            ["gw", "whiten", H1, "--method", method, "--output", text(&npy), "--device", "cpu", "--check", "--json"];
        let whitened = run(&args).json();
        assert_eq!(whitened["method"], method);
        assert!((number(&whitened["std"]) - 1.0).abs() < 0.1, "{whitened}");
        assert_eq!(listed(&folder), ["white.npy", "white.npy.json"]);
        let bytes = std::fs::read(&npy).unwrap();
        assert!(bytes.starts_with(b"\x93NUMPY"));
        let samples: f64 = whitened["segments"].as_array().unwrap().iter().map(|s| number(&s["samples"])).sum();
        let header = bytes.len() - 4 * samples as usize;
        assert!(header >= 64 && header.is_multiple_of(64), "{header}");
        let values = bytes[header..].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        assert!(values.into_iter().all(f32::is_finite));
    }
    // A gap cuts the data, and no NaN comes out.
    let gap = BROKEN.path("gap");
    let whitened = run(&["gw", "whiten", &gap, "--output", text(&npy), "--device", "cpu", "--json"]).json();
    assert_eq!(whitened["segments"].as_array().unwrap().len(), 2, "{whitened}");
    assert!(number(&whitened["std"]).is_finite());
}

#[test]
fn devices_and_warmup() {
    let list = run(&["devices", "--json"]).json();
    has_keys(&list, &["devices", "chosen", "reason"]);
    let devices = list["devices"].as_array().unwrap();
    assert!(devices.iter().any(|d| d["choose_by"] == "cpu"), "{list}");
    assert_eq!(devices.iter().filter(|d| d["chosen"] == true).count(), 1, "{list}");
    assert!(!list["reason"].as_str().unwrap().is_empty());
    let table = run(&["devices"]).done().stdout;
    assert!(devices.iter().all(|d| table.contains(d["choose_by"].as_str().unwrap())), "{table}");

    let warm = run(&["warmup", "--device", "cpu", "--json"]).json();
    let stages = warm["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 6, "{warm}");
    for stage in stages {
        has_keys(stage, &["name", "kernels", "compile_ms", "first_dispatch_ms", "second_dispatch_ms"]);
    }
    assert!(run(&["warmup", "--device", "cpu"]).done().stdout.contains("stage"));
    let folder = tempfile::tempdir().unwrap();
    let cold = |args: &[&str]| {
        let mut command = command(&[&["warmup", "--cold", "--device"][..], args].concat());
        command.envs(["TMPDIR", "TMP", "TEMP"].map(|name| (name, folder.path())));
        run_command(command)
    };
    let warm = cold(&["cpu", "--json"]).json();
    assert!(warm["cold"] == true && warm["stages"].as_array().unwrap().len() == 6, "{warm}");
    assert!(number(&warm["first_use"]["first_result_ms"]) > 0.0, "{warm}");
    cold(&["nosuch"]).refused(4, &["nosuch"]);
    assert_eq!(listed(&folder), [""; 0]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_cold_warmup_leaves_nothing() {
    let Some(device) = software() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&["warmup", "--cold", "--device", &device]);
    let child = command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while listed(&folder).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "it never made its folder");
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(kill.success());
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(130), "{said}");
    assert!(out.stdout.is_empty() && said.ends_with("spikewave: cancelled\n"), "{said}");
    assert_eq!(listed(&folder), [""; 0]);
}

#[test]
fn files_that_cannot_be_used() {
    let file = |name: &str| BROKEN.path(name);
    let missing = file("no-such-file.hdf5");
    run(&["gw", "info", &missing]).refused(3, &["no-such-file.hdf5"]);
    run(&["gw", "search", "--h1", &missing, "--l1", L1, "--device", "cpu"]).refused(3, &["no-such-file.hdf5"]);
    run(&["gw", "info", text(BROKEN.folder.path())]).refused(3, &[text(BROKEN.folder.path())]);
    for name in ["text", "empty", "t7", "t100", "t9000", "half", "cut"] {
        run(&["gw", "info", &file(name), "--json"]).refused(3, &[&file(name)]);
        run(&["gw", "search", "--h1", &file(name), "--l1", L1, "--device", "cpu", "--json"]).refused(3, &[&file(name)]);
    }
    run(&["gw", "info", &file("nan")]).refused(3, &["no finite sample"]);
    // A template is not strain, and strain is no template.
    let strain = ["gw", "search", "--device", "cpu", "--template", H1];
    run(&strain).refused(3, &["is not a template file"]);
    let Some(sum) = data("badsum.h5") else { return };
    for command in ["info", "range", "segments"] {
        run(&["gw", command, text(&sum)]).refused(3, &["badsum.h5", "strain/Strain", "chunk"]);
    }
    let Some(template) = data("GW150914_4_template.hdf5") else { return };
    run(&["gw", "info", text(&template)]).refused(3, &["is not a strain file"]);
}

#[test]
fn files_that_do_not_go_together() {
    let file = |name: &str| BROKEN.path(name);
    for command in ["search", "detect"] {
        let with = |l1: &str| run(&["gw", command, "--h1", H1, "--l1", l1, "--device", "cpu", "--json"]);
        with(&file("later")).refused(2, &["do not overlap in time", "1400000000", "1400000100"]);
        with(&file("slow")).refused(2, &["4096", "2048"]);
        with(&file("nan")).refused(3, &["no finite sample"]);
        with(H1).refused(3, &["is a file of H1", "L1"]);
        let flag = ["gw", command, "--flag", "NO_SUCH", "--device", "cpu"];
        run(&flag).refused(2, &["NO_SUCH", "CBC_CAT3"]);
    }
    let Some(template) = data("GW150914_4_template.hdf5") else { return };
    let slow_h1 = tempfile::tempdir().unwrap();
    let path = slow_h1.path().join("slow-h1.hdf5");
    let [h1, _] = synthetic::bundled().unwrap();
    let values = h1.values.iter().step_by(2).copied().collect();
    Strain { values, sample_rate_hz: 2048.0, ..h1 }.write(&path).unwrap();
    let args =
        ["gw", "search", "--h1", text(&path), "--l1", &file("slow"), "--device", "cpu", "--template", text(&template)];
    run(&args).refused(2, &["template", "4096", "2048"]);
}

#[test]
fn plans_say_what_a_job_takes_and_the_job_then_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let white = folder.path().join("white.npy");
    let jobs: [&[&str]; 4] = [
        &["gw", "search", "--bank", "8"],
        &["gw", "detect"],
        &["gw", "psd", H1],
        &["gw", "whiten", H1, "--output", text(&white)],
    ];
    for job in jobs {
        let with = |args: &[&str]| run(&[job, &["--device", "cpu"], args].concat());
        let plan = with(&["--plan", "--json"]).json();
        has_keys(&plan, &["device", "reason", "memory"]);
        has_keys(&plan["memory"], &["planned_bytes", "least_bytes", "budget_bytes", "parts"]);
        let [planned, least] = ["planned_bytes", "least_bytes"].map(|key| number(&plan["memory"][key]));
        assert!(least <= planned, "{plan}");
        let parts = plan["memory"]["parts"].as_object().unwrap();
        assert_eq!(parts.values().map(number).sum::<f64>(), planned, "{plan}");
        assert!(with(&["--plan"]).done().stdout.contains("the least that would do is"));
        assert!(listed(&folder).is_empty(), "a plan writes nothing");
        let done = with(&["--json"]).json();
        has_keys(&done["memory"], &["planned_bytes", "peak_bytes", "budget_bytes", "allocator"]);
        assert_eq!(number(&done["memory"]["planned_bytes"]), planned, "{done}");
        assert!((number(&done["memory"]["peak_bytes"]) / planned - 1.0).abs() <= 0.1, "{done}");
        std::fs::remove_dir_all(folder.path()).unwrap();
        std::fs::create_dir(folder.path()).unwrap();
        // A plan is made for any budget, and one that is too small is an error beside it.
        let small = with(&["--plan", "--memory-budget", "1MiB"]);
        if least > f64::from(1 << 20) {
            assert!(small.stdout.contains("which is too little"), "{}", small.stdout);
            assert!(small.code == Some(5) && small.stderr.contains("the least that would do is"), "{}", small.stderr);
            with(&["--memory-budget", "1MiB"]).refused(5, &["the least that would do is"]);
        } else {
            small.done();
        }
    }
}

#[test]
fn devices_and_sizes_that_cannot_be_had() {
    for command in ["search", "detect"] {
        let with = |args: &[&str]| run(&[&["gw", command], args].concat());
        with(&["--device", "nosuch"]).refused(4, &["nosuch", "known devices", "cpu"]);
        with(&["--device", ""]).refused(2, &["device"]);
        with(&["--device", "cpu", "--memory-budget", "1MiB"])
            .refused(5, &["over the memory budget", "the largest tensor is \"", "the least that would do is"]);
        with(&["--device", "cpu", "--memory-budget", "12 parsecs"]).refused(2, &["12 parsecs", "512MiB"]);
        with(&["--device", "cpu", "--threads", "0"]).refused(2, &["threads"]);
    }
    run(&["gw", "search", "--device", "cpu", "--bank", "0"]).refused(2, &["bank size", "0"]);
    run(&["gw", "search", "--device", "cpu", "--bank", "1000000"]).refused(2, &["16384"]);
    if let Some(name) = software() {
        // The list of known devices has the names that would do.
        run(&["gw", "search", "--device", "nosuch"]).refused(4, &[&name]);
        run(&["gw", "search", "--device", &name, "--memory-budget", "1MiB"])
            .refused(5, &["the least that would do is"]);
    }
    let hardware = spikewave::device::gpu::adapters().iter().any(|a| a.kind != "software");
    if !hardware {
        run(&["gw", "search", "--device", "gpu"]).refused(4, &["gpu", "known devices", "cpu"]);
    }
}

#[test]
fn outputs_that_cannot_be_written_are_refused_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    std::fs::write(&file, "in the way").unwrap();
    let targets = [folder.path().join("absent/out.png"), file.join("out.png"), folder.path().to_path_buf()];
    for target in &targets {
        let out = text(target);
        for command in ["search", "detect"] {
            let refused = run(&["gw", command, "--device", "cpu", "--plot", out]);
            assert!(!refused.stderr.contains("device:"), "it began: {}", refused.stderr);
            refused.refused(3, &[out]);
        }
        run(&["gw", "whiten", H1, "--device", "cpu", "--output", out]).refused(3, &[out]);
    }
    assert_eq!(listed(&folder), ["a-file"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"in the way");
    // A search that fails leaves the picture that was there.
    let png = folder.path().join("old.png");
    std::fs::write(&png, "old").unwrap();
    run(&["gw", "search", "--device", "cpu", "--plot", text(&png), "--memory-budget", "1MiB"]).refused(5, &[]);
    assert_eq!(std::fs::read(&png).unwrap(), b"old");
    assert_eq!(listed(&folder), ["a-file", "old.png"]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_search_stops_soon_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let png = folder.path().join("out.png");
    let mut child = command(&["gw", "search", "--device", "cpu", "--bank", "2000", "--plot", text(&png), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.starts_with("device: cpu"), "{said}");
    std::thread::sleep(Duration::from_millis(500));
    let sent = Instant::now();
    let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(kill.success());
    let status = child.wait().unwrap();
    let took = sent.elapsed();
    stderr.read_to_string(&mut said).unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(said.ends_with("spikewave: cancelled\n") && stdout.is_empty(), "{said}{stdout}");
    assert!(listed(&folder).is_empty(), "{:?}", listed(&folder));
}

#[cfg(unix)]
#[test]
fn an_interrupt_while_a_large_bank_is_made_ends_at_once() {
    let args = ["gw", "search", "--device", "cpu", "--bank", "12000"];
    let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let sent = Instant::now();
    let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(kill.success());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    assert!(sent.elapsed() < Duration::from_secs(2), "{:?}", sent.elapsed());
    assert!(
        out.stdout.is_empty() && out.stderr == b"spikewave: cancelled\n",
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for args in [&["gw", "info", H1, L1][..], &["gw", "search", "--device", "cpu", "--bank", "4", "--json"]] {
        let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.code() == Some(0) && !said.contains("panicked"), "{said}");
    }
    // Nobody listens to either.
    let mut child = command(&["gw", "search", "--device", "nosuch"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

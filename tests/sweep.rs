//! Sweeps: configurations, folders that are gone on with, results that are wrong, comparisons, tables of agreement; and
//! every kernel on every adapter against the native path.

#[path = "common/program.rs"]
mod program;

mod common;

use std::path::Path;

use spikewave::device::{CancelToken, Control};
use spikewave::sweep::record::{self, Key, Line, Point, Status};
use spikewave::sweep::{self, Config, Job, LEAST_SAMPLES, Options, Summary, cases};
use spikewave::{Error, kernel};
use tempfile::TempDir;

const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/sweeps");

/// Three points on the native path, with times.
const SMALL: &str = "(
    adapters: [\"cpu\"],
    kernels: [
        (kernel: \"fill\", sizes: [4096]),
        (kernel: \"unary\", sizes: [4096], variants: [\"abs\", \"square\"]),
    ],
    threads: 1,
    control_band: 0.9,
)";

/// The same without times.
fn untimed() -> Config {
    config(&SMALL.replace("threads: 1", "threads: 1, samples: 2"))
}

fn config(text: &str) -> Config {
    Config::parse(text).unwrap()
}

fn run(config: &Config, folder: &Path) -> Summary {
    sweep::run(config, folder, &Options::default()).unwrap()
}

fn points(folder: &Path) -> Vec<Point> {
    record::points(&record::read(folder).unwrap()).cloned().collect()
}

fn names(folder: &Path) -> Vec<String> {
    points(folder).iter().map(|p| p.key().to_string()).collect()
}

#[test]
fn the_configurations_of_the_project_are_whole() {
    let read = |name: &str| Config::from_ron(Path::new(ASSETS).join(name)).unwrap();
    let all: usize = cases::ALL.iter().map(|case| case.variants.len()).sum();
    let lanes = read("lanes.ron");
    assert_eq!(lanes.jobs().len(), all);
    assert!(lanes.jobs().iter().all(|job| job.size == job.case.sizes[0]) && lanes.samples < LEAST_SAMPLES);
    let full = read("full.ron");
    let points: usize = cases::ALL.iter().map(|case| case.variants.len() * case.sizes.len()).sum();
    assert_eq!((full.jobs().len(), full.builds.len()), (points, 3));
    let quick = read("quick.ron");
    assert!(quick.jobs().len() >= 40 && quick.samples >= LEAST_SAMPLES);
}

#[test]
fn a_kernel_stands_for_the_cases_that_dispatch_it() {
    let config = config("(kernels: [(kernel: \"kde_scatter.cubic\", smallest: true)])");
    let jobs: Vec<String> = config.jobs().iter().map(Job::name).collect();
    assert_eq!(jobs, ["kde cubic 256"]);
    assert_eq!((config.samples, &config.adapters[..]), (LEAST_SAMPLES, &["all".to_owned()][..]));
    for kernel in kernel::ALL {
        let only = format!("(kernels: [(kernel: \"{}\")], builds: [Specialised, Specialised])", kernel.label());
        let config = Config::parse(&only).unwrap();
        assert!(!config.jobs().is_empty() && config.builds.len() == 1, "{}", kernel.label());
    }
    let wide = Config::parse("(kernels: [(kernel: \"gemm_wide\", smallest: true)])").unwrap();
    assert_eq!(wide.jobs().iter().map(Job::name).collect::<Vec<_>>(), ["gemm wide 64"]);
    // Named twice, run once.
    let twice = "(kernels: [(kernel: \"fill\"), (kernel: \"fill\", sizes: [4096])])";
    assert_eq!(Config::parse(twice).unwrap().jobs().len(), 4);
}

#[test]
fn mistakes_are_told_with_the_line_and_what_there_is() {
    let mut wrong = Vec::new();
    for (text, words) in [
        ("(\n kernels: [\n  (kernel: \"gem\"),\n ],\n)", &["line 3", "\"gem\"", "gemm", "all", "kde_scatter"][..]),
        ("(\n kernels: [\n  (kernel: \"gemm\",\n   sizes: [64, 65]),\n ],\n)", &["line 4", "65", "64, 256, 512, 1024"]),
        ("(\n kernels: [(kernel: \"gemm\",\n variants: [\"quick\"])],\n)", &["line 3", "\"quick\"", "plain"]),
        ("(\n kernels: [(sizes: [64], kernel: \"gemm\")],\n)", &["line 2", "\"kernel\" must come first"]),
        ("(\n kernels: [(kernel: \"gemm\", size: [64])],\n)", &["line 2", "size", "sizes"]),
        ("(\n kernels: [()],\n)", &["line 2", "\"kernel\" is missing"]),
        ("(\n kernels: [(kernel: \"gemm\")],\n sample: 9,\n)", &["line 3", "no field \"sample\"", "samples"]),
        ("(\n kernels: [(kernel: \"gemm\")],\n builds: [Fast],\n)", &["line 3", "\"Fast\"", "Unchecked", "Checked"]),
        ("(\n kernels: [(kernel: \"gemm\")],\n samples: -1,\n)", &["line 3", "samples"]),
        ("(\n kernels: [(kernel: \"gemm\")]", &["line 2", "expected comma"]),
        ("(\n kernels: [(kernel: \"gemm\",", &["line 2", "ends too early"]),
        ("(\n kernels: [(kernel: \"gemm\")],\n samples: 0,\n)", &["line 3", "samples", "0; from 1 to 10000"]),
        (
            "(\n kernels: [(kernel: \"gemm\")],\n samples: 18446744073709551615,\n)",
            &["line 3", "18446744073709551615; from 1 to 10000"],
        ),
        ("(\n kernels: [(kernel: \"gemm\")],\n warmup: 18446744073709551615,\n)", &["line 3", "from 0 to 10000"]),
        ("(\n kernels: [(kernel: \"gemm\")],\n threads: 100000,\n)", &["line 3", "threads", "from 1 to 1024"]),
        ("(\n kernels: [(kernel: \"gemm\")],\n threads: 0,\n)", &["line 3", "threads", "from 1 to 1024"]),
        ("(\n kernels: [])", &["line 2", "kernels", "nothing is selected"]),
        ("(\n kernels: [(kernel: \"gemm\",\n sizes: [])])", &["line 3", "sizes", "at least one"]),
        ("(kernels: [(kernel: \"gemm\")],\n adapters: [])", &["line 2", "adapters", "at least one"]),
        ("(kernels: [(kernel: \"gemm\")],\n adapters: [\"cpu\",\n \"\"])", &["line 3", "adapters", "empty"]),
        ("(kernels: [(kernel: \"gemm\")],\n builds: [])", &["line 2", "builds", "at least one"]),
        ("(kernels: [(kernel: \"gemm\")],\n memory_budget: \"much\")", &["line 2", "memory_budget", "512MiB"]),
        ("(kernels: [(kernel: \"gemm\")],\n control_band: 1.5)", &["line 2", "control_band", "below 1"]),
    ] {
        let told = Config::parse(text).unwrap_err();
        if words.iter().any(|word| !told.contains(word)) {
            wrong.push(format!("{text}: {words:?} are not all in: {told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(Config::from_ron("no/such.ron").unwrap_err().to_string().starts_with("no/such.ron: "));
    let folder = TempDir::new().unwrap();
    let elsewhere = config("(adapters: [\"no such adapter\"], kernels: [(kernel: \"fill\")])");
    let error = sweep::run(&elsewhere, folder.path(), &Options::default()).unwrap_err();
    assert!(matches!(error, Error::NoAdapter { .. }), "{error}");
}

#[test]
fn points_say_what_was_measured() {
    let folder = TempDir::new().unwrap();
    let summary = run(&config(SMALL), folder.path());
    assert_eq!((summary.right, summary.before, summary.is_right()), (3, 0, true), "{summary:?}");
    for p in points(folder.path()) {
        assert_eq!((p.status, p.deviation, p.samples, p.dispatches), (Status::Right, Some(0.0), LEAST_SAMPLES, 1));
        assert_eq!(p.checksum, p.reference);
        assert_eq!(p.kernels[0].label, p.case);
        assert!(p.kernels[0].hash.len() == 16 && !p.driver.is_empty() && p.wgpu.starts_with("30."), "{p:?}");
        let (kernels, wall) = (p.kernel_us.unwrap(), p.wall_us.unwrap());
        assert!(kernels.median > 0.0 && kernels.median <= wall.median, "{p:?}");
        for s in [kernels, wall] {
            assert!(s.min <= s.q1 && s.q1 <= s.median && s.median <= s.q3 && s.mad <= s.q3 - s.min, "{s:?}");
        }
        assert!((p.bandwidth.unwrap() - p.bytes as f64 / kernels.median / 1e3).abs() < 1e-9 * p.bandwidth.unwrap());
        assert!(p.bandwidth_share.unwrap() > 0.0 && p.clock.as_deref() == Some("wall clock"));
    }
    let lines = record::read(folder.path()).unwrap();
    let adapter = lines.iter().find_map(|l| if let Line::Adapter(a) = l { Some(a) } else { None }).unwrap();
    assert!(adapter.bandwidth.unwrap() > 0.1 && adapter.arithmetic.unwrap() > 0.1, "{adapter:?}");
    let controls: Vec<_> = lines.iter().filter_map(|l| if let Line::Control(c) = l { Some(c) } else { None }).collect();
    assert_eq!(controls.iter().map(|c| &*c.when).collect::<Vec<_>>(), ["start", "end"]);
    let report = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    assert!(lines.iter().filter(|l| matches!(l, Line::Machine(m) if m.date.len() == 19)).count() == 2);
    for word in ["| elements | fill, unary |", "No scaling.png", "; load "] {
        assert!(report.contains(word), "{word} in:\n{report}");
    }
    for word in ["| unary | square | 4096 |", "## Control", "## Devices", "bits equal", "![scaling]", "![roofline]"] {
        // A case of one size has no curve.
        assert_eq!(report.contains(word), word != "![scaling]", "{word} in:\n{report}");
    }
    program::assert_png(&folder.path().join("roofline.png"));
}

#[test]
fn a_sweep_goes_on_where_it_was_left_off() {
    let folder = TempDir::new().unwrap();
    let (path, file) = (folder.path(), folder.path().join("points.jsonl"));
    // Stopped before the third point.
    let cancel = CancelToken::new();
    let stop = |done: usize, _: usize, _: &str| {
        if done == 2 {
            cancel.cancel();
        }
    };
    let options = Options { cancel: cancel.clone(), progress: Some(&stop), ..Options::default() };
    let config = untimed();
    assert_eq!(sweep::run(&config, path, &options), Err(Error::Cancelled));
    assert!(path.join("report.md").is_file());
    let first = names(path);
    assert!((2..3).contains(&first.len()), "{first:?}");
    // Killed while it wrote a line, within a letter.
    let mut bytes = std::fs::read(&file).unwrap();
    let whole = bytes.clone();
    bytes.extend_from_slice("{\"line\":\"point\",\"unit\":\"µ".as_bytes());
    bytes.pop();
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(names(path), first, "a line that was cut off does not count");
    let summary = run(&config, path);
    assert_eq!((summary.right, summary.before), (3, 2));
    let all = names(path);
    assert!(all[..2] == first[..] && all.len() == 3);
    assert!(std::fs::read(&file).unwrap().starts_with(&whole), "what was there stays");
    // Whole: nothing is run.
    let before = std::fs::read(&file).unwrap();
    assert_eq!(run(&config, path).before, 3);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    // Cut off behind the second point.
    let second = before.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i).nth(4).unwrap();
    std::fs::write(&file, &before[..second - 40]).unwrap();
    run(&config, path);
    let mut again = names(path);
    again.sort();
    again.dedup();
    assert_eq!(again.len(), 3);
}

#[test]
fn folders_of_something_else_are_refused() {
    let folder = TempDir::new().unwrap();
    run(&untimed(), folder.path());
    let before = std::fs::read(folder.path().join("points.jsonl")).unwrap();
    for (from, to, words) in [
        ("threads: 1", "threads: 1, samples: 10", &["another sweep", "samples: 2 there, 10 here"][..]),
        ("sizes: [4096])", "sizes: [65536])", &["points: 3 there, 3 here", "\"fill default 65536\" is only here"]),
        ("threads: 1", "threads: 2, samples: 2", &["threads: 1 there, 2 here"]),
    ] {
        let other = config(&SMALL.replacen(from, to, 1));
        let told = sweep::run(&other, folder.path(), &Options::default()).unwrap_err().to_string();
        assert!(words.iter().all(|word| told.contains(word)), "{words:?} are not all in: {told}");
    }
    assert_eq!(std::fs::read(folder.path().join("points.jsonl")).unwrap(), before);
    let mut lines = before.clone();
    lines.splice(0..0, b"{\"no\": 1}\n".iter().copied());
    std::fs::write(folder.path().join("points.jsonl"), lines).unwrap();
    let told = sweep::run(&config(SMALL), folder.path(), &Options::default()).unwrap_err().to_string();
    assert!(told.contains("line 1"), "{told}");
    // One that never came to a point is taken over.
    let first = before.split_inclusive(|b| *b == b'\n').next().unwrap();
    std::fs::write(folder.path().join("points.jsonl"), first).unwrap();
    let other = config(&SMALL.replace("threads: 1", "threads: 2, samples: 2"));
    assert_eq!(run(&other, folder.path()).right, 3);
    let other = TempDir::new().unwrap();
    std::fs::write(other.path().join("letter.txt"), "dear").unwrap();
    let told = sweep::run(&config(SMALL), other.path(), &Options::default()).unwrap_err().to_string();
    assert!(told.contains("something else"), "{told}");
    assert_eq!(program::listed(&other), ["letter.txt"]);
}

#[test]
fn a_wrong_result_has_no_time() {
    let folder = TempDir::new().unwrap();
    let alter = |job: &Job, results: &mut Vec<Vec<u8>>| {
        if job.variant == "abs" {
            results[0][40] ^= 1;
        }
    };
    let said = std::sync::Mutex::new(Vec::new());
    let notice = |text: &str| said.lock().unwrap().push(text.to_owned());
    let options = Options { alter: Some(&alter), notice: Some(&notice), ..Options::default() };
    let summary = sweep::run(&config(SMALL), folder.path(), &options).unwrap();
    assert!(!summary.is_right() && summary.right == 2 && summary.wrong.len() == 1, "{summary:?}");
    for word in ["unary abs 4096 on cpu", "bit for bit", "1 of 4096 words", "word 10 first"] {
        assert!(summary.wrong[0].contains(word), "no \"{word}\" in {}", summary.wrong[0]);
    }
    let said = said.into_inner().unwrap();
    assert!(said.iter().any(|line| line.starts_with("WRONG RESULT: unary abs 4096 on cpu")), "{said:?}");
    let wrong = points(folder.path()).into_iter().find(|p| p.variant == "abs").unwrap();
    assert_eq!((wrong.status, wrong.kernel_us, wrong.wall_us, wrong.bandwidth), (Status::Wrong, None, None, None));
    assert_ne!(wrong.checksum, wrong.reference);
    let report = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    assert!(report.contains("**1 point is wrong or failed; it has no times.**"), "{report}");
    let table = sweep::agreement(&[folder.path()]).unwrap();
    assert!(!table.is_right() && table.markdown().contains("✗ differs (unary) |"), "{}", table.markdown());
}

#[test]
fn what_failed_is_run_again() {
    let folder = TempDir::new().unwrap();
    run(&untimed(), folder.path());
    let lines = record::read(folder.path()).unwrap();
    let failed = write(&lines, |p| {
        if p.variant == "abs" {
            (p.status, p.detail) = (Status::Failed, Some("the device was lost".into()));
        }
    });
    let path = failed.path();
    assert!(!sweep::agreement(&[path]).unwrap().is_right());
    let summary = run(&untimed(), path);
    assert_eq!((summary.right, summary.before, &summary.failed[..]), (3, 2, &[][..]), "{summary:?}");
    let mut again = names(path);
    again.sort();
    assert_eq!(again, ["fill default 4096 on cpu", "unary abs 4096 on cpu", "unary square 4096 on cpu"]);
    assert!(sweep::agreement(&[path]).unwrap().is_right());
    let report = std::fs::read_to_string(path.join("report.md")).unwrap();
    assert!(!report.contains("wrong or failed"), "{report}");
}

/// Writes lines as a sweep's folder, of a machine that has not changed.
fn write(lines: &[Line], change: impl Fn(&mut Point)) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut text = String::new();
    for line in lines {
        let mut line = line.clone();
        match &mut line {
            Line::Point(point) => change(point),
            Line::Adapter(a) => (a.bandwidth, a.arithmetic) = (Some(10.0), Some(100.0)),
            Line::Control(c) => c.ratio = 1.0,
            Line::Sweep(_) | Line::Machine(_) => {}
        }
        text += &(serde_json::to_string(&line).unwrap() + "\n");
    }
    std::fs::write(folder.path().join("points.jsonl"), text).unwrap();
    folder
}

/// A factor on all times of a point.
fn slow(p: &mut Point, factor: f64) {
    for s in [&mut p.kernel_us, &mut p.wall_us].into_iter().flatten() {
        for value in [&mut s.median, &mut s.q1, &mut s.q3, &mut s.min] {
            *value *= factor;
        }
    }
}

/// Times around 100 µs with this median distance.
fn around(p: &mut Point, mad: f64) {
    let s = record::Spread { median: 100.0, q1: 100.0 - mad, q3: 100.0 + mad, mad, min: 90.0 };
    (p.kernel_us, p.wall_us) = (Some(s), Some(s));
}

#[test]
fn what_became_slower_is_named_and_noise_is_not() {
    let folder = TempDir::new().unwrap();
    run(&config(SMALL), folder.path());
    let lines = record::read(folder.path()).unwrap();
    let a = write(&lines, |p| around(p, 2.0));
    let compare = |b: &TempDir| sweep::compare(a.path(), b.path()).unwrap();
    let with = |factor: f64, mad: f64| {
        compare(&write(&lines, |p| {
            around(p, mad);
            if p.variant == "square" {
                slow(p, factor);
            }
        }))
    };
    for (factor, mad, slower, faster) in [
        (1.0, 2.0, 0, 0),
        // Above the least, within the noise.
        (1.08, 2.0, 0, 0),
        // Beyond it.
        (1.3, 2.0, 1, 0),
        (0.7, 2.0, 0, 1),
        // The same in times that spread widely.
        (1.3, 15.0, 0, 0),
        // Less than counts, however exact.
        (1.04, 0.1, 0, 0),
    ] {
        let c = with(factor, mad);
        assert_eq!((c.compared, c.slower.len(), c.faster.len()), (3, slower, faster), "{factor} {mad}: {c:?}");
        for change in c.slower.iter().chain(&c.faster) {
            assert!(change.point.contains("unary square 4096") && (change.ratio / factor - 1.0).abs() < 1e-9);
        }
    }
    // What is not the same.
    let b = write(&lines[..lines.len() - 4], |p| {
        around(p, 2.0);
        p.driver = "another".into();
        p.commit = "abcdef0".into();
        p.kernels[0].hash = "0".into();
        if p.case == "fill" {
            (p.status, p.detail) = (Status::Wrong, Some("off by one".into()));
        }
    });
    let c = compare(&b);
    assert_eq!((c.compared, &c.only_before[..]), (1, &["unary square 4096 on cpu".to_owned()][..]));
    assert!(c.broken.len() == 1 && c.broken[0].contains("right, then off by one"), "{c:?}");
    for word in ["driver of cpu", "commit", "text of kernel unary", "text of kernel fill"] {
        assert!(c.changed.iter().any(|line| line.starts_with(word)), "{word}: {c:?}");
    }
    assert!(c.text().contains("only in the first: unary square 4096 on cpu"), "{}", c.text());

    // The program.
    let b = write(&lines, |p| {
        around(p, 2.0);
        slow(p, 2.0);
    });
    let args = ["sweep", "compare", program::text(a.path()), program::text(b.path())];
    let out = program::run(&args).done().stdout;
    assert!(out.contains("slower: fill default 4096 on cpu") && out.contains("3 points compared: 3 slower"), "{out}");
    let gate = |a: &Path, b: &Path| {
        let out = program::run(&["sweep", "compare", program::text(a), program::text(b), "--fail-on-slower"]);
        (out.code, out.stderr)
    };
    let refused = |a: &Path, b: &Path, why: &str| {
        let (code, said) = gate(a, b);
        assert!(code == Some(1) && said.contains(why), "{why}: {code:?} {said}");
    };
    refused(a.path(), b.path(), "3 slower");
    assert_eq!(gate(a.path(), a.path()).0, Some(0));
    // A gate that does not compare does not pass.
    let bare = write(&lines, |p| (p.kernel_us, p.wall_us) = (None, None));
    refused(a.path(), bare.path(), "no point has times in both");
    let fewer = write(&lines[..lines.len() - 4], |p| around(p, 2.0));
    refused(a.path(), fewer.path(), "1 only in the first");
    assert_eq!(gate(fewer.path(), a.path()).0, Some(0));
    let wrong = write(&lines, |p| {
        around(p, 2.0);
        if p.case == "fill" {
            (p.status, p.kernel_us, p.wall_us) = (Status::Wrong, None, None);
        }
    });
    refused(a.path(), wrong.path(), "1 not right any more");
    assert_eq!(gate(wrong.path(), a.path()).0, Some(0), "repaired");
    // The machine was slower by as much, or cannot be trusted.
    let edited = |change: &dyn Fn(&mut Line)| {
        let folder = TempDir::new().unwrap();
        let mut text = String::new();
        for mut line in record::read(b.path()).unwrap() {
            change(&mut line);
            text += &(serde_json::to_string(&line).unwrap() + "\n");
        }
        std::fs::write(folder.path().join("points.jsonl"), text).unwrap();
        folder
    };
    for (folder, why) in [
        (
            edited(&|line| {
                if let Line::Adapter(a) = line {
                    a.arithmetic = Some(40.0)
                }
            }),
            "no more than the machine",
        ),
        (
            edited(&|line| {
                if let Line::Control(c) = line {
                    c.ratio = 2.0
                }
            }),
            "2 controls outside",
        ),
    ] {
        let c = sweep::compare(a.path(), folder.path()).unwrap();
        assert_eq!((c.slower.len(), c.unsure.len()), (0, 3), "{why}: {c:?}");
        refused(a.path(), folder.path(), why);
    }
    let folder = TempDir::new().unwrap();
    let none = program::text(folder.path());
    program::run(&["sweep", "compare", none, none]).refused(3, &["points.jsonl", "name the folder of a sweep"]);
}

#[test]
fn a_table_of_kernels_and_folders() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    run(&untimed(), &at("native"));
    std::fs::create_dir(at("static")).unwrap();
    let rows = [
        r#"{"line":"note","what":"other lines do not count"}"#,
        r#"{"line":"point","case":"a","kernels":[{"label":"fill"},{"label":"fft"}],"status":"right"}"#,
        r#"{"line":"point","case":"b","kernels":[{"label":"fft"}],"status":"right","deviation":0.25}"#,
        r#"{"line":"point","case":"c","kernels":[{"label":"gemm"}],"status":"wrong","deviation":3.5}"#,
        r#"{"line":"point","case":"d","kernels":[{"label":"kde"}],"status":"failed","detail":"a | b"}"#,
        r#"{"line":"point","case":"e","kernels":[{"label":"scan"}],"status":"refused","detail":"too large"}"#,
        r#"{"line":"point","case":"f","kernels":[{"label":"binary","hash":"0123"}],"status":"right"}"#,
        r#"{"line":"point","case":"g","kern"#,
    ];
    std::fs::write(at("static").join("points.jsonl"), rows.join("\n")).unwrap();
    let table = sweep::agreement(&[at("native"), at("static")]).unwrap();
    let text = table.markdown();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("| kernel | native | static |"));
    for row in [
        "| `fill` | ✓ | ✓ |",
        "| `fft` |  | ✓ 0.25 |",
        "| `gemm` |  | ✗ 3.5 (c) |",
        "| `kde` |  | ✗ a \\| b |",
        "| `scan` |  | refused |",
        "| `unary` | ✓ |  |",
        "| `binary` |  | another text |",
    ] {
        assert!(text.lines().any(|line| line == row), "no {row} in\n{text}");
    }
    assert_eq!(lines.count(), 1 + 7, "only what is measured");
    assert!(!table.is_right());
    assert_eq!(table.missing(0).len(), kernel::ALL.len() - 2);
    let json = table.json();
    assert!(json["right"] == false && json["kernels"]["gemm"]["static"]["deviation"] == 3.5, "{json}");
    // Of one name, told apart by their drivers.
    let row = r#"{"line":"point","adapter":"x","driver":"D","case":"a","kernels":[{"label":"fill"}],"status":"right"}"#;
    for (folder, driver) in [("a", "1.0"), ("b", "2.0")] {
        let folder = at(folder).join("same");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("points.jsonl"), row.replace('D', driver) + "\n").unwrap();
    }
    let table = sweep::agreement(&[at("a").join("same"), at("b").join("same")]).unwrap();
    assert!(table.markdown().starts_with("| kernel | same (1.0) | same (2.0) |\n"), "{}", table.markdown());
    let out = program::run(&["sweep", "agreement", program::text(&at("native"))]);
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    assert!(out.stdout.contains("| `fill` | ✓ |") && out.stderr.contains("no point dispatches"), "{}", out.stderr);
    program::run(&["sweep", "agreement", program::text(&at("none"))]).refused(3, &["points.jsonl"]);
}

#[test]
fn the_program_sweeps() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("small.ron");
    std::fs::write(&file, SMALL.replace("\"cpu\"", "\"gpu\"")).unwrap();
    let output = folder.path().join("out");
    let args = ["sweep", program::text(&file), "--device", "cpu", "--output", program::text(&output), "--json"];
    let summary = program::run(&args).json();
    assert_eq!((program::number(&summary["right"]), summary["files"].as_array().unwrap().len()), (3.0, 2), "{summary}");
    // What a user has from the program alone.
    let help = program::run(&["sweep", "--help"]).done().stdout;
    let example = &help[help.find("\n(\n").unwrap()..];
    assert!(Config::parse(example).unwrap().builds.len() == 2, "{help}");
    let list = program::run(&["sweep", "--list"]).done().stdout;
    let of = |name: &str| list.lines().find(|line| line.split(' ').next() == Some(name)).unwrap().to_owned();
    assert!(cases::ALL.iter().all(|case| of(case.name).contains(case.unit)), "{list}");
    assert!(of("gemm").contains("64, 256, 512, 1024") && of("gemm").contains("transposed"), "{list}");
    for (name, text) in sweep::BUILT_IN {
        assert_eq!(Config::built_in(name), Some(config(text)), "{name}");
    }
    program::run(&["sweep", "quickly"]).refused(3, &["quickly", "quick, full, lanes"]);
    let elsewhere = folder.path().join("elsewhere.ron");
    std::fs::write(&elsewhere, "(\n adapters: [\"cpu\",\n  \"no such\"],\n kernels: [(kernel: \"fill\")],\n)").unwrap();
    let out =
        program::run(&["sweep", program::text(&elsewhere), "--output", program::text(&folder.path().join("new"))]);
    assert!(out.code == Some(4) && out.stderr.contains("elsewhere.ron: line 3 names \"no such\""), "{}", out.stderr);
    let bad = folder.path().join("bad.ron");
    std::fs::write(&bad, "(\n kernels: [(kernel: \"fil\")],\n)").unwrap();
    let args = ["sweep", program::text(&bad), "--output", program::text(&output)];
    program::run(&args).refused(3, &["bad.ron", "line 2", "\"fil\"", "fill"]);
}

/// Known answers of the kernels that ceilings are measured with.
#[test]
fn ceiling_copy_and_ceiling_multiply_add() {
    for device in common::devices() {
        for (name, size) in [("ceiling_copy", 4096), ("ceiling_multiply_add", 16)] {
            let problem = cases::find(name).unwrap().problem(device.capabilities(), size, "default").unwrap();
            let mut prepared = device.prepare(&problem.recording).unwrap();
            let outputs = prepared.run(&problem.feeds(), &Control::default()).unwrap();
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(problem.results(&outputs).unwrap()[0]);
            let on = device.name();
            if name == "ceiling_copy" {
                let expected: Vec<u32> = (0..1024u32).flat_map(|i| [i, !i, i ^ 0x5555, i << 7]).collect();
                assert!(words == expected, "a copy on {on}");
            } else {
                // 16 links of 16 chains, one each.
                assert!(words.len() == 1 << 16 && words.iter().all(|w| f32::from_bits(*w) == 256.0), "chains on {on}");
            }
        }
    }
}

/// All kernels on all adapters of this machine, in the smallest size of every case and variant.
#[test]
fn every_kernel_agrees_on_every_adapter() {
    let folder = TempDir::new().unwrap();
    let config = Config::from_ron(Path::new(ASSETS).join("lanes.ron")).unwrap();
    let adapters = if common::skipped() { vec!["cpu".into()] } else { config.adapters.clone() };
    let summary = run(&Config { adapters, ..config }, folder.path());
    assert!(summary.is_right() && summary.refused.is_empty(), "{summary:#?}");
    let points = points(folder.path());
    let mut keys: Vec<Key> = points.iter().map(Point::key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!((keys.len(), points.iter().all(|p| p.wall_us.is_none())), (points.len(), true));
    for kernel in kernel::ALL {
        let dispatches = |p: &&Point| p.kernels.iter().any(|k| k.label == kernel.label());
        let mut gpus: Vec<&str> = points.iter().filter(|p| p.adapter != "cpu").map(|p| &*p.adapter).collect();
        gpus.dedup();
        for gpu in gpus {
            let found = points.iter().filter(|p| p.adapter == gpu).any(|p| dispatches(&p));
            assert!(found, "no point dispatches {} on {gpu}", kernel.label());
        }
    }
    let table = sweep::agreement(&[folder.path()]).unwrap();
    assert!(table.is_right(), "{}", table.markdown());
}

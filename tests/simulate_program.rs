//! `spikewave simulate` and `spikewave bench lif --sizes` as their users meet them.

#[path = "common/program.rs"]
mod program;

use std::path::Path;

use program::{adapters, assert_png, has_keys, listed, number, run, software, text};
use serde_json::Value;
use spikewave::io::npz::Npz;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/networks/balanced.ron");
const POPULATIONS: [&str; 8] = ["L23E", "L23I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I"];

fn simulate(args: &[&str]) -> program::Run {
    let cpu = if args.contains(&"--device") { &[][..] } else { &["--device", "cpu"] };
    run(&[&["simulate"], args, cpu].concat())
}

/// The documented keys of a simulation.
fn check(value: &Value) {
    has_keys(value, &["device", "neurons", "synapses", "timing", "memory", "rates_hz", "spikes", "spike_hash"]);
    for key in ["build_s", "warmup_s", "simulate_s", "real_time_factor"] {
        assert!(number(&value["timing"][key]) >= 0.0, "{value}");
    }
    let memory = &value["memory"];
    assert!(number(&memory["planned_bytes"]) > 0.0 && number(&memory["peak_bytes"]) > 0.0, "{value}");
    assert!(number(&memory["peak_bytes"]) <= number(&memory["budget_bytes"]), "{value}");
    let parts: f64 = memory["parts"].as_object().unwrap().values().map(number).sum();
    assert_eq!(parts, number(&memory["planned_bytes"]), "{value}");
}

/// A small microcircuit that fires from the first step on.
const SMALL: [&str; 7] = ["microcircuit", "--scale", "0.02", "--duration-s", "0.2", "--drive", "poisson"];

#[test]
fn the_microcircuit_is_the_same_on_every_device_and_number_of_threads() {
    let of = |more: &[&str]| simulate(&[&SMALL[..], more, &["--json"]].concat()).json();
    let one = of(&["--threads", "1"]);
    check(&one);
    assert_eq!((&one["neurons"], &one["synapses"]), (&1544.into(), &119_548.into()));
    let rates = one["rates_hz"].as_object().unwrap();
    assert_eq!(rates.keys().collect::<Vec<_>>(), POPULATIONS);
    assert!(rates.values().map(number).sum::<f64>() > 1.0, "{one}");
    assert!(number(&one["spikes"]) > 100.0, "{one}");
    let same = |other: &Value| {
        for key in ["spike_hash", "spikes", "rates_hz", "cv"] {
            assert_eq!(one[key], other[key], "{key}");
        }
    };
    same(&of(&["--threads", "2"]));
    if let Some(name) = software() {
        let other = of(&["--device", &name]);
        check(&other);
        same(&other);
    }
    // Another seed is another network; timing phases changes nothing.
    assert_ne!(one["spike_hash"], of(&["--seed", "1"])["spike_hash"]);
    let profiled = of(&["--profile"]);
    same(&profiled);
    let phases = profiled["profile"].as_array().unwrap();
    for phase in ["neurons", "propagation", "input"] {
        let found = phases.iter().find(|p| p["phase"] == phase);
        assert!(found.is_some_and(|p| number(&p["dispatches"]) > 0.0), "{phase}: {profiled}");
    }
    // The published start begins with a volley, whatever drives the network.
    let dc = ["microcircuit", "--scale", "0.02", "--duration-s", "0.2", "--v0", "original", "--json"];
    let dc = simulate(&dc).json();
    check(&dc);
    assert!(number(&dc["spikes"]) > 100.0 && dc["spike_hash"] != one["spike_hash"], "{dc}");
}

#[test]
fn a_checkpoint_is_gone_on_from_with_the_same_spikes() {
    let folder = tempfile::tempdir().unwrap();
    let [half, end] = ["half", "end"].map(|name| folder.path().join(name));
    let base = ["microcircuit", "--scale", "0.02", "--drive", "poisson", "--json"];
    let of = |more: &[&str]| simulate(&[&base[..], more].concat()).json();
    let whole = of(&["--duration-s", "0.2", "--record-from", "100"]);
    let first = of(&["--duration-s", "0.1", "--checkpoint", text(&half)]);
    assert_ne!(first["spike_hash"], whole["spike_hash"]);
    let second = of(&["--duration-s", "0.1", "--resume", text(&half), "--checkpoint", text(&end)]);
    assert_eq!(listed(&folder), ["end", "half"]);
    for key in ["spike_hash", "spikes", "rates_hz"] {
        assert_eq!(second[key], whole[key], "{key}");
    }
    assert_eq!((number(&second["from_ms"]), number(&second["recorded_s"])), (100.0, 0.1));
    let all = of(&["--duration-s", "0.2"]);
    assert_eq!(number(&all["spikes"]), number(&first["spikes"]) + number(&second["spikes"]));
    let on =
        |args: &[&str]| simulate(&[&["microcircuit", "--duration-s", "0.1", "--resume", text(&half)], args].concat());
    on(&["--scale", "0.02", "--drive", "poisson", "--seed", "5"]).refused(3, &["half", "another network"]);
    on(&["--scale", "0.02", "--drive", "dc"]).refused(3, &["half", "another network"]);
    on(&["--scale", "0.02", "--drive", "poisson", "--record-from", "200"]).refused(2, &["record-from", "200 ms"]);
    let json = folder.path().join("no");
    std::fs::write(&json, "{}").unwrap();
    simulate(&["cuba", "--resume", text(&json)]).refused(3, &[text(&json)]);
}

#[test]
fn spikes_are_written_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let [npz, png] = ["spikes.npz", "out.png"].map(|name| folder.path().join(name));
    let args = ["cuba", "--duration-s", "0.3", "--record-from", "100", "--output", text(&npz), "--plot", text(&png)];
    let found = simulate(&[&args[..], &["--json"]].concat()).json();
    check(&found);
    assert_eq!((&found["neurons"], &found["synapses"]), (&4000.into(), &320_050.into()));
    assert_eq!(listed(&folder), ["out.png", "spikes.npz"]);
    assert_png(&png);
    let mut file = Npz::open(&npz).unwrap();
    let time: Vec<f64> = file.vector("time_ms").unwrap();
    let [population, neuron, global, sizes] =
        ["population", "neuron", "neuron_global", "population_sizes"].map(|name| file.vector::<u32>(name).unwrap());
    assert_eq!(sizes, [3200, 800, 50]);
    assert_eq!(file.vector::<f64>("span_ms").unwrap(), [100.0, 300.0]);
    assert_eq!(time.len() as f64, number(&found["spikes"]));
    assert!(time.windows(2).all(|t| t[0] <= t[1]) && time.iter().all(|t| (100.05..300.05).contains(t)));
    for (p, name) in ["E", "I"].into_iter().enumerate() {
        let n = population.iter().filter(|q| **q == p as u32).count() as f64;
        let rate = n / f64::from(sizes[p]) / 0.2;
        assert!((rate - number(&found["rates_hz"][name])).abs() < 1e-9, "{name}: {rate} {found}");
        assert!(rate > 1.0, "{name}: {rate}");
    }
    for i in 0..time.len() {
        assert_eq!(global[i], neuron[i] + [0, 3200, 4000][population[i] as usize]);
    }
    // Without spikes kept, counts are the same.
    let bare = simulate(&["cuba", "--duration-s", "0.3", "--no-record", "--json"]).json();
    let kept = simulate(&["cuba", "--duration-s", "0.3", "--json"]).json();
    assert_eq!((&bare["spikes"], &bare["rates_hz"]), (&kept["spikes"], &kept["rates_hz"]));
    assert!(bare["spike_hash"].is_null() && kept["spike_hash"].is_string());
}

#[test]
fn the_other_networks_of_the_literature() {
    let coba = simulate(&["coba", "--duration-s", "0.2", "--json"]).json();
    check(&coba);
    assert!((1.0..100.0).contains(&number(&coba["rates_hz"]["E"])), "{coba}");
    let brunel = |more: &[&str]| {
        let found = simulate(&[&["brunel", "--scale", "0.1", "--duration-s", "0.1", "--json"], more].concat()).json();
        check(&found);
        found
    };
    let (c, a) = (brunel(&[]), brunel(&["--state", "a"]));
    assert_eq!((&c["neurons"], &c["synapses"]), (&1250.into(), &1_562_500.into()));
    assert!(number(&a["rates_hz"]["E"]) > number(&c["rates_hz"]["E"]), "{a} {c}");
    assert_eq!(brunel(&["--g", "5", "--eta", "2"])["spike_hash"], c["spike_hash"]);
    // People get a table, and hear first where it runs and what it takes.
    let table = simulate(&["brunel", "--scale", "0.1", "--duration-s", "0.01"]).done();
    for word in ["population", "real-time factor", "hash"] {
        assert!(table.stdout.contains(word), "{}", table.stdout);
    }
    for word in ["device: cpu", "1250 neurons, 1562500 synapses", "memory: ", "synapses  "] {
        assert!(table.stderr.contains(word), "{}", table.stderr);
    }
}

#[test]
fn a_network_of_ones_own() {
    let found = simulate(&[EXAMPLE, "--duration-s", "0.3", "--json"]).json();
    check(&found);
    assert_eq!((&found["network"], &found["neurons"]), (&"balanced".into(), &1000.into()));
    assert!(POPULATIONS.iter().all(|p| found["rates_hz"].get(p).is_none()));
    assert!(["E", "I"].iter().all(|p| number(&found["rates_hz"][p]) > 1.0), "{found}");
    let seeded = simulate(&[EXAMPLE, "--duration-s", "0.3", "--seed", "1", "--json"]).json();
    assert_eq!(seeded["spike_hash"], found["spike_hash"]);
    let plan = simulate(&[EXAMPLE, "--plan", "--json"]).json();
    assert_eq!(plan["synapses"], found["synapses"]);
    assert_eq!(plan["memory"]["planned_bytes"], found["memory"]["planned_bytes"]);
    assert!(simulate(&[EXAMPLE, "--plan"]).done().stdout.contains("1000 neurons"));
}

/// A description with two populations and this projection.
fn described(folder: &Path, projection: &str) -> String {
    let path = folder.join("network.ron");
    let network = format!(
        "(\n  populations: [\n    (name: \"a\", size: 20, neuron: IafPscExp()),\n    (name: \"b\", size: 10, neuron: \
         IafPscExp()),\n  ],\n  projections: [\n    ({projection}),\n  ],\n)\n"
    );
    std::fs::write(&path, network).unwrap();
    text(&path).into()
}

#[test]
fn what_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let of = |projection: &str| simulate(&[&described(folder.path(), projection), "--duration-s", "0.01"]);
    let rest = "source: \"a\", target: \"b\", weight: 1.0";
    let all = |more: &str| of(&format!("{rest}, rule: AllToAll, {more}"));
    assert_eq!(all("delay: 25.5").done().code, Some(0));
    all("delay: 0.0").refused(3, &["network.ron", "delay", "0"]);
    all("delay: 25.6").refused(3, &["network.ron", "delay", "25.6"]);
    of("source: \"a\", target: \"b\", weight: 1e30, rule: AllToAll, delay: 1.0").refused(3, &["network.ron", "weight"]);
    of("source: \"a\", target: \"c\", weight: 1.0, rule: AllToAll, delay: 1.0").refused(3, &["network.ron", "\"c\""]);
    of(&format!("{rest}, rule: FixedInDegree(21), delay: 1.0, multapses: false"))
        .refused(3, &["network.ron", "21", "20"]);
    of(&format!("{rest}, rule: FixedInDegree(1), dellay: 1.0")).refused(3, &["network.ron", "line 7", "dellay"]);
    of(&format!("{rest}, delay: 1.0")).refused(3, &["network.ron", "line 7", "\"rule\" is missing"]);
    of(&format!("{rest}, rule: Sonata(edges: \"no.h5\")")).refused(3, &["no.h5"]);
    simulate(&["no/such.ron"]).refused(3, &["no/such.ron"]);

    let circuit = |more: &[&str]| simulate(&[&["microcircuit", "--scale", "0.02"], more].concat());
    circuit(&["--duration-s", "0"]).refused(2, &["duration", "0 ms"]);
    circuit(&["--duration-s", "-1"]).refused(2, &["duration"]);
    circuit(&["--duration-s", "nan"]).refused(2, &["duration"]);
    circuit(&["--duration-s", "0.00015"]).refused(2, &["duration", "0.15 ms", "0.1 ms"]);
    circuit(&["--duration-s", "0.1", "--record-from", "100"]).refused(2, &["record-from", "nothing"]);
    circuit(&["--record-from", "-1"]).refused(2, &["record-from", "-1"]);
    circuit(&["--eta", "2"]).refused(2, &["eta", "brunel"]);
    circuit(&["--output", "out.txt"]).refused(2, &["out.txt", ".npz"]);
    circuit(&["--output", "/no/such/folder/out.npz"]).refused(3, &["/no/such/folder"]);
    circuit(&["--device", "nosuch"]).refused(4, &["nosuch"]);
    circuit(&["--memory-budget", "1MiB"]).refused(5, &["over the memory budget", "1.0 MiB"]);
    simulate(&["microcircuit", "--scale", "0"]).refused(2, &["scale", "above zero"]);
    simulate(&["cuba", "--drive", "dc"]).refused(2, &["drive", "microcircuit"]);
    simulate(&["brunel", "--g", "-1"]).refused(2, &["g", "from zero on"]);
    simulate(&["nosuch"]).refused(2, &["nosuch", "microcircuit, cuba, coba, brunel"]);
    simulate(&[EXAMPLE, "--scale", "2"]).refused(2, &["scale"]);
    let same = folder.path().join("out.npz");
    circuit(&["--output", text(&same), "--checkpoint", text(&same)]).refused(2, &["out.npz", "--checkpoint"]);
    for args in [&["--no-record", "--plot", "a.png"][..], &["--drive", "ac"], &["--scale", "x"]] {
        let refused = circuit(args);
        assert!(refused.code == Some(2) && refused.stdout.is_empty(), "{args:?}: {}", refused.stderr);
    }
    assert_eq!(listed(&folder), ["network.ron"]);
}

/// Ctrl-C ends a simulation between two submissions, and the checkpoint is that of this time.
#[cfg(unix)]
#[test]
fn an_interrupted_simulation_can_be_gone_on_with() {
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("state");
    let base = ["simulate", "cuba", "--device", "cpu", "--checkpoint", text(&checkpoint)];
    let long = [&base[..], &["--duration-s", "1000"]].concat();
    let child = program::command(&long).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(kill.success());
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(130), "{said}");
    assert!(out.stdout.is_empty() && said.contains("saved: ") && said.ends_with("spikewave: cancelled\n"), "{said}");
    let on = run(&[&base[..], &["--resume", text(&checkpoint), "--duration-s", "0.01", "--json"]].concat()).json();
    assert!(number(&on["from_ms"]) > 0.0, "{on}");
}

#[test]
fn neurons_of_several_sizes_are_timed() {
    let of = |device: &str| run(&["bench", "lif", "--sizes", "3000,100", "--device", device, "--json"]).json();
    let cpu = of("cpu");
    let sizes: Vec<f64> = cpu["sizes"].as_array().unwrap().iter().map(|s| number(&s["neurons"])).collect();
    assert_eq!(sizes, [100.0, 3000.0]);
    for row in cpu["sizes"].as_array().unwrap() {
        assert!(number(&row["cpu_one_thread_us"]) > 0.0 && number(&row["cpu_us"]) > 0.0);
        assert!(row["gpu_resident_us"].is_null() && row["gpu_transfers_us"].is_null());
    }
    assert!(cpu["gpu"].is_null() && cpu["crossing"]["gpu_resident"].is_null());
    let table = run(&["bench", "lif", "--sizes", "100", "--device", "cpu"]).done().stdout;
    for word in ["CPU, 1 thread", "CPU, all", "GPU, resident", "GPU, transfers", "crossing point"] {
        assert!(table.contains(word), "{table}");
    }
    if let Some(name) = adapters().first() {
        let gpu = of(name);
        let row = &gpu["sizes"][1];
        assert!(number(&row["gpu_resident_us"]) > 0.0 && number(&row["gpu_transfers_us"]) > 0.0, "{gpu}");
    }
    run(&["bench", "lif", "--sizes", "0", "--device", "cpu"]).refused(2, &["sizes", "0 neurons"]);
    run(&["bench", "conv1d", "--sizes", "10"]).refused(2, &["sizes", "lif"]);
}

#!/usr/bin/env python3
"""Times spiking networks on spikewave's native CPU path beside NEST, Brian2 and scipy, in one run. See README.md."""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import harness
from csr import Csr

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
GROUPS = ("microcircuit", "cuba", "csr")
TRANSIENT_MS = 500.0
# How many standard errors the mean rate of a population may be away from the peer's.
BOUND = 5.0


@dataclass
class Side:
    """What one program gave in each of its turns."""

    simulate_s: list = field(default_factory=list)
    real_time_factor: list = field(default_factory=list)
    build_s: list = field(default_factory=list)
    process_s: list = field(default_factory=list)
    peak_bytes: list = field(default_factory=list)
    rates_hz: list = field(default_factory=list)
    cv_isi: list = field(default_factory=list)
    spike_hash: list = field(default_factory=list)
    report: dict = field(default_factory=dict)

    @property
    def record(self):
        timed = ("simulate_s", "real_time_factor", "build_s", "process_s", "peak_bytes")
        kinds = {kind: getattr(self, kind) for kind in timed}
        return {**{kind: {"median": statistics.median(samples), "min": min(samples), "samples": samples}
                   for kind, samples in kinds.items() if samples},
                **{kind: getattr(self, kind) for kind in ("rates_hz", "cv_isi", "spike_hash", "report")}}


def run_json(command, order=None):
    """The JSON document that a command prints, and its wall time; `order` goes to its standard input."""
    what = f"`{' '.join(map(str, command))}`"
    start = time.perf_counter()
    try:
        done = subprocess.run(command, input=order and json.dumps(order), capture_output=True, text=True, check=False)
    except OSError as error:
        raise harness.BenchError(f"{what} cannot be started: {error}") from error
    wall = time.perf_counter() - start
    if done.returncode != 0:
        raise harness.BenchError(f"{what} ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    try:
        return json.loads(done.stdout), wall
    except json.JSONDecodeError as error:
        raise harness.BenchError(f"{what} printed something that is not one JSON document: {error}") from error


def simulate(program, arguments, args, seed, scratch, timed):
    """One process of spikewave over the transient and the duration; its JSON document with its wall time and the peak
    of its memory as the system saw it. Only where nothing is `timed` are spikes kept, and rates and CVs without the
    transient."""
    size = scratch / "peak.json"
    record = ["--no-record"] if timed else ["--record-from", f"{TRANSIENT_MS:g}"]
    model_s = args.duration_s + TRANSIENT_MS * 1e-3
    command = [sys.executable, "-I", "-S", HERE / "peak.py", size, program, "simulate", *arguments,
               "--duration-s", f"{model_s:g}", "--seed", seed, "--device", "cpu", "--threads", harness.THREADS, *record,
               "--json"]
    report, wall = run_json(list(map(str, command)))
    what = f"`spikewave simulate {' '.join(arguments)}`"
    try:
        timing = {key: float(report["timing"][key]) for key in ("build_s", "simulate_s", "real_time_factor")}
        {name: float(rate) for name, rate in report["rates_hz"].items()}
        {name: cv is None or float(cv) for name, cv in report["cv"].items()}
        recorded_s = float(report["recorded_s"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise harness.BenchError(f"the JSON of {what} must have timing.build_s, simulate_s, real_time_factor, "
                                 f"rates_hz, cv and recorded_s, and has not: {error!r}") from error
    if not timing["simulate_s"] > 0 or not math.isclose(
            timing["real_time_factor"], timing["simulate_s"] / model_s, rel_tol=0.01):
        raise harness.BenchError(f"{what} reports impossible times for {model_s:g} s: {timing}")
    if not math.isclose(recorded_s, model_s if timed else args.duration_s, rel_tol=1e-6):
        raise harness.BenchError(f"{what} counted spikes over {recorded_s} s, and was asked for {args.duration_s:g} s")
    if f"{harness.THREADS} threads" not in report["device"]:
        raise harness.BenchError(f"{what} ran on {report['device']}, and both sides must use {harness.THREADS} threads")
    return {**report, "process_s": wall, "peak_bytes": json.loads(size.read_text())["peak_bytes"]}


def our_turn(side, program, arguments, args, scratch):
    """A timed process, and one whose spikes are looked at."""
    def turn(number):
        report = simulate(program, arguments, args, number + 1, scratch, True)
        side.simulate_s.append(report["timing"]["simulate_s"])
        side.real_time_factor.append(report["timing"]["real_time_factor"])
        side.build_s.append(report["timing"]["build_s"])
        side.process_s.append(report["process_s"])
        side.peak_bytes.append(report["peak_bytes"])
        side.report = report
        looked = simulate(program, arguments, args, number + 1, scratch, False)
        side.rates_hz.append(looked["rates_hz"])
        side.cv_isi.append(looked["cv"])
        side.spike_hash.append(looked["spike_hash"])
    return turn


def take_turns(turns, rounds):
    """Every turn once a round with the round's number, in reverse order every other round."""
    for number in range(rounds):
        for turn in turns if number % 2 == 0 else reversed(turns):
            turn(number)


def distances(ours, theirs):
    """{population: mean of ours, of theirs, and the difference in its standard errors}; lists hold a run each.

    A side with one run is given the other's spread. Populations of which a run says nothing are left out.
    """
    out = {}
    for name in theirs[0]:
        mine, other = ([run[name] for run in runs] for runs in (ours, theirs))
        spread = [statistics.variance(runs) for runs in (mine, other) if len(runs) > 1 and None not in runs]
        if None in mine + other or not spread:
            continue
        error = math.sqrt(spread[0] / len(mine) + spread[-1] / len(other))
        off = abs(statistics.mean(mine) - statistics.mean(other))
        out[name] = {"ours": statistics.mean(mine), "theirs": statistics.mean(other),
                     "standard_errors": off / error if error > 0 else (0.0 if off == 0 else math.inf)}
    return out


def activity_accuracy(ours, theirs):
    """Rates, and CVs of intervals where there are any; a side is (rates, CVs), each a list of {population: value}."""
    numbers, texts, worst = {}, [], 0.0
    for what, mine, other in zip(("rates_hz", "cv_isi"), ours, theirs):
        if not mine or not other:
            continue
        numbers[what] = found = distances(mine, other)
        if found:
            name = max(found, key=lambda key: found[key]["standard_errors"])
            worst = max(worst, found[name]["standard_errors"])
            texts.append(f"{'rate' if what == 'rates_hz' else 'CV'} {name} {found[name]['standard_errors']:.1f} s.e.")
    return harness.Accuracy(f"{mean_rates(ours[0]).text}; farthest: {', '.join(texts) or 'one run each'}", numbers,
                            worst <= BOUND)


def mean_rates(runs):
    means = {name: statistics.mean(run[name] for run in runs) for name in runs[0]}
    return harness.Accuracy(f"{' '.join(f'{rate:.2f}' for rate in means.values())} Hz", {"rates_hz": means}, True)


def row(title, mine, their, peer, target, show, accuracies=(None, None)):
    """A row in which less is better."""
    return harness.Row(
        title=title, ours="-" if not mine else f"{show(statistics.median(mine))} (best {show(min(mine))})",
        peer=f"{peer}: {show(statistics.median(their))} (best {show(min(their))})",
        ratio=statistics.median(their) / statistics.median(mine) if mine else None, target=target,
        our_accuracy=accuracies[0], peer_accuracy=accuracies[1],
    )


def seconds(value):
    return f"{value:.2f} s" if value < 100 else f"{value:,.0f} s"


def mib(value):
    return f"{value / (1 << 20):,.0f} MiB"


class Microcircuit:
    """Numbers of neurons and synapses both scaled, as in the package `microcircuit`, which NEST runs."""

    group = "microcircuit"

    def __init__(self, scale, drive):
        self.scale, self.drive = scale, drive
        self.title = f"microcircuit {scale:g}, {drive}"

    def order(self, args, seed):
        return {"scale": self.scale, "drive": self.drive, "seed": seed, "threads": harness.THREADS,
                "transient_ms": TRANSIENT_MS, "duration_ms": args.duration_s * 1e3, "record": False}

    def reference(self, args):
        """Rates and CVs recorded in NEST, a run a seed; empty where the record does not hold this setting."""
        record = json.loads(args.rates.read_text())
        if record["settings"]["duration_ms"] != args.duration_s * 1e3:
            return [], []
        for part in record["sets"]:
            if (part["scale"], part["drive"]) == (self.scale, self.drive):
                return tuple([run[key] for run in part["runs"]] for key in ("rates_hz", "cv_isi"))
        return [], []

    def measure(self, args, program, scratch):
        nest, ours = Side(), Side()

        def their_turn(number):
            report, wall = run_json([args.nest_python, HERE / "nest_microcircuit.py"], self.order(args, number + 1))
            nest.simulate_s.append(report["timing"]["simulate_s"])
            nest.real_time_factor.append(report["timing"]["real_time_factor"])
            nest.build_s.append(report["timing"]["build_s"])
            nest.process_s.append(wall)
            nest.peak_bytes.append(report["memory"]["peak_bytes"])
            nest.report = report

        arguments = ["microcircuit", "--scale", f"{self.scale:g}", "--drive", self.drive]
        turns = [their_turn] + ([our_turn(ours, program, arguments, args, scratch)] if program else [])
        take_turns(turns, args.rounds)
        if program:
            sizes = {key: (ours.report[key], nest.report[key]) for key in ("neurons", "synapses")}
            for key, (mine, theirs) in sizes.items():
                if mine != theirs:
                    raise harness.BenchError(f"{self.title}: spikewave has {mine} {key}, and NEST {theirs}")
        return {"NEST": nest}, ours

    def rows(self, args, peers, ours):
        nest = peers["NEST"]
        known = self.reference(args)
        accuracies = (activity_accuracy((ours.rates_hz, ours.cv_isi), known) if ours.rates_hz and known[0] else None,
                      mean_rates(known[0]) if known[0] else None)
        net = statistics.median(nest.peak_bytes) - nest.report["memory"]["before_build_bytes"]
        return [
            row(f"{self.title}: real-time factor", ours.real_time_factor, nest.real_time_factor, "NEST", 5.0,
                lambda x: f"{x:.3f}", accuracies),
            row(f"{self.title}: construction", ours.build_s, nest.build_s, "NEST", None, seconds),
            row(f"{self.title}: peak memory of the process (NEST without Python and its libraries: {mib(net)})",
                ours.peak_bytes, nest.peak_bytes, "NEST", 2.0, mib),
        ]


class Brian2:
    """A process that has built the CUBA network (brian2_cuba.py) and runs it at each order."""

    def __init__(self, args, threads):
        order = {"seed": 1, "transient_s": TRANSIENT_MS * 1e-3, "duration_s": args.duration_s, "threads": threads,
                 "record": False}
        self.said = tempfile.TemporaryFile("w+")
        try:
            self.process = subprocess.Popen([args.brian2_python, HERE / "brian2_cuba.py"], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=self.said, text=True)
        except OSError as error:
            raise harness.BenchError(f"{args.brian2_python} cannot be started: {error}") from error
        self.ask(order)

    def ask(self, order):
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self.process.wait()
            self.said.seek(0)
            said = self.said.read().strip().splitlines()
            raise harness.BenchError(f"Brian2's process ended with status {status}: "
                                     f"{said[-1] if said else 'it said nothing'}")
        return json.loads(line)

    def end(self):
        self.process.communicate()
        self.said.close()


class Cuba:
    """4,000 neurons with current-based synapses."""

    group, title = "cuba", "CUBA, 4,000 neurons"

    def measure(self, args, program, scratch):
        ways = {"Brian2, no OpenMP": 0, f"Brian2, {harness.THREADS} threads": harness.THREADS}
        built = {label: Brian2(args, threads) for label, threads in ways.items()}
        peers, ours = {label: Side() for label in built}, Side()

        def their_turn(label):
            def turn(_number):
                report = built[label].ask({})
                side = peers[label]
                side.simulate_s.append(report["timing"]["simulate_s"])
                side.real_time_factor.append(report["timing"]["real_time_factor"])
                side.build_s = [report["timing"]["compile_s"]]
                side.process_s.append(report["timing"]["compile_s"] + report["timing"]["program_s"])
                side.rates_hz.append(report["rates_hz"])
                side.report = report
            return turn

        turns = [their_turn(label) for label in built]
        if program:
            turns.append(our_turn(ours, program, ["cuba"], args, scratch))
        take_turns(turns, args.rounds)
        for brian2 in built.values():
            brian2.end()
        return peers, ours

    def rows(self, args, peers, ours):
        best = min(peers, key=lambda label: statistics.median(peers[label].simulate_s))
        theirs = peers[best]
        # All runs of a built network of Brian2 are the same run.
        known = theirs.rates_hz[:1]
        accuracies = (activity_accuracy((ours.rates_hz, []), (known, [])) if ours.rates_hz else None, mean_rates(known))
        return [
            row(f"{self.title}: real-time factor", ours.real_time_factor, theirs.real_time_factor, best, 2.0,
                lambda x: f"{x:.3f}", accuracies),
            row(f"{self.title}: building, transient and simulation", ours.process_s, theirs.process_s, best, None,
                seconds),
        ]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-only", action="store_true", help="time the peers alone")
    parser.add_argument("--rows", default=",".join(GROUPS), help="which groups, separated by commas (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which both sides take turns (default 5)")
    parser.add_argument("--duration-s", type=float, default=10.0, help="model time of a simulation (default 10)")
    parser.add_argument("--scales", default="0.1,0.2", help="of the microcircuit (default 0.1,0.2)")
    parser.add_argument("--rates", type=Path, default=ROOT / "benches/records/nest-microcircuit-rates.json",
                        metavar="FILE", help="the rates in NEST (default: the record of this checkout)")
    parser.add_argument("--spikewave", type=Path, default=ROOT / "target/release/spikewave", metavar="PROGRAM",
                        help="the program (default: the release build of this checkout)")
    parser.add_argument("--nest-python", default=sys.executable,
                        help="a Python that has NEST and microcircuit (default: the one that runs this)")
    parser.add_argument("--brian2-python", default=sys.executable,
                        help="a Python that has Brian2 (default: the one that runs this)")
    parser.add_argument("--record", type=Path, default=ROOT / "bench-out/network.json", metavar="FILE",
                        help="where the JSON record goes (default bench-out/network.json)")
    parser.add_argument("--check", action="store_true", help="end with status 1 when a target is not met")
    return parser.parse_args()


def csr_rows(args, program, cores):
    case = Csr()
    print(f"{case.title} ...", file=sys.stderr, flush=True)
    other = harness.OtherWork(cores)
    with tempfile.TemporaryDirectory(prefix="spikewave-network-") as scratch:
        ours, peers = harness.measure(case, program, args.rounds, Path(scratch))
    share = other.share()
    return case.rows(ours, peers), {
        "name": case.name, "title": case.title, "params": case.params, "other_work_share": share,
        "repeats": case.repeats, "samples_per_round": case.samples,
        "ours": {label: timing.record for label, (timing, _) in ours.items()},
        "peers": {label: timing.record for label, (timing, _) in peers.items()},
    }


def network_rows(case, args, program, cores):
    print(f"{case.title} ...", file=sys.stderr, flush=True)
    other = harness.OtherWork(cores)
    with tempfile.TemporaryDirectory(prefix="spikewave-network-") as scratch:
        peers, ours = case.measure(args, program, Path(scratch))
    share = other.share()
    return case.rows(args, peers, ours), {
        "name": case.group, "title": case.title, "duration_s": args.duration_s, "other_work_share": share,
        "ours": ours.record, "peers": {label: side.record for label, side in peers.items()},
    }


def main():
    args = arguments()
    groups = args.rows.split(",")
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise harness.BenchError(f"--rows knows {', '.join(GROUPS)}, not {', '.join(unknown)}")
    if args.rounds < 1 or args.duration_s <= 0:
        raise harness.BenchError("--rounds must be at least 1 and --duration-s above 0")
    program = None if args.peer_only else args.spikewave.resolve()
    if program and not program.exists():
        raise harness.BenchError(f"{program} is missing: run `cargo build --release`, name one with --spikewave, "
                                 "or time the peers alone with --peer-only")
    cores = harness.pin_to_two_cores()
    record = {"environment": {**harness.machine(cores), "scipy": version("scipy")}, "rounds": args.rounds, "cases": [],
              "rows": []}
    rows = []
    for group in groups:
        if group == "csr":
            parts = [csr_rows(args, program, cores)]
        elif group == "cuba":
            parts = [network_rows(Cuba(), args, program, cores)]
        else:
            parts = [network_rows(Microcircuit(float(scale), drive), args, program, cores)
                     for scale in args.scales.split(",") for drive in ("dc", "poisson")]
        for made, case in parts:
            rows += made
            record["cases"].append(case)
            record["rows"] += [line.record for line in made]
    harness.finish(args, rows, record, [(line.title, line.our_accuracy) for line in rows])


if __name__ == "__main__":
    try:
        main()
    except harness.BenchError as error:
        sys.exit(f"error: {error}")

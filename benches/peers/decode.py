#!/usr/bin/env python3
"""Times `spikewave decode` beside non_local_detector, in one run, on the same simulated sessions. See README.md."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import harness
import numpy as np
from decode_session import electrode_count, exact_log_likelihood, session, shortened, single_spikes

ROOT = Path(__file__).resolve().parents[2]
# The settings of non_local_detector that bear on speed; None is no tiling.
ALGORITHMS, BLOCK_SIZES, ENC_TILE_SIZES = ("clusterless_kde", "clusterless_kde_log"), (100, 1000, 10_000), (None, 4096)
# Below this depth under a row's maximum a probability is lost in the rounding of an f32 posterior.
WINDOW_NATS = 17.0
# Bounds on our own error: the exact method everywhere, the gridded one in the window, where its tolerance is stated.
EXACT_BOUND, TOLERANCE = 1e-3, 1e-3
CHECKED = 256


@dataclass(frozen=True)
class Case:
    """A shape, and how many times as fast as the reference's best setting we must be."""

    name: str
    shape: tuple  # electrodes, encoding and decoding spikes per electrode, position bins, time bins, mark dimensions
    targets: dict  # row to ratio
    variants: dict  # our runs: label to arguments
    local: bool = False
    share: float = 1.0  # of the decoding bins, given to the reference; its time is then divided by this
    seed: int = 1

    @property
    def title(self):
        return f"{self.name} ({', '.join(f'{n:,}' for n in self.shape)}){', local' if self.local else ''}"


EXACT = {"exact": ["--likelihood-only"]}
BOTH = {**EXACT, f"gridded {TOLERANCE:g}": [*EXACT["exact"], "--method", "gridded", "--tolerance", f"{TOLERANCE:g}"]}


def cases(local_share):
    return {case.name: case for case in (
        Case("session", (4, 18_300, 7_800, 200, 26_000, 4), {"exact": 2, f"gridded {TOLERANCE:g}": 15}, BOTH),
        Case("small", (16, 200, 100, 500, 500, 2), {"exact": 5, "exact cold": 20}, EXACT),
        Case("local", (39, 20_000, 20_000, 500, 100_000, 4), {"exact": 100}, {"exact": ["--local"]}, True, local_share),
    )}


class Reference:
    """A process that runs non_local_detector (decode_reference.py) on one session."""

    def __init__(self, python, path, local):
        self.local = local
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [python, Path(__file__).with_name("decode_reference.py"), path], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.stderr.close()
        self.process.wait()

    def ask(self, **order):
        try:
            self.process.stdin.write(json.dumps({"local": self.local, **order}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            said = self.process.stderr.read().strip().splitlines()
            raise harness.BenchError(f"non_local_detector's process ended with status {self.process.wait()}: "
                                     f"{said[-1] if said else 'it said nothing'}")
        report = json.loads(line)
        report["wall_ms"] = (time.perf_counter() - self.started) * 1e3
        if "error" in report:
            raise harness.BenchError(f"non_local_detector: {report['error']}")
        return report


def setting_text(setting):
    algorithm, block, tile = setting
    return f"{algorithm}, block {block}{'' if tile is None else f', tile {tile}'}"


def settings(shape):
    """All ways to run the reference on this shape; a block beyond the number of decoding spikes is all of them."""
    _, encoding, decoding = shape[:3]
    for algorithm in ALGORITHMS:
        for block in sorted({min(size, decoding) for size in (*BLOCK_SIZES, decoding)}):
            for tile in ENC_TILE_SIZES:
                if tile is None or (algorithm == "clusterless_kde_log" and tile < encoding):
                    yield algorithm, block, tile


def best_setting(case, python, path):
    """The quickest setting of one warm try each, and the tries. A local try is cold: compiling is a trifle there."""
    tries = {}
    # Tiles are of no use to the local path, and a block of 10,000 against all position samples needs 20 GB.
    ways = [way for way in settings(case.shape) if not case.local or (way[1] <= 1000 and way[2] is None)]
    for way in ways:
        try:
            with Reference(python, path, case.local) as reference:
                report = reference.ask(setting=way, samples=1 if case.local else 2)
            tries[way] = report["samples"][-1]
            print(f"  {setting_text(way)}: {tries[way]:,.1f} ms", file=sys.stderr, flush=True)
        except harness.BenchError as error:
            print(f"  {setting_text(way)}: {error}", file=sys.stderr, flush=True)
    if not tries:
        raise harness.BenchError(f"non_local_detector ran with no setting; is it installed for {python}?")
    return min(tries, key=tries.get), tries


def run_ours(program, path, out, arguments):
    """One process of the program; its JSON document, with the process's wall time added."""
    # A file of an interrupted run would be resumed.
    out.unlink(missing_ok=True)
    command = [str(program), "decode", "--data", str(path), "--output", str(out), "--device", "cpu",
               "--threads", str(harness.THREADS), "--json", *arguments]
    what = f"`{' '.join(command)}`"
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = (time.perf_counter() - start) * 1e3
    if done.returncode != 0:
        raise harness.BenchError(f"{what} ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    try:
        report = json.loads(done.stdout)
        timing = {key: float(report["timing"][key]) for key in ("fit_ms", "warmup_ms", "first_ms", "likelihood_ms")}
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise harness.BenchError(f"{what} must print one JSON document with timing.fit_ms, warmup_ms, first_ms and "
                                 f"likelihood_ms, and did not: {error!r}") from error
    asked = "gridded" if "gridded" in arguments else "exact"
    if asked not in json.dumps(report.get("method")):
        raise harness.BenchError(f"{what} says that it ran {report.get('method')}, and was asked for {asked}")
    if not all(value >= 0 for value in timing.values()) or timing["likelihood_ms"] == 0:
        raise harness.BenchError(f"{what} reports impossible times: {timing}")
    if not out.exists():
        raise harness.BenchError(f"{what} did not write its output")
    return {**report, "timing": timing, "wall_ms": wall}


def compared(got, exact):
    """Absolute differences in nats: everywhere, and where the exact value is within the window of its row's maximum."""
    if got.shape != exact.shape:
        raise harness.BenchError(f"a likelihood has shape {got.shape}, and must have {exact.shape}")
    # A value that is not finite is as wrong as can be, and must not vanish in a comparison with NaN.
    off = np.where(np.isfinite(got), np.abs(got - exact), np.inf)
    depth = exact.max(axis=1, keepdims=True) - exact
    inside = off[depth <= WINDOW_NATS]
    return {"max": float(off.max()), "p99": float(np.percentile(off, 99, method="higher")),
            "window_max": float(inside.max()), "window_p99": float(np.percentile(inside, 99, method="higher")),
            "deepest": float(depth.max())}


@dataclass
class Oracle:
    """What the results are checked on: random rows of the session, and random spikes alone, a row each."""

    rows: np.ndarray
    exact_rows: np.ndarray
    spikes_path: Path | None
    exact_spikes: np.ndarray | None

    @classmethod
    def of(cls, case, data, scratch):
        rng = np.random.default_rng(case.seed)
        holds = np.zeros(data["time"].size, bool)
        for e in range(electrode_count(data)):
            holds[np.searchsorted(data["time"], data[f"decoding_spike_times_{e}"], side="right") - 1] = True
        holds[-1] = False
        busy = np.flatnonzero(holds)
        rows = np.sort(rng.choice(busy, min(CHECKED, busy.size), replace=False))
        exact_rows = exact_log_likelihood(data, rows, case.local)
        if case.local:  # a row is one number, so its error is that of its spikes
            return cls(rows, exact_rows, None, None)
        alone = single_spikes(data, CHECKED, case.seed)
        path = scratch / "spikes.npz"
        np.savez(path, **alone)
        return cls(rows, exact_rows, path, exact_log_likelihood(alone, np.arange(alone["time"].size - 1)))

    def accuracy(self, out, spikes_out, bound=None):
        """`bound` names the number that must keep it and the limit; the reference has none."""
        numbers = {"rows": compared(np.load(out, mmap_mode="r")[self.rows], self.exact_rows)}
        if spikes_out:
            numbers["spikes"] = compared(np.load(spikes_out)[:-1], self.exact_spikes)
        ok = bound is None or all(part[bound[0]] <= bound[1] for part in numbers.values())
        rows = numbers["rows"]
        # The local likelihood is one number a row: it has no window.
        parts = [f"max {rows['max']:.1e} p99 {rows['p99']:.1e}"]
        if spikes_out:
            parts.append(f"17 nats: {rows['window_max']:.1e} {rows['window_p99']:.1e}")
        return harness.Accuracy("; ".join(parts), numbers, ok)


@dataclass
class Measured:
    """Samples in ms of one side of a case."""

    fit: list = field(default_factory=list)
    likelihood: list = field(default_factory=list)
    first: list = field(default_factory=list)  # theirs with compiling, ours with preparing
    cold: list = field(default_factory=list)
    report: dict = field(default_factory=dict)
    accuracy: harness.Accuracy | None = None

    @property
    def record(self):
        kinds = {"fit": self.fit, "likelihood": self.likelihood, "first": self.first, "cold": self.cold}
        return {f"{kind}_ms": {"median": statistics.median(samples), "min": min(samples), "samples": samples}
                for kind, samples in kinds.items() if samples} | {"report": self.report}


def measure(case, args, program, scratch):
    data = session(*case.shape, seed=case.seed)
    whole = scratch / "session.npz"
    np.savez(whole, **data)
    part, part_data, trial = whole, data, whole
    if case.share < 1:
        part, trial = scratch / "part.npz", scratch / "trial.npz"
        part_data = shortened(data, case.share)
        np.savez(part, **part_data)
        np.savez(trial, **shortened(data, case.share / 20))
    print("  the exact likelihood in f64 ...", file=sys.stderr, flush=True)
    oracle = Oracle.of(case, part_data, scratch)
    way, tries = best_setting(case, args.python, trial)
    theirs, ours = Measured(), {label: Measured() for label in (case.variants if program else ())}
    theirs.report = {"setting": setting_text(way), "tries_ms": {setting_text(key): ms for key, ms in tries.items()}}
    their_out = scratch / "reference.npy"
    rounds = 1 if case.local else args.rounds

    def their_turn():
        with Reference(args.python, part, case.local) as reference:
            cold = reference.ask(setting=way, samples=1, save=str(their_out))
            theirs.cold.append(cold["wall_ms"])
            theirs.first += cold["samples"]
            theirs.report["import_ms"] = cold["import_ms"]
            theirs.report["first_fit_ms"] = cold["fit_ms"]
            if case.local:  # minutes long, of which compiling is a small part: the first call is the measurement
                theirs.fit.append(cold["fit_ms"])
                theirs.likelihood += cold["samples"]
            else:
                warm = reference.ask(setting=way, samples=args.samples)
                theirs.fit.append(warm["fit_ms"])
                theirs.likelihood += warm["samples"]
                cold = warm
            theirs.report |= {"peak_bytes": cold["peak_bytes"], "versions": cold["versions"]}

    def our_turn(label):
        report = run_ours(program, whole, scratch / f"{label}.npy", case.variants[label])
        timing, mine = report.pop("timing"), ours[label]
        mine.fit.append(timing["fit_ms"])
        if case.local:
            mine.likelihood.append(timing["likelihood_ms"])
        else:  # warm, as theirs: one process that computes it again
            again = [*case.variants[label], "--repeat", str(args.samples)]
            warm = run_ours(program, whole, scratch / f"{label}-again.npy", again)
            mine.likelihood.append(warm["timing"]["likelihood_ms"])
        mine.first.append(timing["warmup_ms"] + timing["likelihood_ms"])
        mine.cold.append(report.pop("wall_ms"))
        report.pop("files", None)
        mine.report = report

    for number in range(args.rounds):
        turns = [their_turn] * (number < rounds) + [lambda label=label: our_turn(label) for label in ours]
        for turn in turns if number % 2 == 0 else reversed(turns):
            turn()
    spikes_out = None
    if oracle.spikes_path:
        spikes_out = scratch / "reference-spikes.npy"
        with Reference(args.python, oracle.spikes_path, case.local) as reference:
            reference.ask(setting=way, samples=1, save=str(spikes_out))
    theirs.accuracy = oracle.accuracy(their_out, spikes_out)
    for label, mine in ours.items():
        if oracle.spikes_path:
            spikes_out = scratch / f"{label}-spikes.npy"
            run_ours(program, oracle.spikes_path, spikes_out, case.variants[label])
        bound = ("max", EXACT_BOUND) if label == "exact" else ("window_max", TOLERANCE)
        mine.accuracy = oracle.accuracy(scratch / f"{label}.npy", spikes_out, bound)
    return theirs, ours


def show(ms):
    return f"{ms:,.2f} ms" if ms < 100 else f"{ms / 1e3:,.2f} s"


def row(title, mine, their, target, accuracies):
    return harness.Row(
        title=title, ours="-" if mine is None else f"{show(statistics.median(mine))} (best {show(min(mine))})",
        peer=f"{show(statistics.median(their))} (best {show(min(their))})",
        ratio=None if mine is None else statistics.median(their) / statistics.median(mine), target=target,
        our_accuracy=accuracies[0], peer_accuracy=accuracies[1],
    )


def rows(case, theirs, ours):
    """The likelihood alone, warm; the fit alone; from the start of the process; and that against their first call."""
    out = []
    scaled = [ms / case.share for ms in theirs.likelihood]
    whole = "" if case.share == 1 else f" (theirs: {case.share:g} of the bins, times {1 / case.share:g})"
    for label, mine in ours.items() or [("", Measured())]:
        name = f"{case.name}, {label}".rstrip(", ")
        both = (mine.accuracy, theirs.accuracy)
        out.append(row(f"{name}: likelihood{whole}", mine.likelihood or None, scaled, case.targets.get(label), both))
        if mine.first:
            out.append(row(f"{name}: likelihood with our preparation", mine.first, scaled, None, (None, None)))
        out.append(row(f"{name}: fit", mine.fit or None, theirs.fit, None, (None, None)))
        if case.share == 1:
            out.append(row(f"{name}: process start to end", mine.cold or None, theirs.cold, None, (None, None)))
            out.append(row(f"{name}: process start to end, theirs: first predict", mine.cold or None, theirs.first,
                           case.targets.get(f"{label} cold"), (None, None)))
    return out


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-only", action="store_true", help="time non_local_detector alone")
    parser.add_argument("--cases", default="session,small,local", help="which, separated by commas (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which both sides take turns (default 5)")
    parser.add_argument("--samples", type=int, default=5, help="warm calls of the reference a round (default 5)")
    parser.add_argument("--local-share", type=float, default=0.1,
                        help="how much of the local case the reference is given, 1 for all (default 0.1: 20 minutes)")
    parser.add_argument("--spikewave", type=Path, default=ROOT / "target/release/spikewave", metavar="PROGRAM",
                        help="the program (default: the release build of this checkout)")
    parser.add_argument("--python", default=sys.executable,
                        help="a Python that has non_local_detector (default: the one that runs this)")
    parser.add_argument("--record", type=Path, default=ROOT / "bench-out/decode.json", metavar="FILE",
                        help="where the JSON record goes (default bench-out/decode.json)")
    parser.add_argument("--check", action="store_true", help="end with status 1 when a target is not met")
    return parser.parse_args()


def main():
    args = arguments()
    if args.rounds < 1 or args.samples < 1 or not 0 < args.local_share <= 1:
        raise harness.BenchError("--rounds and --samples must be at least 1, --local-share above 0 and at most 1")
    known, names = cases(args.local_share), args.cases.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise harness.BenchError(f"--cases knows {', '.join(known)}, not {', '.join(unknown)}")
    program = None if args.peer_only else args.spikewave.resolve()
    if program and not program.exists():
        raise harness.BenchError(f"{program} is missing: run `cargo build --release`, name one with --spikewave, "
                                 "or time the reference alone with --peer-only")
    if program and subprocess.run([program, "decode", "--help"], capture_output=True, check=False).returncode != 0:
        raise harness.BenchError(f"{program} has no subcommand `decode`: build a later version")
    cores = harness.pin_to_two_cores()
    record = {"environment": harness.machine(cores), "rounds": args.rounds, "cases": [], "rows": []}
    table = []
    for case in (known[name] for name in names):
        print(f"{case.title} ...", file=sys.stderr, flush=True)
        other = harness.OtherWork(cores)
        with tempfile.TemporaryDirectory(prefix="spikewave-decode-") as scratch:
            theirs, ours = measure(case, args, program, Path(scratch))
        made = rows(case, theirs, ours)
        table += made
        record["cases"].append({
            "name": case.name, "shape": case.shape, "local": case.local, "share_of_reference": case.share,
            "other_work_share": other.share(), "reference": theirs.record,
            "ours": {label: mine.record for label, mine in ours.items()},
        })
        record["rows"] += [line.record for line in made]
        print(f"  best setting of non_local_detector: {theirs.report['setting']}", file=sys.stderr, flush=True)
    # Where the reference is at its floor it is wrong by itself.
    harness.finish(args, table, record, [(line.title, line.our_accuracy) for line in table])


if __name__ == "__main__":
    try:
        main()
    except harness.BenchError as error:
        sys.exit(f"error: {error}")

"""Timing, the subprocess protocol and the record that all rows share. README.md states the protocol."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

THREADS = 2


class BenchError(Exception):
    """Something the user can mend; its text is one sentence."""


def pin_to_two_cores():
    """Restricts this process, and so every child, to two physical cores. Must run before torch is imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(THREADS)
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores, seen = [], set()
    for cpu in sorted(os.sched_getaffinity(0)):
        # Two hardware threads of one core share its vector units, so they are not two cores.
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = siblings.read_text().strip() if siblings.exists() else str(cpu)
        if core not in seen:
            seen.add(core)
            cores.append(cpu)
    if len(cores) < THREADS:
        raise BenchError(f"these benchmarks need {THREADS} cores, and this process may use {len(cores)}")
    os.sched_setaffinity(0, cores[:THREADS])
    return cores[:THREADS]


class OtherWork:
    """How much of the two cores other programs took, from the kernel's counters; None where there are none."""

    def __init__(self, cores):
        self.cores = cores
        self.start = self.read()

    def read(self):
        if self.cores is None or not Path("/proc/stat").exists():
            return None
        busy = 0.0
        for line in Path("/proc/stat").read_text().splitlines():
            words = line.split()
            if words[0] in [f"cpu{core}" for core in self.cores]:
                user, nice, system, _idle, _wait, irq, soft, steal = map(int, words[1:9])
                busy += (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
        own = sum(getattr(resource.getrusage(who), kind)
                  for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN) for kind in ("ru_utime", "ru_stime"))
        return time.monotonic(), busy - own

    def share(self):
        """Of 1, since this was made."""
        if self.start is None:
            return None
        (start, before), (now, after) = self.start, self.read()
        return max(0.0, (after - before) / (THREADS * (now - start)))


@dataclass
class Accuracy:
    """Distance from the f64 oracle: `text` for the table, `numbers` for the record, `ok` whether within the bound."""

    text: str
    numbers: dict
    ok: bool


@dataclass
class Peer:
    """One way the peer does the work. `call()` does it once; `outputs()` gives its result from the initial state."""

    label: str
    call: object
    outputs: object
    extra: dict = field(default_factory=dict)


@dataclass
class Timing:
    """Milliseconds per unit of work, one entry a sample."""

    samples: list
    report: dict = field(default_factory=dict)

    @property
    def median(self):
        return statistics.median(self.samples)

    @property
    def record(self):
        return {"median_ms": self.median, "min_ms": min(self.samples), "samples": self.samples, **self.report}


def time_call(call, samples, repeats):
    """`samples` times of `repeats` calls each, in ms per call, after one call that is not counted."""
    call()
    out = []
    for _ in range(samples):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        out.append((time.perf_counter() - start) * 1e3 / repeats)
    return out


class Case:
    """One input on which both sides are timed.

    Subclasses set `name` (of the bench), `title`, `params`, `inputs`, `writes` (the arrays the program must write),
    `reports` (JSON fields it must print besides the common ones), `variants` (label to extra params: the ways the
    program is asked to do it), `samples`, `repeats`, and give `peers()`, `accuracy(outputs)` and `rows(ours, peers)`.
    """

    reports = ()
    variants = {"": {}}
    samples = 5
    repeats = 1

    def write_inputs(self, folder):
        folder.mkdir(parents=True)
        for key, array in self.inputs.items():
            np.save(folder / f"{key}.npy", array)

    def write_params(self, folder, variant):
        params = {
            "name": self.name, "threads": THREADS, "samples": self.samples, "repeats": self.repeats,
            **self.params, **self.variants[variant],
        }
        (folder / "bench.json").write_text(json.dumps(params, indent=1))


def run_program(program, case, variant, folder_in, folder_out):
    """One round of the program; returns its JSON document after checking it against the protocol."""
    case.write_params(folder_in, variant)
    folder_out.mkdir(parents=True, exist_ok=True)
    command = [str(program), "bench", case.name, "--input", str(folder_in), "--output", str(folder_out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    what = f"`{' '.join(command)}`"
    if done.returncode != 0:
        raise BenchError(f"{what} ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise BenchError(f"{what} printed something that is not one JSON document: {error}") from error
    fields = ("name", "device", "threads", "samples", "median_ms", "min_ms", *case.reports)
    missing = [key for key in fields if key not in report]
    if missing:
        raise BenchError(f"the JSON of {what} lacks {', '.join(missing)}")
    if report["threads"] != THREADS:
        raise BenchError(f"{what} used {report['threads']} threads, and both sides must use {THREADS}")
    samples = report["samples"]
    if len(samples) != case.samples or not all(s > 0 for s in samples):
        raise BenchError(f"{what} must report {case.samples} positive samples, and reported {samples}")
    if not np.isclose(report["median_ms"], statistics.median(samples), rtol=1e-3):
        raise BenchError(f"{what} reports a median that is not that of its samples")
    unwritten = [key for key in case.writes if not (folder_out / f"{key}.npy").exists()]
    if unwritten:
        raise BenchError(f"{what} did not write {', '.join(f'{key}.npy' for key in unwritten)}")
    return report


def load_outputs(case, folder):
    """The arrays the program wrote."""
    return {key: np.load(folder / f"{key}.npy", allow_pickle=False) for key in case.writes}


def measure(case, program, rounds, scratch):
    """Times every variant of the program and every peer in turn, `rounds` times, the order reversed each round.

    Returns {variant: (Timing, Accuracy)} and {peer: (Timing, Accuracy)}.
    """
    peers = {peer.label: peer for peer in case.peers()}
    times = {("peer", label): Timing([], dict(peer.extra)) for label, peer in peers.items()}
    if program:
        case.write_inputs(scratch / "in")
        times |= {("ours", variant): Timing([]) for variant in case.variants}
    order = list(times)
    for number in range(rounds):
        for side, key in order if number % 2 == 0 else reversed(order):
            timing = times[side, key]
            if side == "peer":
                timing.samples += time_call(peers[key].call, case.samples, case.repeats)
                continue
            report = run_program(program, case, key, scratch / "in", scratch / f"out-{key}")
            timing.samples += report.pop("samples")
            for other in ("median_ms", "min_ms"):
                del report[other]
            # Side measurements of the program (copy, preparation) are kept a round each.
            for field_name, value in report.items():
                if field_name.endswith("_ms"):
                    timing.report.setdefault(field_name, []).append(value)
                else:
                    timing.report[field_name] = value
    ours = {key: (times["ours", key], case.accuracy(load_outputs(case, scratch / f"out-{key}")))
            for side, key in order if side == "ours"}
    theirs = {key: (times["peer", key], case.accuracy(peers[key].outputs()) if peers[key].outputs else None)
              for side, key in order if side == "peer"}
    return ours, theirs


@dataclass
class Row:
    """One line of the table. `ratio` is how many times as fast (or as large) ours is."""

    title: str
    ours: str
    peer: str
    ratio: float | None
    target: float | None
    our_accuracy: Accuracy | None
    peer_accuracy: Accuracy | None

    @property
    def met(self):
        return None if self.ratio is None or self.target is None else self.ratio >= self.target

    @property
    def record(self):
        def side(accuracy):
            return accuracy and {**accuracy.numbers, "within_bound": accuracy.ok}

        return {
            "row": self.title, "ours": self.ours, "peer": self.peer, "ratio": self.ratio, "target": self.target,
            "target_met": self.met, "our_accuracy": side(self.our_accuracy), "peer_accuracy": side(self.peer_accuracy),
        }


def speed_row(title, ours, peer, target, show):
    """A row that compares times; `ours` and `peer` are (label, Timing, Accuracy), `ours` None without the program."""
    label, timing, accuracy = peer
    return Row(
        title=title if ours is None or not ours[0] else f"{title}, {ours[0]}",
        ours="-" if ours is None else show(ours[1].median),
        peer=f"{label}: {show(timing.median)}",
        ratio=None if ours is None else timing.median / ours[1].median,
        target=target,
        our_accuracy=None if ours is None else ours[2],
        peer_accuracy=accuracy,
    )


def print_table(rows):
    head = ("row", "ours", "peer", "ratio", "target", "our accuracy", "peer's accuracy")
    lines = [head]
    for row in rows:
        verdict = {None: "", True: " met", False: " SHORT"}[row.met]
        lines.append((
            row.title, row.ours, row.peer,
            "-" if row.ratio is None else f"{row.ratio:.2f}",
            "-" if row.target is None else f">= {row.target:g}{verdict}",
            *("-" if a is None else a.text + ("" if a.ok else " WRONG") for a in (row.our_accuracy, row.peer_accuracy)),
        ))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for number, line in enumerate(lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def finish(args, rows, record, checked):
    """Prints the table, writes the record, and ends with an error where one of the `checked` rows' results is wrong or, if
    that was asked for, a target is not met."""
    print_table(rows)
    shares = [case["other_work_share"] for case in record["cases"]]
    if None not in shares and max(shares, default=0) > 0.05:
        print(f"note: other programs used up to {max(shares):.0%} of the two cores meanwhile: figures are blurred")
    args.record.parent.mkdir(parents=True, exist_ok=True)
    args.record.write_text(json.dumps(record, indent=1) + "\n")
    print(f"record: {args.record}", file=sys.stderr)
    wrong = [title for title, accuracy in checked if accuracy and not accuracy.ok]
    if wrong:
        raise BenchError(f"results out of bounds in: {'; '.join(dict.fromkeys(wrong))}")
    short = [row.title for row in rows if row.met is False]
    if args.check and short:
        raise BenchError(f"targets not met in: {'; '.join(short)}")


def machine(cores):
    """The machine and the code that were measured."""

    def command(*words):
        try:
            folder = Path(__file__).parent
            return subprocess.run(words, capture_output=True, text=True, check=True, cwd=folder).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                 if line.startswith("model name")]
        cpu = names[0] if names else cpu
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "system": platform.platform(), "cpu": cpu,
        "cores_used": cores, "threads": THREADS, "load_average_at_start": list(os.getloadavg()),
        "commit": command("git", "rev-parse", "HEAD"), "python": platform.python_version(), "numpy": np.__version__,
    }


def environment(cores):
    """What a reader needs to judge the figures of the native path."""
    import h5py
    import scipy
    import torch

    return {
        **machine(cores), "scipy": scipy.__version__, "h5py": h5py.__version__, "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(), "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }

#!/usr/bin/env python3
"""Times spikewave's native CPU path beside torch, scipy and numpy, in one run, on the same inputs. See README.md."""

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("conv1d", "bank", "lif")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-only", action="store_true", help="time the peers alone")
    parser.add_argument("--rows", default=",".join(GROUPS), help="which groups, separated by commas (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which both sides take turns (default 5)")
    parser.add_argument("--spikewave", type=Path, default=ROOT / "target/release/spikewave", metavar="PROGRAM",
                        help="the program (default: the release build of this checkout)")
    parser.add_argument("--record", type=Path, default=ROOT / "bench-out/peers.json", metavar="FILE",
                        help="where the JSON record goes (default bench-out/peers.json)")
    parser.add_argument("--check", action="store_true", help="end with status 1 when a target is not met")
    return parser.parse_args()


def main():
    args = arguments()
    groups = args.rows.split(",")
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise harness.BenchError(f"--rows knows {', '.join(GROUPS)}, not {', '.join(unknown)}")
    if args.rounds < 1:
        raise harness.BenchError("--rounds must be at least 1")
    program = None if args.peer_only else args.spikewave.resolve()
    if program and not program.exists():
        raise harness.BenchError(f"{program} is missing: run `cargo build --release`, name one with --spikewave, "
                                 "or time the peers alone with --peer-only")
    cores = harness.pin_to_two_cores()
    import torch  # only now: torch sizes its thread pool when it is loaded

    torch.set_num_threads(harness.THREADS)
    data = Path(os.environ.get("SPIKEWAVE_DATA", ROOT / "../shared/data"))
    record = {"environment": harness.environment(cores), "rounds": args.rounds, "cases": [], "rows": []}
    rows = []
    for group in groups:
        for make in importlib.import_module(group).cases(data):
            case = make()
            print(f"{case.title} ...", file=sys.stderr, flush=True)
            other = harness.OtherWork(cores)
            with tempfile.TemporaryDirectory(prefix="spikewave-peers-") as scratch:
                ours, peers = harness.measure(case, program, args.rounds, Path(scratch))
            other_share = other.share()
            made = case.rows(ours, peers)
            rows += made
            record["cases"].append({
                "name": case.name, "title": case.title, "params": case.params,
                "other_work_share": other_share, "repeats": case.repeats, "samples_per_round": case.samples,
                "ours": {label: timing.record for label, (timing, _) in ours.items()},
                "peers": {label: timing.record for label, (timing, _) in peers.items()},
            })
            record["rows"] += [row.record for row in made]
    harness.finish(args, rows, record, [(row.title, a) for row in rows for a in (row.our_accuracy, row.peer_accuracy)])


if __name__ == "__main__":
    try:
        main()
    except harness.BenchError as error:
        sys.exit(f"error: {error}")

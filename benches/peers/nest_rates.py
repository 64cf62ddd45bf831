#!/usr/bin/env python3
"""Records the microcircuit's rates and CVs of inter-spike intervals in NEST, seed by seed: what the rates of spikewave
are held against. Sets that the output already has are kept. Takes a quarter of an hour on two cores; needs
requirements-network.txt. See README.md."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from nest_microcircuit import CV_SPIKES

ROOT = Path(__file__).resolve().parents[2]
SETS = ((0.1, "poisson"), (0.1, "dc"), (0.2, "dc"), (0.2, "poisson"))
SEEDS = (1, 2, 3, 4, 5)
TRANSIENT_MS, DURATION_MS = 500.0, 10_000.0
DEFINITION = {
    "window": f"spikes stamped in ({TRANSIENT_MS:g}, {TRANSIENT_MS + DURATION_MS:g}] ms; a spike found at the end of "
              "step k (counted from 0) is stamped (k + 1) * 0.1 ms",
    "rates_hz": "spikes of the population in the window, divided by its neurons and by the window's length",
    "cv_isi": "mean over the neurons with at least cv_spikes spikes in the window of the standard deviation of the "
              "neuron's inter-spike intervals (divided by their number) over their mean; null where there is none",
    "cv_neurons": "how many neurons are in that mean",
    "cv_spikes": CV_SPIKES,
}


def one(scale, drive, seed, threads):
    order = {"scale": scale, "drive": drive, "seed": seed, "threads": threads, "transient_ms": TRANSIENT_MS,
             "duration_ms": DURATION_MS, "record": True}
    program = [sys.executable, Path(__file__).with_name("nest_microcircuit.py")]
    done = subprocess.run(program, input=json.dumps(order), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: NEST ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout)


def summary(runs, key):
    """Per population: mean, standard deviation (of a sample), least and largest over the seeds; None where one has
    none."""
    out = {}
    for name in runs[0][key]:
        values = [run[key][name] for run in runs]
        out[name] = None if None in values else {
            "mean": statistics.mean(values), "sd": statistics.stdev(values), "min": min(values), "max": max(values)}
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "benches/records/nest-microcircuit-rates.json")
    parser.add_argument("--threads", type=int, default=2,
                        help="of NEST (default 2); another number draws other networks")
    args = parser.parse_args()
    record = json.loads(args.output.read_text()) if args.output.exists() else {
        "what": "cortical microcircuit (Potjans and Diesmann 2014) in NEST, neurons and synapses both scaled",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {name: version(name) for name in ("nest-simulator", "microcircuit", "numpy")},
        "settings": {"resolution_ms": 0.1, "transient_ms": TRANSIENT_MS,
                     "duration_ms": DURATION_MS, "V0_type": "optimized", "seeds": list(SEEDS)},
        "definition": DEFINITION, "sets": [],
    }
    for scale, drive in SETS:
        if any((done["scale"], done["drive"]) == (scale, drive) for done in record["sets"]):
            continue
        runs = []
        for seed in SEEDS:
            runs.append(one(scale, drive, seed, args.threads))
            print(scale, drive, seed, {k: round(v, 3) for k, v in runs[-1]["rates_hz"].items()}, file=sys.stderr)
        record["sets"].append({
            "scale": scale, "drive": drive, "threads": args.threads, "neurons": runs[0]["neurons"],
            "synapses": runs[0]["synapses"],
            **{key: summary(runs, key) for key in ("rates_hz", "cv_isi")},
            "runs": [{"seed": seed, **{key: run[key] for key in ("rates_hz", "cv_isi", "cv_neurons", "spikes")}}
                     for seed, run in zip(SEEDS, runs)],
        })
        args.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

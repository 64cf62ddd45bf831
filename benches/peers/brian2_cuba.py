"""Runs the CUBA network (Vogels and Abbott 2005, current-based as in Brette et al. 2007) in Brian2's cpp_standalone.

Brian2's own example with the weights, in-degrees and delay of NEST's (brette_et_al_2007/cuba.py), which are those of
`spikewave simulate cuba`: 4,000 neurons, 80 % excitatory, onto each 64 excitatory synapses of 16.2 pA and 16 inhibitory
ones of -139.5 pA (times tau_m / C_m = 0.1 mV/pA here), exact integration; membranes start between reset and threshold.

The first line on standard input is a JSON object (seed, transient_s, duration_s, threads: 0 is without OpenMP, record):
the network is built and compiled, and the time that took is printed. Every further line runs it and prints one JSON
object. Needs requirements-brian2.txt and a C++ compiler.
"""

import json
import os
import sys
import tempfile
import time

import brian2 as b2
import numpy as np
from brian2 import ms, mV, second

NEURONS, EXCITATORY = 4000, 3200
DEGREES = (64, 16)
# As in nest_microcircuit.py, which the interpreter that has Brian2 cannot always import.
CV_SPIKES = 5
EQUATIONS = """
dv/dt = (ge + gi - (v - e_l)) / tau_m : volt (unless refractory)
dge/dt = -ge / tau_e : volt
dgi/dt = -gi / tau_i : volt
"""
CONSTANTS = {"e_l": -49 * mV, "v_th": -50 * mV, "v_reset": -60 * mV, "tau_m": 20 * ms, "tau_e": 5 * ms,
             "tau_i": 10 * ms, "w_e": 1.62 * mV, "w_i": -13.95 * mV}


class Built:
    """The compiled program of one order."""

    def __init__(self, order, folder):
        self.order, self.folder = order, folder
        b2.set_device("cpp_standalone", build_on_run=False)
        b2.prefs.devices.cpp_standalone.openmp_threads = order["threads"]
        b2.seed(order["seed"])
        start = time.perf_counter()
        cells = b2.NeuronGroup(NEURONS, EQUATIONS, threshold="v > v_th", reset="v = v_reset", refractory=5 * ms,
                               method="exact", namespace=CONSTANTS)
        cells.v = "v_reset + rand() * (v_th - v_reset)"
        self.synapses = [b2.Synapses(cells, cells, on_pre=change, delay=0.1 * ms, namespace=CONSTANTS)
                         for change in ("ge += w_e", "gi += w_i")]
        rng = np.random.default_rng(order["seed"])
        for synapses, degree, sources in zip(self.synapses, DEGREES, ((0, EXCITATORY), (EXCITATORY, NEURONS))):
            synapses.connect(i=rng.integers(*sources, NEURONS * degree), j=np.repeat(np.arange(NEURONS), degree))
        self.spikes = b2.SpikeMonitor(cells, record=order["record"])
        net = b2.Network(cells, *self.synapses, self.spikes)
        self.spikes.active = False
        net.run(order["transient_s"] * second)
        self.spikes.active = True
        net.run(order["duration_s"] * second)
        b2.device.build(directory=folder, compile=True, run=False)
        self.compile_s = time.perf_counter() - start

    def run(self):
        start = time.perf_counter()
        b2.device.run(self.folder, with_output=False)
        program_s = time.perf_counter() - start
        # What the program reports of itself is the loop of its last run alone.
        simulate_s = b2.device._last_run_time
        duration = self.order["duration_s"]
        counts = np.asarray(self.spikes.count)
        populations = {"E": slice(0, EXCITATORY), "I": slice(EXCITATORY, None)}
        report = {
            "order": self.order, "brian2": b2.__version__, "neurons": NEURONS,
            "synapses": sum(map(len, self.synapses)),
            "timing": {"compile_s": self.compile_s, "program_s": program_s, "simulate_s": simulate_s,
                       "real_time_factor": simulate_s / duration},
            "spikes": int(counts.sum()),
            "rates_hz": {name: float(counts[part].mean() / duration) for name, part in populations.items()},
        }
        if self.order["record"]:
            cvs = np.full(NEURONS, np.nan)
            for cell, train in self.spikes.spike_trains().items():
                if len(train) >= CV_SPIKES:
                    gaps = np.diff(np.asarray(train))
                    cvs[cell] = gaps.std() / gaps.mean()
            report["cv_isi"] = {name: float(np.nanmean(cvs[part])) for name, part in populations.items()}
        return report


def main():
    # Brian2 and the compiler talk on standard output, which is for the reports.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory(prefix="brian2-") as folder:
        built = Built(json.loads(sys.stdin.readline()), folder)
        out.write(json.dumps({"compile_s": built.compile_s}) + "\n")
        for _ in sys.stdin:
            out.write(json.dumps(built.run()) + "\n")


if __name__ == "__main__":
    main()

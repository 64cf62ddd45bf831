"""One run of the cortical microcircuit in NEST, with the parameters and the construction of the package `microcircuit`.

Reads one JSON object on standard input (scale, drive, seed, threads, transient_ms, duration_ms, record) and prints one.
Needs `pip install nest-simulator microcircuit` (requirements-network.txt).
"""

import copy
import json
import os
import sys
import tempfile
import time

import numpy as np

# A neuron enters the mean of the CV with at least so many spikes, so that its CV rests on at least 4 intervals.
CV_SPIKES = 5


def rate_and_cv(times_ms, senders, neurons, duration_ms):
    """(mean rate in Hz over all neurons, mean CV of inter-spike intervals, neurons in that mean).

    A neuron's CV is the standard deviation of its intervals (dividing by their number) over their mean; neurons with
    fewer than CV_SPIKES spikes are left out. None where no neuron has so many.
    """
    rate = len(times_ms) * 1e3 / (neurons * duration_ms)
    order = np.lexsort((times_ms, senders))
    ids, first, counts = np.unique(senders[order], return_index=True, return_counts=True)
    trains = np.split(times_ms[order], first[1:]) if ids.size else []
    cvs = [np.std(gaps) / np.mean(gaps) for train in trains if train.size >= CV_SPIKES for gaps in [np.diff(train)]]
    return rate, float(np.mean(cvs)) if cvs else None, len(cvs)


def peak_bytes():
    """The largest resident set of this process, the interpreter and its libraries included."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))


def run(order, folder):
    import nest
    from microcircuit.network import Network
    from microcircuit.network_params import default_net_dict
    from microcircuit.sim_params import default_sim_dict
    from microcircuit.stimulus_params import default_stim_dict

    nest.verbosity = nest.VerbosityLevel.ERROR
    net_dict, sim_dict, stim_dict = map(copy.deepcopy, (default_net_dict, default_sim_dict, default_stim_dict))
    net_dict |= {"N_scaling": order["scale"], "K_scaling": order["scale"], "bg_input_type": order["drive"]}
    sim_dict |= {
        "rng_seed": order["seed"], "local_num_threads": order["threads"], "print_time": False,
        "rec_dev": ["spike_recorder"] if order["record"] else [], "data_path": folder, "store_metadata": False,
    }
    base = peak_bytes()
    marks = [time.perf_counter()]
    net = Network(sim_dict, net_dict, stim_dict)
    net.create()
    if order["record"]:
        net.spike_recorders.set(record_to="memory", start=order["transient_ms"])
    net.connect()
    marks.append(time.perf_counter())
    net.simulate(order["transient_ms"])
    marks.append(time.perf_counter())
    net.simulate(order["duration_ms"])
    marks.append(time.perf_counter())
    build, warmup, simulate = np.diff(marks).tolist()
    report = {
        "order": order, "nest": nest.__version__, "neurons": int(net.num_neurons.sum()),
        "synapses": int(net.num_synapses.sum()),
        "connections_in_kernel": nest.GetKernelStatus("num_connections"),
        "timing": {"build_s": build, "warmup_s": warmup, "simulate_s": simulate,
                   "real_time_factor": simulate * 1e3 / order["duration_ms"]},
        "memory": {"peak_bytes": peak_bytes(), "before_build_bytes": base},
        "spikes": nest.GetKernelStatus("local_spike_counter"),
    }
    if order["record"]:
        report |= {"rates_hz": {}, "cv_isi": {}, "cv_neurons": {}}
        for name, recorder, size in zip(net_dict["populations"], net.spike_recorders, net.num_neurons.tolist()):
            events = recorder.events
            rate, cv, used = rate_and_cv(events["times"], events["senders"], size, order["duration_ms"])
            report["rates_hz"][name], report["cv_isi"][name], report["cv_neurons"][name] = rate, cv, used
    return report


def main():
    order = json.load(sys.stdin)
    # NEST and the package talk on standard output, which is for the report.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory(prefix="nest-") as folder:
        report = run(order, folder)
    out.write(json.dumps(report) + "\n")
    out.flush()


if __name__ == "__main__":
    main()

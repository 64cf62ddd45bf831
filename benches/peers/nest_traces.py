#!/usr/bin/env python3
"""Writes tests/data/nest/*.json: spikes and membranes of single neurons and small networks in NEST (f64), with every
parameter, input and connection, so that a test can rebuild them. Needs requirements-network.txt. See README.md.

Each model that NEST steps in closed form is also stepped here, and must give the same spikes: this fixes the order of
operations, and gives the margin, the least distance of a membrane from the threshold at the end of any step. The random
inputs and networks are those of the first seed whose margin is at least MARGIN_MV, so that what a test in f32 finds is
never the rounding of a membrane that grazes the threshold.
"""

import argparse
import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
H = 0.1
STEPS = 100_000
TRACE_STEPS = 1000
MARGIN_MV = 1e-4
CONVENTIONS = {
    "step": "spike_steps are NEST's time stamps over the resolution: a spike found at the end of the update from step "
            "n - 1 to step n has stamp n, n from 1",
    "delay": "a spike with stamp n over a connection of d steps arrives in the update that ends at step n + d; inputs "
             "list the stamps that the source sends, before the delay",
    "weights": "weights of at least zero go to the excitatory synapse, those below to the inhibitory one; iaf_psc_exp "
               "in pA, iaf_psc_delta and izhikevich in mV, iaf_cond_exp in nS",
    "v_m": "v_m[k] is the membrane in mV of neuron 0 at step k + 1, after threshold and reset",
    "start": "V_m as given in the neuron's parameters (U_m too for izhikevich), synaptic currents and conductances 0",
    "margin_mv": "the least distance between any membrane and its threshold at the end of any step, before the reset",
}

# Potjans and Diesmann (2014), Vogels and Abbott (2005) as current-based by Brette et al. (2007), and a singular case in
# which membrane and synapses have one time constant.
PD14 = {"C_m": 250.0, "tau_m": 10.0, "E_L": -65.0, "V_th": -50.0, "V_reset": -65.0, "t_ref": 2.0, "tau_syn_ex": 0.5,
        "tau_syn_in": 0.5, "I_e": 0.0, "V_m": -65.0}
CUBA = {"C_m": 200.0, "tau_m": 20.0, "E_L": -49.0, "V_th": -50.0, "V_reset": -60.0, "t_ref": 5.0, "tau_syn_ex": 5.0,
        "tau_syn_in": 10.0, "I_e": 0.0, "V_m": -60.0}
SINGULAR = {**PD14, "tau_syn_ex": 10.0, "tau_syn_in": 10.0}
DELTA = {"C_m": 250.0, "tau_m": 20.0, "E_L": -65.0, "V_th": -45.0, "V_reset": -55.0, "t_ref": 2.0, "I_e": 0.0,
         "V_m": -65.0}
COBA = {"C_m": 200.0, "g_L": 10.0, "E_L": -60.0, "V_th": -50.0, "V_reset": -60.0, "t_ref": 5.0, "E_ex": 0.0,
        "E_in": -80.0, "tau_syn_ex": 5.0, "tau_syn_in": 10.0, "I_e": 0.0, "V_m": -60.0}
IZHIKEVICH = {"a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0, "V_th": 30.0, "I_e": 0.0, "V_m": -65.0, "U_m": -13.0}


def arrivals(case):
    """What arrives from the listed inputs in each update: excitatory and inhibitory, each (STEPS + 1, neurons)."""
    out = np.zeros((2, STEPS + 1, len(case["neurons"])))
    for source in case["inputs"]:
        steps = np.array(source["steps"]) + source["delay_steps"]
        np.add.at(out[int(source["weight"] < 0), :, source["target"]], steps[steps <= STEPS], source["weight"])
    return out


def psc_exp_constants(neuron):
    """The entries of the exact step of a membrane with exponential currents (Rotter and Diesmann 1999)."""
    tau_m, c_m = neuron["tau_m"], neuron["C_m"]
    decay = math.exp(-H / tau_m)
    synapses = []
    for tau in (neuron["tau_syn_ex"], neuron["tau_syn_in"]):
        if tau == tau_m:
            drive = H / c_m * decay
        else:
            beta = tau * tau_m / (tau_m - tau)
            drive = beta / c_m * math.exp(-H / tau) * math.expm1(H / beta)
        synapses += [math.exp(-H / tau), drive]
    return (decay, -math.expm1(-H / tau_m) * tau_m / c_m, *synapses)


def step_psc(case, least):
    """Spike steps per neuron and the margin, stepping iaf_psc_exp or iaf_psc_delta in f64; None below `least`."""
    neurons, n = case["neurons"], len(case["neurons"])
    delta = case["model"] == "iaf_psc_delta"

    def each(key):
        return np.array([neuron[key] for neuron in neurons])

    e_l, i_e = each("E_L"), each("I_e")
    threshold, reset, hold = each("V_th") - e_l, each("V_reset") - e_l, np.rint(each("t_ref") / H).astype(int)
    if delta:
        decay = np.exp(-H / each("tau_m"))
        drive = -np.expm1(-H / each("tau_m")) * each("tau_m") / each("C_m")
    else:
        decay, drive, decay_ex, drive_ex, decay_in, drive_in = np.array([psc_exp_constants(p) for p in neurons]).T
    given_ex, given_in = arrivals(case)
    outgoing = [[(t, w, d) for s, t, w, d in case["connections"] if s == source] for source in range(n)]
    v, waiting = each("V_m") - e_l, np.zeros(n, int)
    i_ex, i_in = np.zeros(n), np.zeros(n)
    spikes, margin = [[] for _ in range(n)], np.inf
    for step in range(1, STEPS + 1):
        free = waiting == 0
        if delta:
            v = np.where(free, decay * v + drive * i_e + given_ex[step] + given_in[step], v)
        else:
            v = np.where(free, decay * v + drive_ex * i_ex + drive_in * i_in + drive * i_e, v)
            i_ex = i_ex * decay_ex + given_ex[step]
            i_in = i_in * decay_in + given_in[step]
        waiting -= ~free
        margin = min(margin, np.abs(v - threshold)[free].min(initial=np.inf))
        if margin < least:
            return None
        for neuron in np.flatnonzero(free & (v >= threshold)):
            v[neuron], waiting[neuron] = reset[neuron], hold[neuron]
            spikes[neuron].append(step)
            for target, weight, delay in outgoing[neuron]:
                if step + delay <= STEPS:
                    (given_in if weight < 0 else given_ex)[step + delay, target] += weight
    return spikes, margin


def in_nest(case):
    """Spike steps per neuron, and the membrane of neuron 0 over the first TRACE_STEPS."""
    import nest

    nest.ResetKernel()
    nest.resolution = H
    nest.local_num_threads = 1
    cells = [nest.Create(case["model"], params=neuron) for neuron in case["neurons"]]
    recorder = nest.Create("spike_recorder")
    for cell in cells:
        nest.Connect(cell, recorder)
    for source, target, weight, delay in case["connections"]:
        nest.Connect(cells[source], cells[target], syn_spec={"weight": weight, "delay": round(delay * H, 1)})
    for given in case["inputs"]:
        # A generator sends one spike a step: what is listed twice is sent with multiplicity 2.
        steps, counts = np.unique(given["steps"], return_counts=True)
        generator = nest.Create("spike_generator", params={
            "spike_times": np.round(steps * H, 1), "spike_multiplicities": counts.tolist()})
        nest.Connect(generator, cells[given["target"]],
                     syn_spec={"weight": given["weight"], "delay": round(given["delay_steps"] * H, 1)})
    meter = nest.Create("multimeter", params={"record_from": ["V_m"], "interval": H, "stop": TRACE_STEPS * H})
    nest.Connect(meter, cells[0])
    nest.Simulate(STEPS * H)
    events = recorder.events
    spikes = [np.sort(np.rint(events["times"][events["senders"] == cell.global_id] / H).astype(int)).tolist()
              for cell in cells]
    trace = meter.events
    at = np.rint(trace["times"] / H).astype(int)
    if not np.array_equal(at, np.arange(1, len(at) + 1)) or len(at) < TRACE_STEPS - 1:
        sys.exit(f"error: the membrane of {case['name']} was recorded at steps {at[:3]} ... {at[-1]}")
    return spikes, trace["V_m"].tolist()


def case(name, model, neurons, inputs=(), connections=()):
    return {"name": name, "model": model, "neurons": list(neurons), "inputs": list(inputs),
            "connections": list(connections)}


def poisson_steps(rng, rate_hz):
    """Steps of a Poisson train, a step twice where two spikes fall into it."""
    return np.repeat(np.arange(1, STEPS + 1), rng.poisson(rate_hz * H * 1e-3, STEPS)).tolist()


def driven(name, model, neuron, trains):
    """One neuron with Poisson trains: (rate in Hz, weight, delay in steps)."""
    def make(seed):
        rng = np.random.default_rng(seed)
        return case(name, model, [neuron], [{"target": 0, "weight": weight, "delay_steps": delay,
                                             "steps": poisson_steps(rng, rate)} for rate, weight, delay in trains])
    return make


def network(name, model, neuron, currents, weights):
    """Eight excitatory and two inhibitory neurons, a third of all pairs connected, a pair twice, a neuron to itself."""
    def make(seed):
        rng = np.random.default_rng(seed)
        n = len(currents)
        neurons = [{**neuron, "I_e": current, "V_m": round(rng.uniform(neuron["V_reset"], neuron["V_th"] - 1), 3)}
                   for current in currents]
        pairs = [(s, t) for s in range(n) for t in range(n) if s != t and rng.random() < 1 / 3]
        pairs += [pairs[0], (3, 3)]
        # The shortest and the longest delay that spikewave has are among them.
        delays = [1, 255, *rng.integers(1, 41, len(pairs) - 2).tolist()]
        connections = []
        for (source, target), delay in zip(pairs, delays):
            mean = weights[int(source >= n - 2)]
            connections.append([source, target, float(np.round(mean * (1 + 0.1 * rng.standard_normal()), 3)), delay])
        # Without these the network settles into a cycle.
        inputs = [{"target": target, "weight": weights[0], "delay_steps": 1, "steps": poisson_steps(rng, 30)}
                  for target in (0, 5)]
        return case(name, model, neurons, inputs, connections)
    return make


def fixed(*args):
    return lambda _seed: case(*args)


CURRENTS = (391.0, 340.0, 402.0, 352.0, 384.0, 348.0, 361.0, 379.0, 382.0, 364.0)
CASES = (
    fixed("psc_exp_dc", "iaf_psc_exp", [{**PD14, "I_e": 561.97, "V_m": -58.0}, {**PD14, "I_e": 390.0},
                                        {**PD14, "t_ref": 0.5, "I_e": 425.0}, {**PD14, "t_ref": 3.0, "I_e": 502.47}]),
    fixed("psc_exp_dc_cuba", "iaf_psc_exp", [CUBA, {**CUBA, "I_e": 200.0, "V_m": -55.5}]),
    driven("psc_exp_input", "iaf_psc_exp", {**PD14, "I_e": 300.0},
           ((150, 702.5, 15), (60, -351.25, 8), (60, 263.5, 1))),
    driven("psc_exp_input_cuba", "iaf_psc_exp", CUBA, ((150, 16.2, 1), (40, -139.5, 3))),
    driven("psc_exp_input_singular", "iaf_psc_exp", SINGULAR, ((200, 220.0, 15), (50, -220.0, 255))),
    fixed("psc_delta_dc", "iaf_psc_delta", [{**DELTA, "I_e": 300.0, "V_m": -50.0},
                                            {**DELTA, "I_e": 255.0, "t_ref": 0.5}]),
    driven("psc_delta_input", "iaf_psc_delta", {**DELTA, "I_e": 180.0}, ((150, 1.7, 15), (60, -1.7, 7), (40, 2.5, 1))),
    network("psc_exp_network", "iaf_psc_exp", PD14, CURRENTS, (702.5, -1756.2)),
    network("psc_delta_network", "iaf_psc_delta", {**DELTA, "V_reset": -65.0, "V_th": -50.0, "tau_m": 10.0},
            CURRENTS, (1.2, -3.0)),
    driven("cond_exp_input", "iaf_cond_exp", COBA, ((150, 5.4, 2), (60, -12.0, 3))),
    driven("izhikevich_input", "izhikevich", {**IZHIKEVICH, "I_e": 6.0}, ((200, 1.5, 1), (50, -2.0, 4))),
)


def main():
    import nest

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "tests/data/nest")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    nest.verbosity = nest.VerbosityLevel.ERROR
    for make in CASES:
        for seed in itertools.count(1):
            what = make(seed)
            closed = what["model"] in ("iaf_psc_exp", "iaf_psc_delta")
            stepped = step_psc(what, MARGIN_MV) if closed else ([], None)
            if stepped is not None:
                break
        spikes, trace = in_nest(what)
        if closed and spikes != stepped[0]:
            sys.exit(f"error: {what['name']}: NEST's spikes are not those of the stepping in this file")
        record = {"simulator": f"NEST {nest.__version__}", "conventions": CONVENTIONS, "resolution_ms": H,
                  "steps": STEPS, "seed": seed, "margin_mv": stepped[1], **what, "spike_steps": spikes,
                  "v_m": [round(v, 6) for v in trace]}
        path = args.output / f"{what['name']}.json"
        path.write_text(json.dumps(record, separators=(",", ":")).replace(',"', ',\n"') + "\n")
        rates = [round(len(train) / (STEPS * H * 1e-3), 1) for train in spikes]
        print(f"{path.name}: seed {seed}, {path.stat().st_size} bytes, margin {stepped[1]} mV, rates {rates} Hz")


if __name__ == "__main__":
    main()

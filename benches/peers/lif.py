"""Leaky integrate-and-fire neurons by forward Euler: one step against a copy, many steps against a torch loop."""

import numpy as np
import torch

from harness import Accuracy, Case, Peer, Row, speed_row

# mV, ms, and the current already times the membrane resistance (mV).
EQUATION = {
    "dt": 1.0, "tau_mem": 20.0, "v_rest": -65.0, "v_threshold": -50.0, "v_reset": -70.0,
    "refractory_steps": 5, "threshold_rule": ">=",
}
ALPHA = EQUATION["dt"] / EQUATION["tau_mem"]
STEP_NEURONS = 1 << 22
# The step moves about 80 MiB: the copy it is held against moves as much (40 MiB read, 40 MiB written).
COPY_ELEMENTS = 10 << 20
# Neurons whose drive barely crosses the threshold sit on it for many steps, and f32 may put their spike a step off.
RASTER_BOUND = 5e-4
# f32 near -65 mV has a grain of 7.6e-6 mV, and a membrane remembers 1 / ALPHA = 20 roundings of half a grain.
V_BOUND = 2e-4


class Lif(Case):
    writes = ("v", "spikes")

    def __init__(self, neurons, steps, driven):
        rng = np.random.default_rng([neurons, steps, driven])
        shape = (steps, neurons) if driven else (neurons,)
        self.neurons, self.steps, self.driven = neurons, steps, driven
        self.inputs = {
            "v": rng.uniform(-70, -50.5, neurons).astype(np.float32),
            "refractory": rng.integers(0, EQUATION["refractory_steps"], neurons, dtype=np.uint32),
            "current": rng.uniform(10, 30, shape).astype(np.float32),
        }
        self.params = {**EQUATION, "steps": steps}

    def drive(self, step, part=slice(None)):
        current = self.inputs["current"]
        return current[step, part] if self.driven else current[part]

    def torch_loop(self):
        """The loop as a torch user writes it with care: no allocation in the loop, one spike byte a neuron a step."""
        eq, n = EQUATION, self.neurons
        target = torch.from_numpy(self.inputs["current"]) + eq["v_rest"]
        v, waiting = torch.empty(n), torch.empty(n, dtype=torch.int32)
        moved, spikes = torch.empty(n), torch.empty((self.steps, n), dtype=torch.bool)
        active = torch.empty(n, dtype=torch.bool)
        v_reset, silent = torch.tensor(eq["v_reset"]), torch.tensor(eq["refractory_steps"] - 1, dtype=torch.int32)

        def reset():
            v.copy_(torch.from_numpy(self.inputs["v"]))
            waiting.copy_(torch.from_numpy(self.inputs["refractory"].astype(np.int32)))

        def run():
            with torch.inference_mode():
                for step in range(self.steps):
                    torch.lerp(v, target[step] if self.driven else target, ALPHA, out=moved)
                    torch.le(waiting, 0, out=active)
                    torch.where(active, moved, v, out=v)
                    waiting.sub_(1).clamp_(min=0)
                    # A waiting neuron stays below the threshold, because v_reset and every start value do.
                    spike = torch.ge(v, eq["v_threshold"], out=spikes[step])
                    torch.where(spike, v_reset, v, out=v)
                    torch.where(spike, silent, waiting, out=waiting)

        def outputs():
            reset()
            run()
            bits = np.packbits(spikes.numpy(), axis=-1, bitorder="little").view("<u4")
            return {"v": v.numpy().copy(), "spikes": bits}

        reset()
        return run, reset, outputs

    def oracle(self):
        """(v, packed spikes) in f64 from the same inputs."""
        eq, chunk = EQUATION, 1 << 16
        final = np.empty(self.neurons)
        packed = np.empty((self.steps, self.neurons // 8), np.uint8)
        for first in range(0, self.neurons, chunk):
            part = slice(first, first + chunk)
            v = self.inputs["v"][part].astype(np.float64)
            waiting = self.inputs["refractory"][part].astype(np.int64)
            for step in range(self.steps):
                active = waiting == 0
                v = np.where(active, v + ALPHA * (eq["v_rest"] + self.drive(step, part).astype(np.float64) - v), v)
                spike = active & (v >= eq["v_threshold"])
                v[spike] = eq["v_reset"]
                waiting = np.where(spike, eq["refractory_steps"] - 1, np.maximum(waiting - 1, 0))
                packed[step, first // 8:(first + chunk) // 8] = np.packbits(spike, bitorder="little")
            final[part] = v
        return final, packed

    def accuracy(self, outputs):
        v, packed = outputs["v"], np.ascontiguousarray(outputs["spikes"]).view(np.uint8).reshape(self.steps, -1)
        if v.shape != (self.neurons,) or packed.shape[1] != self.neurons // 8:
            return Accuracy("wrong shape", {"v": list(v.shape), "spikes": list(outputs["spikes"].shape)}, False)
        if not hasattr(self, "truth"):
            self.truth = self.oracle()
        want_v, want = self.truth
        wrong = np.unpackbits(np.bitwise_or.reduce(packed ^ want, axis=0), bitorder="little").astype(bool)
        same = ~wrong
        share = float(wrong.mean())
        worst = float(np.abs(v[same] - want_v[same]).max()) if same.any() else float("inf")
        spikes = int(np.bitwise_count(packed).sum())
        return Accuracy(f"{int(wrong.sum())} of {self.neurons} rasters differ, v {worst:.1e} mV",
                        {"rasters_differ": int(wrong.sum()), "share": share, "v_max_abs_mv": worst, "spikes": spikes,
                         "spikes_f64": int(np.bitwise_count(want).sum())},
                        share <= RASTER_BOUND and worst <= V_BOUND)


class LifStep(Lif):
    name = "lif"
    reports = ("bytes", "copy_ms")
    samples = 10

    def __init__(self):
        super().__init__(STEP_NEURONS, 1, False)
        self.title = f"LIF step, 2^{STEP_NEURONS.bit_length() - 1} neurons"
        self.params["copy_elements"] = COPY_ELEMENTS

    def peers(self):
        run, _, outputs = self.torch_loop()
        source = np.arange(COPY_ELEMENTS, dtype=np.float32)
        target = np.zeros_like(source)
        source_t, target_t = torch.from_numpy(source), torch.from_numpy(target)
        return [Peer("torch", run, outputs),
                Peer("torch copy", lambda: target_t.copy_(source_t), None),
                Peer("numpy copy", lambda: np.copyto(target, source), None)]

    def rows(self, ours, peers):
        mine = ("", *ours[""]) if ours else None
        rows = [speed_row(self.title, mine, ("torch", *peers["torch"]), None, lambda ms: f"{ms:.2f} ms")]
        copies = {label: peers[label][0].median for label in ("torch copy", "numpy copy")}
        if ours:
            report = ours[""][0].report
            copies["own copy"] = float(np.median(report["copy_ms"]))
        label = min(copies, key=copies.get)
        bandwidth = {key: 8e-6 * COPY_ELEMENTS / ms for key, ms in copies.items()}
        own = 1e-6 * report["bytes"] / ours[""][0].median if ours else None
        others = ", ".join(f"{key} {value:.1f}" for key, value in bandwidth.items() if key != label)
        rows.append(Row(
            title=f"{self.title}, bandwidth", ours="-" if own is None else f"{own:.1f} GB/s",
            peer=f"{label}: {bandwidth[label]:.1f} GB/s ({others})", ratio=own and own / bandwidth[label], target=0.7,
            our_accuracy=None, peer_accuracy=None,
        ))
        return rows


class LifFused(Lif):
    name = "lif_fused"
    samples = 2

    def __init__(self, exponent, driven):
        super().__init__(1 << exponent, 256, driven)
        drive = "driven each step" if driven else "constant drive"
        self.title = f"LIF {self.steps} steps, 2^{exponent} neurons, {drive}"

    def peers(self):
        run, _, outputs = self.torch_loop()
        return [Peer("torch loop", run, outputs)]

    def rows(self, ours, peers):
        mine = ("", *ours[""]) if ours else None
        return [speed_row(self.title, mine, ("torch loop", *peers["torch loop"]), 5.0,
                          lambda ms: f"{ms:.2f} ms ({1e-6 * self.neurons * self.steps / ms:.2f} G updates/s)")]


def cases(_data):
    yield LifStep
    for exponent in (16, 18, 20):
        yield lambda e=exponent: LifFused(e, False)
    yield lambda: LifFused(16, True)

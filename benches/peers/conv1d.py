"""conv1d on the four layers of the strain encoder against torch.nn.functional.conv1d."""

import numpy as np
import torch

from harness import Accuracy, Case, Peer, speed_row

LAYERS = ((1, 64), (64, 128), (128, 256), (256, 512))
TAPS, STRIDE, PADDING, FIRST_LENGTH = 9, 2, 4, 16_384


def output_length(length):
    return (length + 2 * PADDING - TAPS) // STRIDE + 1


class Conv1d(Case):
    name = "conv1d"
    writes = ("output",)
    samples = 10

    def __init__(self, channels_in, channels_out, length):
        rng = np.random.default_rng([channels_in, channels_out, length])
        fan_in = channels_in * TAPS

        def normal(scale, *shape):
            return (scale * rng.standard_normal(shape)).astype(np.float32)

        self.title = f"conv1d {channels_in}->{channels_out}, {length} samples"
        self.params = {"stride": STRIDE, "padding": PADDING, "dilation": 1, "groups": 1}
        self.inputs = {
            "input": normal(1.0, 1, channels_in, length),
            "weight": normal((2.0 / fan_in) ** 0.5, channels_out, channels_in, TAPS),
            "bias": normal(0.1, channels_out),
        }
        self.multiply_adds = channels_out * fan_in * output_length(length)
        # A sample lasts about 5 ms or more, far above the clock's grain and the cost of starting the threads.
        self.repeats = max(1, round(5e8 / self.multiply_adds))

    def peers(self):
        x, w, b = (torch.from_numpy(self.inputs[key]) for key in ("input", "weight", "bias"))

        def call():
            with torch.inference_mode():
                return torch.nn.functional.conv1d(x, w, b, stride=STRIDE, padding=PADDING)

        return [Peer("torch", call, lambda: {"output": call().numpy()})]

    def oracle(self):
        """The same sum in f64: every window of the padded input times the filters."""
        x = np.pad(self.inputs["input"][0].astype(np.float64), ((0, 0), (PADDING, PADDING)))
        windows = np.lib.stride_tricks.sliding_window_view(x, TAPS, axis=1)[:, ::STRIDE]  # (channel, position, tap)
        columns = windows.transpose(1, 0, 2).reshape(windows.shape[1], -1)
        w = self.inputs["weight"].astype(np.float64).reshape(self.inputs["weight"].shape[0], -1)
        return (w @ columns.T + self.inputs["bias"].astype(np.float64)[:, None])[None]

    def accuracy(self, outputs):
        want, got = self.oracle(), outputs["output"]
        if got.shape != want.shape or not np.isfinite(got).all():
            return Accuracy(f"shape {got.shape} or not finite", {"shape": list(got.shape)}, False)
        error = got - want
        relative = float(np.linalg.norm(error) / np.linalg.norm(want))
        worst = float(np.abs(error).max() / np.sqrt(np.mean(want**2)))
        return Accuracy(f"rel. L2 {relative:.1e}", {"relative_l2": relative, "max_abs_over_rms": worst},
                        relative <= 1e-6 * TAPS**0.5)

    def rows(self, ours, peers):
        def show(ms):
            return f"{ms:.3f} ms ({2e-6 * self.multiply_adds / ms:.0f} GFLOP/s)"

        mine = ("", *ours[""]) if ours else None
        return [speed_row(self.title, mine, ("torch", *peers["torch"]), 0.8, show)]


def cases(_data):
    length = FIRST_LENGTH
    for channels_in, channels_out in LAYERS:
        yield lambda i=channels_in, o=channels_out, n=length: Conv1d(i, o, n)
        length = output_length(length)

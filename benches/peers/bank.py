"""A matched-filter bank, 256 templates x 32 s at 4096 Hz on one detector, against scipy.fft in complex64."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import scipy.fft
import torch

from chirps import whitened_bank
from harness import THREADS, Accuracy, Case, Peer, speed_row, time_call

TEMPLATES = 256
# Peaks must agree with f64 to this, and in the sample too, unless f64 itself cannot tell the two samples apart.
PEAK_BOUND, TIE = 1e-5, 1e-6


class Bank(Case):
    name = "bank"
    writes = ("peak", "index")
    reports = ("prepare_ms",)
    samples = 3

    def __init__(self, data):
        spectrum, templates, rate = whitened_bank(data, TEMPLATES)
        self.spectrum = spectrum.astype(np.complex64)
        self.templates = templates.astype(np.complex64)
        self.n = 2 * (spectrum.size - 1)
        self.seconds = self.n / rate * TEMPLATES
        self.title = f"bank of {TEMPLATES} x {self.n // rate} s"
        self.params = {"n": self.n, "sample_rate_hz": rate}
        self.inputs = {"data": self.pairs(self.spectrum), "templates": self.pairs(self.templates)}

    @staticmethod
    def pairs(values):
        """Complex as a trailing axis of two floats, which every reader of .npy understands."""
        return values.view(np.float32).reshape(*values.shape, 2)

    # The templates' conjugates are made once: a bank is prepared once and filters many stretches of data.
    def peers(self):
        conjugates = self.templates.conj()
        half = self.spectrum.size
        self.best = {}

        def peaks(z, first, peak, index):
            """|z| at its largest, a template each; |z| itself is no slower than |z|^2 from strided parts."""
            size = np.abs(z)
            where = size.argmax(axis=-1)
            index[first:first + len(z)] = where
            peak[first:first + len(z)] = np.take_along_axis(size, where[:, None], axis=-1)[:, 0]

        def search(chunk, workers, first, last, peak, index):
            buffer = np.zeros((chunk, self.n), np.complex64)
            for start in range(first, last, chunk):
                buffer[:, half:] = 0
                np.multiply(self.spectrum, conjugates[start:start + chunk], out=buffer[:, :half])
                buffer = scipy.fft.ifft(buffer, axis=-1, norm="forward", overwrite_x=True, workers=workers)
                peaks(buffer, start, peak, index)

        def empty():
            return {"peak": np.zeros(TEMPLATES, np.float32), "index": np.zeros(TEMPLATES, np.int64)}

        def by_workers(chunk):
            out = empty()
            search(chunk, THREADS, 0, TEMPLATES, **out)
            return out

        pool = ThreadPoolExecutor(THREADS)
        share = TEMPLATES // THREADS

        def by_threads(chunk):
            out = empty()
            list(pool.map(lambda k: search(chunk, 1, k * share, (k + 1) * share, **out), range(THREADS)))
            return out

        data_t, conjugates_t = torch.from_numpy(self.spectrum), torch.from_numpy(conjugates)

        def by_torch(chunk):
            out = empty()
            with torch.inference_mode():
                buffer = torch.zeros((chunk, self.n), dtype=torch.complex64)
                for start in range(0, TEMPLATES, chunk):
                    torch.mul(data_t, conjugates_t[start:start + chunk], out=buffer[:, :half])
                    best = torch.fft.ifft(buffer, norm="forward").abs().max(dim=-1)
                    out["peak"][start:start + chunk] = best.values.numpy()
                    out["index"][start:start + chunk] = best.indices.numpy()
            return out

        # Two at a time is the plain way, a transform a worker; scipy uses vector registers only across a batch, so
        # larger batches are far quicker, and which is best depends on the caches.
        ways = [("scipy workers=2", by_workers, [2]), ("scipy workers=2 best", by_workers, [4, 8, 16, 32, 64]),
                ("scipy in 2 threads", by_threads, [1, 2, 4, 8, 16, 32]), ("torch.fft", by_torch, [1, 2, 4, 8, 16, 32])]
        made = []
        for label, way, chunks in ways:
            trial = {chunk: min(time_call(lambda: way(chunk), 2, 1)) for chunk in chunks}
            chunk = min(trial, key=trial.get)
            extra = {"chunk": chunk, "trial_ms_by_chunk": {str(size): ms for size, ms in trial.items()}}
            made.append(Peer(f"{label}, {chunk} at a time", partial(way, chunk), partial(way, chunk), extra))
        return made

    def accuracy(self, outputs):
        got_peak, got_index = outputs["peak"].astype(np.float64), outputs["index"].astype(np.int64)
        if got_peak.shape != (TEMPLATES,) or got_index.shape != (TEMPLATES,):
            return Accuracy("wrong shape", {"shapes": [list(got_peak.shape), list(got_index.shape)]}, False)
        if got_index.min() < 0 or got_index.max() >= self.n or not np.isfinite(got_peak).all():
            return Accuracy("index out of range or peak not finite", {}, False)
        peak, index, at_got = self.oracle(got_index)
        relative = float(np.abs(got_peak / peak - 1).max())
        moved = int((got_index != index).sum())
        wrong = int((at_got < (1 - TIE) * peak).sum())
        return Accuracy(f"peaks {relative:.1e}, {moved} of {TEMPLATES} moved",
                        {"peak_max_relative": relative, "index_differs": moved, "index_wrong_beyond_tie": wrong,
                         "loudest": float(got_peak.max())},
                        relative <= PEAK_BOUND and wrong == 0)

    def oracle(self, at):
        """Peak, its sample, and the value at sample `at`, of every template, from the same inputs in f64."""
        peak, index, there = (np.zeros(TEMPLATES) for _ in range(3))
        for k, template in enumerate(self.templates):
            z = np.zeros(self.n, np.complex128)
            z[:self.spectrum.size] = self.spectrum.astype(np.complex128) * template.conj()
            size = np.abs(scipy.fft.ifft(z, norm="forward", overwrite_x=True))
            index[k] = size.argmax()
            peak[k], there[k] = size.max(), size[at[k]]
        return peak, index, there

    def rows(self, ours, peers):
        def show(ms):
            return f"{1e3 * self.seconds / ms:,.0f} template-s/s"

        out = []
        for variant in ours or [None]:
            mine = (variant, *ours[variant]) if ours else None
            for label, result in peers.items():
                # The goals are set against scipy with two workers; the other peers are there to judge that.
                goal = 2.0 if label.startswith("scipy workers=2") else None
                out.append(speed_row(self.title, mine, (label, *result), goal, show))
        return out


def cases(data):
    yield lambda: Bank(data)

"""Sparse matrix times vector: 20,000 x 20,000, one in a hundred filled, beside scipy, which uses one thread."""

import numpy as np
import scipy.sparse

from harness import Accuracy, Case, Peer, speed_row

SIZE, FILLED = 20_000, 0.01
# As many bytes as the product moves where an element takes 6: 24 MB.
COPY_ELEMENTS = 3_000_000
# Largest difference from f64, over the largest element.
BOUND = 1e-5


class Csr(Case):
    name = "csr"
    title = f"CSR matrix x vector, {SIZE:,} x {SIZE:,}, {FILLED:.0%} filled"
    writes = ("y",)
    reports = ("bytes", "copy_ms")
    samples = 5
    repeats = 20

    def __init__(self):
        rng = np.random.default_rng(20)
        # Each element is there with its own draw, so rows differ in length as those of a random network do.
        rows = rng.binomial(SIZE, FILLED, SIZE)
        indices = np.concatenate([np.sort(rng.choice(SIZE, count, replace=False)) for count in rows])
        self.inputs = {
            "indptr": np.concatenate([[0], np.cumsum(rows)]).astype(np.uint32),
            "indices": indices.astype(np.uint32),
            "data": rng.standard_normal(indices.size).astype(np.float32),
            "x": rng.standard_normal(SIZE).astype(np.float32),
        }
        self.params = {"copy_elements": COPY_ELEMENTS}

    def matrix(self, dtype):
        parts = (self.inputs["data"].astype(dtype), self.inputs["indices"].astype(np.int32),
                 self.inputs["indptr"].astype(np.int32))
        return scipy.sparse.csr_array(parts, shape=(SIZE, SIZE))

    def peers(self):
        out = []
        for label, dtype in (("scipy f32, 1 thread", np.float32), ("scipy f64, 1 thread", np.float64)):
            matrix, x = self.matrix(dtype), self.inputs["x"].astype(dtype)
            out.append(Peer(label, lambda m=matrix, x=x: m @ x, lambda m=matrix, x=x: {"y": m @ x}))
        return out

    def accuracy(self, outputs):
        y = outputs["y"]
        if y.shape != (SIZE,):
            return Accuracy("wrong shape", {"y": list(y.shape)}, False)
        if not hasattr(self, "truth"):
            self.truth = self.matrix(np.float64) @ self.inputs["x"].astype(np.float64)
        worst = float(np.max(np.where(np.isfinite(y), np.abs(y - self.truth), np.inf)) / np.abs(self.truth).max())
        return Accuracy(f"max {worst:.1e}", {"max_over_largest": worst}, worst <= BOUND)

    def rows(self, ours, peers):
        mine = ("", *ours[""]) if ours else None
        return [speed_row(f"{self.title}{'' if number == 0 else ', theirs in f64'}", mine, (label, *peers[label]),
                          1.5 if number == 0 else None,
                          lambda ms: f"{ms:.2f} ms ({1e-6 * self.inputs['data'].size / ms:.2f} G synapses/s)")
                for number, label in enumerate(peers)]

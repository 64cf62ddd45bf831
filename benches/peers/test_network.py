"""The comparisons of network.py must notice a changed element, and the traces of NEST must be those of the stepping in
f64. Run: python -m unittest discover benches/peers"""

import json
import sys
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import csr  # noqa: E402
import nest_traces  # noqa: E402
import network  # noqa: E402
from nest_microcircuit import rate_and_cv  # noqa: E402

TRACES = Path(__file__).resolve().parents[2] / "tests/data/nest"


class Comparisons(unittest.TestCase):
    def test_csr(self):
        case = csr.Csr()
        outputs = case.peers()[0].outputs()
        self.assertTrue(case.accuracy(outputs).ok)
        changed = outputs["y"].copy()
        changed[777] += 0.01
        self.assertFalse(case.accuracy({"y": changed}).ok)
        changed[777] = np.nan
        self.assertFalse(case.accuracy({"y": changed}).ok)
        self.assertFalse(case.accuracy({"y": outputs["y"][1:]}).ok)

    def test_activity(self):
        theirs = [{"E": 4.0 + off, "I": 7.0 - off} for off in (-0.02, -0.01, 0.0, 0.01, 0.02)]
        near = [{"E": 4.01 + off, "I": 7.0 + off} for off in (-0.01, 0.0, 0.01)]
        far = [{"E": rates["E"], "I": rates["I"] + 0.1} for rates in near]
        silent, stray = [{"E": 0.0, "I": 0.0}] * 3, [{"E": 0.0, "I": 0.1}] * 3

        def ok(ours, other, our_cv=(), their_cv=()):
            return network.activity_accuracy((ours, our_cv), (other, their_cv)).ok

        self.assertTrue(ok(near, theirs))
        self.assertTrue(ok(near[:1], theirs))
        self.assertFalse(ok(far, theirs))
        self.assertTrue(ok(near, theirs, near, theirs))
        self.assertFalse(ok(near, theirs, far, theirs))
        self.assertTrue(ok(silent, silent, [{"E": None, "I": None}] * 3, [{"E": None, "I": None}] * 3))
        self.assertFalse(ok(stray, silent))

    def test_rate_and_cv(self):
        # One neuron with gaps 1, 3, 1, 3 (CV 1/2), one perfectly regular, one with too few spikes.
        trains = {5: [0, 1, 4, 5, 8], 9: [0, 2, 4, 6, 8, 10], 7: [1, 2, 50, 51]}
        times = np.concatenate([np.array(train, float) for train in trains.values()])
        senders = np.concatenate([np.full(len(train), cell) for cell, train in trains.items()])
        mixed = np.random.default_rng(1).permutation(times.size)
        rate, cv, used = rate_and_cv(times[mixed], senders[mixed], 10, 500.0)
        self.assertAlmostEqual(rate, 15 / 10 / 0.5)
        self.assertAlmostEqual(cv, 0.25)
        self.assertEqual(used, 2)
        self.assertEqual(rate_and_cv(np.zeros(0), np.zeros(0, int), 10, 500.0), (0.0, None, 0))

    def test_traces(self):
        seen = 0
        for path in sorted(TRACES.glob("psc_*.json")):
            record = json.loads(path.read_text())
            spikes, margin = nest_traces.step_psc(record, 0.0)
            self.assertEqual(spikes, record["spike_steps"], path.name)
            self.assertAlmostEqual(margin, record["margin_mv"], 9, path.name)
            self.assertGreaterEqual(margin, nest_traces.MARGIN_MV, path.name)
            seen += 1
        self.assertGreaterEqual(seen, 9)


if __name__ == "__main__":
    unittest.main()

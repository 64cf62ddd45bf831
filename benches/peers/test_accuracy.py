"""The comparisons must notice a changed element. Run: python -m unittest discover benches/peers"""

import os
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bank  # noqa: E402
import conv1d  # noqa: E402
import harness  # noqa: E402
import lif  # noqa: E402
import numpy as np  # noqa: E402

DATA = Path(os.environ.get("SPIKEWAVE_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))


class Comparisons(unittest.TestCase):
    def test_conv1d(self):
        case = conv1d.Conv1d(64, 128, 512)
        outputs = case.peers()[0].outputs()
        self.assertTrue(case.accuracy(outputs).ok)
        changed = outputs["output"].copy()
        changed[0, 17, 100] += 0.01
        self.assertFalse(case.accuracy({"output": changed}).ok)
        self.assertFalse(case.accuracy({"output": outputs["output"][:, :, 1:]}).ok)

    def test_lif(self):
        case = lif.LifFused(14, False)
        _, _, outputs_of = case.torch_loop()
        outputs = outputs_of()
        self.assertTrue(case.accuracy(outputs).ok)
        late = {"v": outputs["v"], "spikes": outputs["spikes"][:-1].copy()}
        late["spikes"] = np.concatenate([0 * late["spikes"][:1], late["spikes"]])
        self.assertFalse(case.accuracy(late).ok)
        nudged = outputs["v"].copy()
        nudged[5] += 0.001
        self.assertFalse(case.accuracy({**outputs, "v": nudged}).ok)

    def test_lif_known_answer(self):
        case = lif.LifFused(5, False)
        case.inputs = {"v": np.full(32, -65, "f4"), "refractory": np.zeros(32, "u4"),
                       "current": np.full(32, 20, "f4")}
        _, _, outputs_of = case.torch_loop()
        for packed in (case.oracle()[1], outputs_of()["spikes"]):
            steps = np.flatnonzero(packed.any(axis=1))
            self.assertEqual(steps[:5].tolist(), [27, 63, 99, 135, 171])

    @unittest.skipUnless((DATA / "gw").exists(), f"needs real strain in {DATA}")
    def test_bank(self):
        case = bank.Bank(DATA)
        peak, index, _ = case.oracle([0] * bank.TEMPLATES)
        outputs = {"peak": peak.astype("f4"), "index": index.astype("u4")}
        self.assertTrue(case.accuracy(outputs).ok)
        louder, moved = peak.astype("f4"), index.astype("u4")
        louder[200] *= 1.0001
        moved[200] += 1
        self.assertFalse(case.accuracy({**outputs, "peak": louder}).ok)
        self.assertFalse(case.accuracy({**outputs, "index": moved}).ok)
        # The loudest template must be the binary that is in this strain.
        self.assertAlmostEqual(peak.max(), 18.5, delta=0.3)

    def test_rejects_reports_that_break_the_protocol(self):
        case = lif.LifFused(14, False)
        with tempfile.TemporaryDirectory() as folder, self.assertRaises(harness.BenchError):
            case.write_inputs(Path(folder) / "in")
            harness.run_program("/bin/true", case, "", Path(folder) / "in", Path(folder) / "out")


if __name__ == "__main__":
    unittest.main()

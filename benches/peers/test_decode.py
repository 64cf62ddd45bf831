"""The decoding comparison must notice a changed element. Run: python -m unittest discover benches/peers"""

import os
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import decode  # noqa: E402
import decode_session  # noqa: E402
import harness  # noqa: E402
import numpy as np  # noqa: E402

DATA = Path(os.environ.get("SPIKEWAVE_DATA", Path(__file__).resolve().parents[2] / "../shared/data")) / "kde"


class Sessions(unittest.TestCase):
    def setUp(self):
        self.data = decode_session.session(3, 500, 80, 60, 400, 4, seed=7)

    def test_has_the_asked_shape_and_ordered_spikes(self):
        self.assertEqual(decode_session.electrode_count(self.data), 3)
        self.assertEqual(self.data["time"].shape, (400,))
        self.assertEqual(self.data["place_bin_centers"].shape, (60, 1))
        for e in range(3):
            for part, count, span in (("encoding", 500, "position_time"), ("decoding", 80, "time")):
                times, marks = (self.data[f"{part}_{what}_{e}"] for what in ("spike_times", "marks"))
                self.assertEqual((times.shape, marks.shape, marks.dtype), ((count,), (count, 4), np.float32))
                self.assertTrue((np.diff(times) > 0).all())
                self.assertGreaterEqual(times[0], self.data[span][0])
                # So that no spike depends on whose bin edges are used.
                self.assertLess(times[-1], self.data[span][-1])

    def test_tells_the_position(self):
        data = decode_session.session(4, 1500, 200, 60, 5000, 4, seed=7)
        likelihood = decode_session.exact_log_likelihood(data, np.arange(5000))
        windows = likelihood.reshape(50, 100, -1).sum(axis=1)
        guess = data["place_bin_centers"][windows.argmax(axis=1), 0]
        error = np.abs(guess - data["decode_position"].reshape(50, 100).mean(axis=1))
        self.assertLess(np.median(error), 6)

    def test_shortened_and_single_spikes_keep_the_terms(self):
        whole = decode_session.exact_log_likelihood(self.data, np.arange(100))
        part = decode_session.shortened(self.data, 0.5)
        self.assertEqual(part["time"].size, 200)
        np.testing.assert_allclose(decode_session.exact_log_likelihood(part, np.arange(100)), whole)
        alone = decode_session.single_spikes(self.data, 240, seed=1)
        terms = decode_session.exact_log_likelihood(alone, np.arange(241))
        # The ground-process intensity is in every row; the spikes' terms add up to those of the whole session.
        whole = decode_session.exact_log_likelihood(self.data, np.arange(400))
        np.testing.assert_allclose((terms[:-1] - terms[-1]).sum(axis=0), (whole - terms[-1]).sum(axis=0))


class Oracle(unittest.TestCase):
    def test_sums_far_below_what_f64_holds(self):
        a, b = np.array([[0.0], [-900.0]]), np.array([[-2000.0, 0.0], [0.0, -1.0]])
        np.testing.assert_allclose(decode_session.log_sum(a, b), [[-900.0, 0.0]])

    @unittest.skipUnless(DATA.exists(), f"needs {DATA}")
    def test_agrees_with_the_stored_likelihood(self):
        files = sorted(DATA.glob("*.npz"))
        self.assertTrue(files)
        for path in files:
            with np.load(path, allow_pickle=False) as data:
                data = dict(data)
            rows = np.arange(0, data["time"].size, 3)
            got = decode_session.exact_log_likelihood(data, rows)
            np.testing.assert_allclose(got, data["exact_log_likelihood"][rows], atol=1e-9, rtol=0)
            if path.stem != "track_1d_10d":  # the reference's floor hides this one
                local = decode_session.exact_log_likelihood(data, rows, local=True)
                np.testing.assert_allclose(local, data["reference_local_log_likelihood"][rows], atol=1e-4, rtol=0)


class Comparison(unittest.TestCase):
    exact = np.array([[0.0, -5.0, -40.0], [-3.0, -3.5, -90.0]])

    def test_notices_a_changed_element(self):
        changed = self.exact.copy()
        changed[1, 1] += 0.01
        self.assertEqual(decode.compared(self.exact, self.exact)["max"], 0)
        self.assertAlmostEqual(decode.compared(changed, self.exact)["window_max"], 0.01)
        changed[1, 1] = np.nan
        self.assertEqual(decode.compared(changed, self.exact)["max"], np.inf)

    def test_leaves_what_is_far_below_the_maximum_out_of_the_window(self):
        changed = self.exact.copy()
        changed[0, 2] = -34.5
        numbers = decode.compared(changed, self.exact)
        self.assertEqual((numbers["max"], numbers["window_max"]), (5.5, 0))

    def test_refuses_other_shapes(self):
        with self.assertRaises(harness.BenchError):
            decode.compared(self.exact[:, 1:], self.exact)

    def test_refuses_programs_that_break_the_protocol(self):
        with tempfile.TemporaryDirectory() as folder, self.assertRaises(harness.BenchError):
            decode.run_ours("/bin/true", Path(folder) / "in.npz", Path(folder) / "out.npy", [])

    def test_refuses_another_method_than_asked(self):
        with tempfile.TemporaryDirectory() as folder:
            program, out = Path(folder) / "program", Path(folder) / "out.npy"
            timing = '{"fit_ms": 1, "warmup_ms": 1, "first_ms": 1, "likelihood_ms": 1}'
            program.write_text(f"#!/bin/sh\ntouch {out}\necho '{{\"method\": \"exact\", \"timing\": {timing}}}'\n")
            program.chmod(0o755)
            decode.run_ours(program, Path(folder) / "in.npz", out, [])
            with self.assertRaises(harness.BenchError):
                decode.run_ours(program, Path(folder) / "in.npz", out, ["--method", "gridded", "--tolerance", "1e-3"])


if __name__ == "__main__":
    unittest.main()

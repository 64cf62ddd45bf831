"""A process that runs non_local_detector on one session, as told on standard input. Started by decode.py.

Its first answer is the cold one: what a user waits for from the start of Python to the first likelihood in memory.
"""

import argparse
import json
import resource
import sys
import time
import warnings

STARTED = time.perf_counter()


class Reference:
    def __init__(self, path):
        import numpy as np

        self.np = np
        with np.load(path, allow_pickle=False) as data:
            self.data = dict(data)
        start = time.perf_counter()
        warnings.filterwarnings("ignore")
        import jax
        from non_local_detector import likelihoods
        from non_local_detector.environment import Environment

        self.jax, self.likelihoods = jax, likelihoods
        self.import_ms = (time.perf_counter() - start) * 1e3
        # The class itself, with the bins given: with no track graph the likelihoods use these two alone.
        self.environment = Environment(environment_name="track")
        self.environment.place_bin_centers_ = self.data["place_bin_centers"]
        self.environment.is_track_interior_ = self.data["is_track_interior"]

    def arrays(self, part):
        count = sum(name.startswith(f"{part}_spike_times_") for name in self.data)
        return [[self.data[f"{part}_{what}_{e}"] for e in range(count)] for what in ("spike_times", "marks")]

    def choose(self, algorithm, block_size, enc_tile_size):
        """Fits with these settings; the time of it in ms."""
        fit, self.predict_function = self.functions(algorithm)
        knobs = {"block_size": block_size}
        if enc_tile_size is not None:
            knobs["enc_tile_size"] = enc_tile_size
        start = time.perf_counter()
        times, marks = self.arrays("encoding")
        self.model = fit(
            self.data["position_time"], self.data["position"], times, marks, self.environment,
            position_std=float(self.data["position_std"]), waveform_std=float(self.data["waveform_std"]),
            disable_progress_bar=True, **knobs,
        )
        self.jax.block_until_ready((self.model["occupancy"], self.model["summed_ground_process_intensity"]))
        return (time.perf_counter() - start) * 1e3

    def functions(self, algorithm):
        if algorithm == "clusterless_kde_log":
            from non_local_detector.likelihoods import clusterless_kde_log as module

            return module.fit_clusterless_kde_encoding_model, module.predict_clusterless_kde_log_likelihood
        return self.likelihoods._CLUSTERLESS_ALGORITHMS[algorithm]

    def predict(self, local):
        """The likelihood as an f32 array in host memory, and its time in ms."""
        times, marks = self.arrays("decoding")
        start = time.perf_counter()
        out = self.np.asarray(self.predict_function(
            self.data["time"], self.data["decode_position_time"], self.data["decode_position"], times, marks,
            is_local=local, **self.model,
        ), dtype=self.np.float32)
        return out, (time.perf_counter() - start) * 1e3

    def answer(self, order):
        out = {"import_ms": self.import_ms}
        if "setting" in order:
            out["fit_ms"] = self.choose(*order["setting"])
        if order.get("samples"):
            results = [self.predict(order["local"]) for _ in range(order["samples"])]
            out["samples"] = [ms for _, ms in results]
            out["since_start_ms"] = (time.perf_counter() - STARTED) * 1e3
            if "save" in order:
                self.np.save(order["save"], results[-1][0])
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        out["peak_bytes"] = usage if sys.platform == "darwin" else usage * 1024
        out["versions"] = {"jax": self.jax.__version__, "numpy": self.np.__version__}
        return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("session")
    reference = Reference(parser.parse_args().session)
    for line in sys.stdin:
        try:
            out = reference.answer(json.loads(line))
        except Exception as error:  # the parent decides: a setting may run out of memory where others do not
            out = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(out), flush=True)


if __name__ == "__main__":
    main()

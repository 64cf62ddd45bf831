"""spikewave as the clusterless likelihood of non_local_detector: the same arrays in, the same array out.

`log_likelihood` is a plain function that needs numpy alone. `register()` adds it to non_local_detector's own table, so
that its models use it unchanged, whatever comes before and after the likelihood:

    import decode_with_spikewave
    decode_with_spikewave.register()
    ClusterlessDecoder(clusterless_algorithm="spikewave", clusterless_algorithm_params={"position_std": 6.0}).fit(...)

The program is looked for on PATH, or where SPIKEWAVE says. Each call fits the encoding model and hands the arrays over
in a temporary file. `PARITY` asks for the reference's floor under each spike's log intensity and for its bin edges;
leave it out for exact likelihoods. As everywhere, the ground-process intensity is per position sample.
"""

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

PARITY = ("--log-intensity-floor", "reference", "--bin-edges", "reference")


def log_likelihood(time, decoding, position_time, position, encoding, place_bin_centers, is_track_interior,
                   position_std=6.0, waveform_std=24.0, weights=None, decode_position=None, is_local=False,
                   arguments=PARITY):
    """(n_time, interior bins) float32 log likelihood of position, or (n_time, 1) at the animal's own if `is_local`.

    `encoding` and `decoding` are pairs of lists by electrode: spike times (s), waveform features (spikes x features).
    `weights`: one a position sample. `decode_position`: the pair (times, positions) while decoding, for `is_local`.
    """
    arrays = {
        "time": time, "position_time": position_time, "position": position, "position_std": position_std,
        "waveform_std": waveform_std, "place_bin_centers": place_bin_centers, "is_track_interior": is_track_interior,
    }
    if weights is not None:
        arrays["weights"] = weights
    if decode_position is not None:
        arrays["decode_position_time"], arrays["decode_position"] = decode_position
    for part, (spike_times, marks) in {"encoding": encoding, "decoding": decoding}.items():
        for electrode, (times, features) in enumerate(zip(spike_times, marks, strict=True)):
            arrays[f"{part}_spike_times_{electrode}"] = times
            arrays[f"{part}_marks_{electrode}"] = np.asarray(features, np.float32)
    with tempfile.TemporaryDirectory(prefix="spikewave-") as folder:
        session, result = Path(folder, "session.npz"), Path(folder, "log_likelihood.npy")
        np.savez(session, **{name: np.asarray(array) for name, array in arrays.items()})
        program = os.environ.get("SPIKEWAVE", "spikewave")
        what = "--local" if is_local else "--likelihood-only"
        done = subprocess.run([program, "decode", "--data", session, "--output", result, what, *arguments],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return np.load(result)


def linear(position, environment):
    """Positions as the likelihood uses them: along the track graph where there is one, as columns otherwise."""
    position = np.asarray(position)
    position = position if position.ndim > 1 else position[:, None]
    if environment.track_graph is None or position.shape[1] == 1:
        return position
    from track_linearization import get_linearized_position

    on_track = get_linearized_position(position, environment.track_graph, edge_order=environment.edge_order,
                                       edge_spacing=environment.edge_spacing)
    return on_track.linear_position.to_numpy()[:, None]


def fit(position_time, position, spike_times, spike_waveform_features, environment, sampling_frequency=500,
        weights=None, position_std=6.0, waveform_std=24.0, arguments=PARITY, **_):
    """What non_local_detector keeps as the encoding model: here the inputs, since the program fits them itself."""
    return {
        "encoding": (spike_times, spike_waveform_features), "encoding_position_time": position_time,
        "encoding_position": linear(position, environment), "environment": environment,
        "position_std": position_std, "waveform_std": waveform_std, "weights": weights, "arguments": arguments,
    }


def predict(time, position_time, position, spike_times, spike_waveform_features, encoding, encoding_position_time,
            encoding_position, environment, position_std, waveform_std, weights, arguments, is_local=False):
    """The function that non_local_detector calls in place of predict_clusterless_kde_log_likelihood."""
    return log_likelihood(
        time, (spike_times, spike_waveform_features), encoding_position_time, encoding_position, encoding,
        environment.place_bin_centers_, environment.is_track_interior_.ravel(), position_std, waveform_std,
        weights, (position_time, linear(position, environment)) if is_local else None, is_local, arguments,
    )


def register():
    from non_local_detector.likelihoods import _CLUSTERLESS_ALGORITHMS

    _CLUSTERLESS_ALGORITHMS["spikewave"] = (fit, predict)

"""A simulated clusterless session, and the f64 likelihood that both sides are held against. numpy only."""

import numpy as np

POSITION_RATE_HZ = 500.0
TIME_BIN_S = 0.002
BIN_CM = 2.0
# The defaults of non_local_detector's decoders.
POSITION_STD, WAVEFORM_STD = 6.0, 24.0


def laps(length, seconds, rng):
    """Position (cm) of an animal that runs to and fro on a track and rests at its ends, at POSITION_RATE_HZ."""
    at, where, here = [0.0], [3.0], 3.0
    while at[-1] < seconds:
        there = length - 3.0 if here < length / 2 else 3.0
        rest, speed = rng.uniform(0.5, 2.0), np.clip(rng.normal(45, 10), 20, 80)
        at += [at[-1] + rest, at[-1] + rest + abs(there - here) / speed]
        where += [here, there]
        here = there
    samples = np.arange(round(seconds * POSITION_RATE_HZ)) / POSITION_RATE_HZ
    # The head moves about the path: a few millimetres, slowly.
    sway = 0.7 * np.sin(2 * np.pi * 0.8 * samples + rng.uniform(0, 6.3))
    return samples, np.clip(np.interp(samples, at, where) + sway, 0.5, length - 0.5)


class Electrode:
    """Several units with a place field and a cluster of marks each, and small spikes of everything farther away."""

    def __init__(self, length, dims, rng):
        units = rng.integers(4, 8)
        self.centre = rng.uniform(0, length, units)
        self.width = rng.uniform(10, 15, units)
        self.peak = rng.uniform(8, 25, units)
        self.marks = rng.uniform(50, 250, (units, dims))
        self.noise = rng.uniform(15, 20, units)
        self.background = 1.5

    def spikes(self, time, position, count, rng):
        """`count` spikes: their times (ascending, inside the samples) and marks. The rates set the shares only."""
        field = np.exp(-0.5 * ((position[None, :] - self.centre[:, None]) / self.width[:, None]) ** 2)
        rates = np.vstack([0.05 + self.peak[:, None] * field, np.full(position.shape, self.background)])
        cumulative = np.cumsum(rates.sum(axis=0))
        step = time[1] - time[0]
        # Spikes come from the samples in proportion to the rate there, uniform in between: Poisson given the count.
        sample = np.searchsorted(cumulative, rng.uniform(0, cumulative[-1], count), side="right")
        sample = np.minimum(sample, time.size - 2)
        times = time[sample] + step * rng.uniform(0.001, 0.999, count)
        order = np.argsort(times, kind="stable")
        times, sample = times[order], sample[order]
        share = np.cumsum(rates[:, sample], axis=0)
        unit = (rng.uniform(0, share[-1]) > share).sum(axis=0)
        marks = np.empty((count, self.marks.shape[1]))
        far = unit == self.centre.size
        marks[far] = rng.uniform(25, 90, (far.sum(), marks.shape[1]))
        near = unit[~far]
        marks[~far] = self.marks[near] + self.noise[near, None] * rng.normal(size=(near.size, marks.shape[1]))
        return times, marks.astype(np.float32)


def session(electrodes, encoding, decoding, bins, times, dims, seed):
    """A session as a dictionary of arrays, named as `spikewave decode` and the test data name them.

    `encoding` and `decoding` are spikes per electrode, `bins` position bins of 2 cm on a linear track, all of them
    interior, `times` decoding bins of 2 ms that follow the encoding period. Encoding lasts as long as 20 spikes a
    second and electrode take, and at least two laps and one minute.
    """
    rng = np.random.default_rng(seed)
    length = BIN_CM * bins
    encoding_s = max(60.0, encoding / 20.0, 4 * length / 40.0)
    time, position = laps(length, encoding_s + times * TIME_BIN_S, rng)
    first = round(encoding_s * POSITION_RATE_HZ)
    out = {
        "position_time": time[:first],
        "position": position[:first, None],
        "place_bin_centers": (BIN_CM * (np.arange(bins) + 0.5))[:, None],
        "is_track_interior": np.ones(bins, bool),
        "time": time[first:],
        "decode_position_time": time[first:],
        "decode_position": position[first:, None],
        "position_std": np.float64(POSITION_STD),
        "waveform_std": np.float64(WAVEFORM_STD),
    }
    for e in range(electrodes):
        electrode = Electrode(length, dims, rng)
        parts = {"encoding": (slice(None, first), encoding), "decoding": (slice(first, None), decoding)}
        for part, (rows, count) in parts.items():
            spikes = electrode.spikes(time[rows], position[rows], count, rng)
            out[f"{part}_spike_times_{e}"], out[f"{part}_marks_{e}"] = spikes
    return out


def electrode_count(data):
    return sum(name.startswith("encoding_spike_times_") for name in data)


def shortened(data, share):
    """The session with only its first `share` of the decoding bins, and the spikes in them."""
    keep = round(data["time"].size * share)
    out = {**data, "time": data["time"][:keep]}
    for name in ("decode_position_time", "decode_position"):
        out[name] = data[name][:keep]
    for e in range(electrode_count(data)):
        inside = data[f"decoding_spike_times_{e}"] < out["time"][-1]
        for name in (f"decoding_spike_times_{e}", f"decoding_marks_{e}"):
            out[name] = data[name][inside]
    return out


def single_spikes(data, count, seed):
    """The session with `count` random decoding spikes, one in each time bin: each row then shows one spike alone."""
    rng = np.random.default_rng(seed)
    electrodes = electrode_count(data)
    sizes = [data[f"decoding_spike_times_{e}"].size for e in range(electrodes)]
    chosen = np.sort(rng.choice(sum(sizes), min(count, sum(sizes)), replace=False))
    start = data["time"][0]
    out = {**data, "time": start + TIME_BIN_S * np.arange(chosen.size + 1)}
    out["decode_position_time"] = out["time"]
    out["decode_position"] = np.full((out["time"].size, 1), data["position"][0, 0])
    first = np.concatenate([[0], np.cumsum(sizes)])
    for e in range(electrodes):
        row = np.flatnonzero((chosen >= first[e]) & (chosen < first[e + 1]))
        out[f"decoding_spike_times_{e}"] = start + TIME_BIN_S * (row + 0.5)
        out[f"decoding_marks_{e}"] = data[f"decoding_marks_{e}"][chosen[row] - first[e]]
    return out


def log_kernel(points, samples, std):
    """log of the product Gaussian density of every sample (rows) at every point (columns)."""
    std = np.broadcast_to(np.asarray(std, float), points.shape[1:])
    out = np.full((len(samples), len(points)), -np.log(std * np.sqrt(2 * np.pi)).sum())
    for k, width in enumerate(std):
        out -= 0.5 * ((points[None, :, k] - samples[:, None, k]) / width) ** 2
    return out


def log_sum(a, b):
    """log sum_i exp(a[i, m] + b[i, p]) for all m and p, by one f64 product of what is left after the columns' maxima.

    f64 reaches 700 nats below the maximum; deeper sums are computed term by term.
    """
    top_a, top_b = a.max(axis=0), b.max(axis=0)
    total = np.exp(a - top_a).T @ np.exp(b - top_b)
    with np.errstate(divide="ignore"):
        out = np.log(total) + top_a[:, None] + top_b
    for m, p in np.argwhere(total < 1e-290):
        terms = a[:, m] + b[:, p]
        out[m, p] = terms.max() + np.log(np.exp(terms - terms.max()).sum())
    return out


def density(points, samples, std):
    """Mean of the samples' kernels at every point, in slices that fit in memory."""
    total = np.zeros(len(points))
    for start in range(0, len(samples), 20_000):
        total += np.exp(log_kernel(points, samples[start:start + 20_000], std)).sum(axis=0)
    return total / len(samples)


def interpolated(data, prefix, times):
    """Position at `times`, linear between samples, a column a dimension."""
    at, position = data[f"{prefix}position_time"], data[f"{prefix}position"]
    return np.stack([np.interp(times, at, column) for column in position.T], axis=1)


def exact_log_likelihood(data, rows, local=False):
    """The likelihood of the time bins `rows` in f64, nothing clamped: (rows, interior bins), or (rows, 1) if local.

    log lambda_e(m, p) = log rate_e - log occ(p) + log mean_i N(m; m_i, waveform_std) N(p; x_i, position_std) is summed
    over the spikes of a bin, and the ground-process intensity of all electrodes is taken off; locally p is the
    animal's position at the spike, and at the bin's time for the intensity. rate_e is in spikes a position sample.
    """
    std, width = float(data["position_std"]), float(data["waveform_std"])
    time, rows = data["time"], np.asarray(rows)
    centres = data["place_bin_centers"][data["is_track_interior"].ravel()]
    points = interpolated(data, "decode_", time[rows]) if local else centres
    occupancy = density(points, data["position"], std)
    intensity = np.zeros(len(points))
    terms = np.zeros((len(rows), 1 if local else len(centres)))
    for e in range(electrode_count(data)):
        encoding, marks = data[f"encoding_spike_times_{e}"], data[f"encoding_marks_{e}"].astype(float)
        if not encoding.size:
            continue
        inside = (encoding >= data["position_time"][0]) & (encoding <= data["position_time"][-1])
        encoding, marks = encoding[inside], marks[inside]
        where = interpolated(data, "", encoding)
        rate = encoding.size / data["position_time"].size
        intensity += rate * density(points, where, std) / occupancy
        # searchsorted's right side: a bin holds the spikes from its time up to the next bin's.
        spikes = data[f"decoding_spike_times_{e}"]
        bin_of = np.searchsorted(time, spikes, side="right") - 1
        wanted = np.flatnonzero(np.isin(bin_of, rows))
        if not wanted.size:
            continue
        row_of = np.searchsorted(rows, bin_of[wanted])
        kernel = log_kernel(data[f"decoding_marks_{e}"][wanted].astype(float), marks, width)
        offset = np.log(rate) - np.log(encoding.size)
        if local:
            at = interpolated(data, "decode_", spikes[wanted])
            kernel += log_kernel(at, where, std)
            top = kernel.max(axis=0)
            log_joint = (top + np.log(np.exp(kernel - top).sum(axis=0)))[:, None]
            log_joint -= np.log(density(at, data["position"], std))[:, None]
        else:
            log_joint = log_sum(kernel, log_kernel(centres, where, std)) - np.log(occupancy)
        np.add.at(terms, row_of, offset + log_joint)
    return terms - (intensity[:, None] if local else intensity)

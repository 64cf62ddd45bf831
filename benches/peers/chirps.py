"""The input of the filter bank: whitened real strain and whitened inspiral-merger-ringdown chirps, all in f64.

The waveform is the frequency-domain phenomenological model of Ajith et al. 2008 (arXiv:0710.2335, "PhenomA"):
non-spinning, masses in the detector frame.
"""

import h5py
import numpy as np
import scipy.signal

from harness import BenchError

STRAIN = "gw/H-H1_LOSC_4_V2-1126259446-32.hdf5"
SOLAR_MASS_S = 4.925491025543576e-6  # G M_sun / c^3
LOWEST_HZ, HIGHEST_HZ = 20.0, 2000.0

# Rows (a, b, c) of (a eta^2 + b eta + c): the amplitude's corner frequencies times pi M, table I of the paper ...
CORNERS = {
    "merger": (2.9740e-1, 4.4810e-2, 9.5560e-2),
    "ringdown": (5.9411e-1, 8.9794e-2, 1.9111e-1),
    "width": (5.0801e-1, 7.7515e-2, 2.2369e-2),
    "cut": (8.4845e-1, 1.2848e-1, 2.7299e-1),
}
# ... and the phase coefficients psi_k times eta (pi M)^((5-k)/3), table II.
PHASE = {
    0: (1.7516e-1, 7.9483e-2, -7.2390e-2),
    2: (-5.1571e1, -1.7595e1, 1.3253e1),
    3: (6.5866e2, 1.7803e2, -1.5972e2),
    4: (-3.9031e3, -7.7493e2, 8.8195e2),
    6: (-2.4874e4, -1.4892e3, 4.4588e3),
    7: (2.5196e4, 3.3970e2, -3.9573e3),
}


def chirp(mass1, mass2, frequencies):
    """h(f), any amplitude, time measured from the model's own origin; zero outside [20 Hz, min(f_cut, 2000 Hz)]."""
    total = mass1 + mass2
    eta = mass1 * mass2 / total**2
    pi_m = np.pi * total * SOLAR_MASS_S
    corner = {name: (a * eta**2 + b * eta + c) / pi_m for name, (a, b, c) in CORNERS.items()}
    band = (frequencies >= LOWEST_HZ) & (frequencies <= min(corner["cut"], HIGHEST_HZ))
    f = frequencies[band]
    merger, ringdown, width = corner["merger"], corner["ringdown"], corner["width"]
    lorentzian = width / (2 * np.pi) / ((f - ringdown) ** 2 + width**2 / 4)
    join = np.pi * width / 2 * (ringdown / merger) ** (-2 / 3)
    amplitude = np.where(f < merger, (f / merger) ** (-7 / 6),
                         np.where(f < ringdown, (f / merger) ** (-2 / 3), join * lorentzian))
    phase = sum((a * eta**2 + b * eta + c) / eta * (pi_m * f) ** ((k - 5) / 3) for k, (a, b, c) in PHASE.items())
    out = np.zeros(frequencies.shape, np.complex128)
    out[band] = amplitude * np.exp(1j * phase)
    return out


def bank_masses(count):
    """`count` pairs over component masses 5 to 80: total mass spaced evenly in the logarithm, mass ratio in turn."""
    ratios = np.array([1.0, 0.85, 0.7, 0.55])
    for number in range(count):
        ratio = ratios[number % ratios.size]
        lowest, highest = 5 * (1 + 1 / ratio), 80 * (1 + ratio)
        total = lowest * (highest / lowest) ** (number / (count - 1))
        yield total / (1 + ratio), total * ratio / (1 + ratio)


def whitened_bank(data, count):
    """(spectrum, templates, rate), complex128: the SNR is z[n] = sum_k spectrum[k] conj(template[k]) e^(2 pi i k n / N).

    Bins 0..N/2 of N samples. The PSD is Welch's (4 s Blackman, half overlap, mean), the data window Tukey 1/8.
    """
    path = data / STRAIN
    if not path.exists():
        raise BenchError(f"{path} is missing: set SPIKEWAVE_DATA to the folder that holds gw/, or leave the bank out")
    with h5py.File(path, "r") as file:
        dataset = file["strain/Strain"]
        strain, rate = dataset[()], round(1 / dataset.attrs["Xspacing"])
    n = strain.size
    psd_f, psd = scipy.signal.welch(strain, rate, window=np.blackman(4 * rate), noverlap=2 * rate, detrend=False)
    f = np.fft.rfftfreq(n, 1 / rate)
    # 2 sqrt(df / S) on both factors makes their product the integrand of the matched filter, 4 d conj(h) / S df.
    whiten = 2 * np.sqrt((f[1] - f[0]) / np.interp(f, psd_f, psd))
    spectrum = np.fft.rfft(strain * scipy.signal.windows.tukey(n, 1 / 8)) / rate * whiten
    spectrum[(f < LOWEST_HZ) | (f > HIGHEST_HZ)] = 0
    templates = np.empty((count, f.size), np.complex128)
    for row, (mass1, mass2) in zip(templates, bank_masses(count)):
        row[:] = chirp(mass1, mass2, f) * whiten
        row /= np.linalg.norm(row)
    return spectrum, templates, rate

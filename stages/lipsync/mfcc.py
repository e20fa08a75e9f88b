"""Cepstral coefficients are computed as python_speech_features does, because Light-ASD was trained on those.

That package (``base.py`` and ``sigproc.py``) does this: pre-emphasis 0.97, rectangular windows, power
spectrum / n_fft, triangular filters at FFT bins rounded down, natural log, orthonormal DCT-II, sine lifter 22, and the
log of the window's energy in place of coefficient 0. Samples are on the 16-bit scale.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import scipy

SAMPLE_RATE = 16_000  #: Hz
WINDOW = 400  #: samples, 25 ms
HOP = 160  #: samples, 10 ms
N_FFT = 512
N_FILTERS = 26
N_COEFFICIENTS = 13
PRE_EMPHASIS = 0.97
LIFTER = 22
INT16 = 32768.0


def mfcc(samples: np.ndarray, n_windows: int) -> np.ndarray:
    """Return float32 [n_windows, 13]: one row per 10 ms, window k covering 10 k ms to 10 k + 25 ms.

    Args:
        samples: float [N], 16 kHz, -1..1. The sound counts as silent beyond its end.
        n_windows: how many rows; 4 per picture at 25 fps.
    """
    pcm = np.rint(samples * INT16).clip(-INT16, INT16 - 1)
    power = power_spectrum(pcm, n_windows)
    tiny = np.finfo(float).eps  # the package's value in place of zero, before the logarithm
    energy = power.sum(axis=1)
    filtered = power @ mel_filters(0.0, SAMPLE_RATE / 2, N_FILTERS).T
    cepstrum = scipy.fft.dct(np.log(np.where(filtered == 0, tiny, filtered)), type=2, axis=1, norm="ortho")[
        :, :N_COEFFICIENTS
    ]
    cepstrum *= 1 + (LIFTER / 2) * np.sin(np.pi * np.arange(N_COEFFICIENTS) / LIFTER)
    cepstrum[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return cepstrum.astype(np.float32)


def power_spectrum(samples: np.ndarray, n_windows: int) -> np.ndarray:
    """Return float64 [n_windows, 257]: |FFT|² / 512 of the pre-emphasised 25 ms windows."""
    emphasised = np.append(samples[:1], samples[1:] - PRE_EMPHASIS * samples[:-1])
    needed = (n_windows - 1) * HOP + WINDOW
    padded = np.pad(emphasised, (0, max(0, needed - len(emphasised))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:n_windows]
    return np.abs(np.fft.rfft(windows, N_FFT)) ** 2 / N_FFT


@cache
def mel_filters(low_hz: float, high_hz: float, n_filters: int) -> np.ndarray:
    """Return triangular filters, float64 [n_filters, 257], equally spaced in mel, with corners on whole FFT bins."""
    low, high = 2595 * np.log10(1 + np.asarray([low_hz, high_hz]) / 700)
    corners_hz = 700 * (10 ** (np.linspace(low, high, n_filters + 2) / 2595) - 1)
    corners = np.floor((N_FFT + 1) * corners_hz / SAMPLE_RATE).astype(int)
    bins = np.arange(N_FFT // 2 + 1)
    left, centre, right = (corners[i : i + n_filters, None] for i in range(3))
    rising = (bins - left) / np.maximum(centre - left, 1)
    falling = (right - bins) / np.maximum(right - centre, 1)
    return np.where((bins >= left) & (bins < centre), rising, np.where((bins >= centre) & (bins < right), falling, 0.0))

"""CAM++ (arXiv 2303.00332, 3D-Speaker's zh+en model, Apache-2.0) tells voices apart: 192 numbers for 3 s of voice.

Its inputs are Kaldi's log mel features: frames of 25 ms every 10 ms, mean removed, pre-emphasis 0.97, Povey window,
80 triangles from 20 Hz to 8 kHz on the power spectrum; then the mean over time is subtracted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.runtime.onnx import OnnxModel

SAMPLE_RATE = 16_000
WINDOW_S = 3.0
WINDOW = 48_000  # samples
FRAME, HOP, FFT = 400, 160, 512  # samples
N_MELS = 80
LOW_HZ = 20.0
PRE_EMPHASIS = 0.97
FULL_SCALE = 32_768.0  #: Kaldi's samples are 16-bit integers
FLOOR = 1.1920929e-07  #: Kaldi's floor: the smallest step of a float32 at 1


class SpeakerEmbedding:
    """Computes a vector for a voice; the dot product of two vectors tells how alike the voices are."""

    def __init__(self, path: Path) -> None:
        self._model = OnnxModel(path)
        self._mels = mel_triangles()
        self._window = np.hanning(FRAME) ** 0.85

    def embed(self, mono16k: np.ndarray) -> np.ndarray:
        """Return a unit vector, float32 [192]; the scalar product of two is high for the same speaker.

        Measured on 74 pieces of 3 s from 36 recordings: within a recording the product is at least 0.63, between two it
        is at most 0.55 (99.9 %).

        Args:
            mono16k: float32 [n], at most 3 s of one voice at 16 kHz; shorter input is repeated.
        """
        if mono16k.ndim != 1 or not 0 < len(mono16k) <= WINDOW:
            raise ValueError(f"expected 1 to {WINDOW} mono samples (3 s at 16 kHz), got shape {mono16k.shape}")
        features = self._features(np.resize(mono16k, WINDOW))
        embedding = self._model((features - features.mean(axis=0))[None])[0][0]
        return embedding / (np.linalg.norm(embedding) + 1e-9)

    def _features(self, samples: np.ndarray) -> np.ndarray:
        """Return log mel features, float32 [298, 80]."""
        frames = np.lib.stride_tricks.sliding_window_view(samples * FULL_SCALE, FRAME)[::HOP]
        frames = frames - frames.mean(axis=1, keepdims=True)
        before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        spectrum = np.fft.rfft((frames - PRE_EMPHASIS * before) * self._window, FFT)
        return np.log(np.maximum(np.square(np.abs(spectrum)) @ self._mels, FLOOR)).astype(np.float32)


def mel_triangles() -> np.ndarray:
    """Return Kaldi's filters, float64 [257, 80]: triangles that are straight on the mel scale."""
    at = _mel(np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT)[:, None]
    corners = np.linspace(_mel(LOW_HZ), _mel(SAMPLE_RATE / 2), N_MELS + 2)
    rising = (at - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - at) / (corners[2:] - corners[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling))


def _mel(hertz: float | np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)

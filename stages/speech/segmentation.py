"""pyannote's segmentation 3.0 (arXiv 2310.13025) says who speaks when within ten seconds, for up to three voices.

The network classifies frames of about 17 ms into the "powerset" of three voices with at most two at once: nobody,
one of three, or one of three pairs. Voice 0 of one window need not be voice 0 of the next.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.runtime.onnx import OnnxModel

SAMPLE_RATE = 16_000
WINDOW_S = 10.0
WINDOW = 160_000  # samples
FRAME_STEP_S = 270 / SAMPLE_RATE  # hop of the network's first layers, 16.875 ms
N_VOICES = 3
#: Voices that speak in each of the network's seven classes: float32 [7, 3].
POWERSET = np.asarray(
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]],
    np.float32,
)


class SpeakerSegmentation:
    """Finds out which voices speak at each moment of up to ten seconds of sound."""

    def __init__(self, path: Path) -> None:
        self._model = OnnxModel(path)

    def activity(self, mono16k: np.ndarray) -> np.ndarray:
        """Say which voices speak, by the most probable class: bool [T, 3], one row per ``FRAME_STEP_S``.

        Args:
            mono16k: float32 [n], at most 10 s at 16 kHz in −1…1; shorter input is padded with silence and the
                rows of the padding are cut off.
        """
        log_probabilities = self._log_probabilities(mono16k)
        return POWERSET[log_probabilities.argmax(axis=1)] > 0

    def probabilities(self, mono16k: np.ndarray) -> np.ndarray:
        """Return the probability that each voice speaks, float32 [T, 3]; input as for :meth:`activity`."""
        return np.exp(self._log_probabilities(mono16k)) @ POWERSET

    def _log_probabilities(self, mono16k: np.ndarray) -> np.ndarray:
        if mono16k.ndim != 1 or not 0 < len(mono16k) <= WINDOW:
            raise ValueError(f"expected 1 to {WINDOW} mono samples (10 s at 16 kHz), got shape {mono16k.shape}")
        padded = np.zeros(WINDOW, np.float32)
        padded[: len(mono16k)] = mono16k
        (log_probabilities,) = self._model(padded[None, None])
        n_frames = max(1, round(log_probabilities.shape[1] * len(mono16k) / WINDOW))
        return log_probabilities[0, :n_frames]


def windows(n_samples: int, hop_s: float = WINDOW_S / 2) -> list[tuple[int, int]]:
    """Return the start and end samples of the windows over a sound track; the last window ends with it."""
    hop = round(hop_s * SAMPLE_RATE)
    last = max(0, n_samples - WINDOW)
    starts = [*range(0, last, hop), last]
    return [(start, min(start + WINDOW, n_samples)) for start in starts]

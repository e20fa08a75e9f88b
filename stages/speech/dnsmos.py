"""DNSMOS P.835 predicts how listeners would rate speech, background and the whole, 1 (bad) to 5 (excellent).

Source: Reddy, Gopal, Cutler, "DNSMOS P.835", arXiv 2110.01763; network and polynomials as published in
github.com/microsoft/DNS-Challenge (``dnsmos_local.py``, not personalised) and packaged in speechmos. The sound, at 16
kHz, is rated in windows of 9.01 s every second; shorter sound is repeated until it fills one. The result is the mean of
the windows' scores.

The scores equal those of the reference code where that uses the whole sound, which is up to 16 s. In longer sound the
reference skips the windows that begin at 7 to 23 s: ``int((7 + 9.01) * 16000)`` is one sample short of a window. Here
all windows count.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.runtime.onnx import OnnxModel

RATE = 16_000
WINDOW_S = 9.01
WINDOW = int(WINDOW_S * RATE)
# Quadratic fits from the network's raw outputs to listeners' scores, highest power first.
SIGNAL_FIT = (-0.08397278, 1.22083953, 0.0052439)
BACKGROUND_FIT = (-0.13166888, 1.60915514, -0.39604546)
OVERALL_FIT = (-0.06766283, 1.11546468, 0.04602535)


@dataclass(frozen=True)
class Opinion:
    """Holds mean opinion scores, 1…5."""

    signal: float
    background: float
    overall: float


class Dnsmos:
    """Rates speech, background and the whole of a sound."""

    def __init__(self, path: Path) -> None:
        self._model = OnnxModel(path)

    def rate(self, mono: np.ndarray, max_windows: int) -> Opinion:
        """Rate ``mono`` (float32 [N], N > 0, 16 kHz, -1…1).

        ``max_windows`` bounds the cost: of longer sound, that many windows spread evenly over it are rated.
        """
        whole = np.resize(mono, _doubled(len(mono)))  # repeats the sound
        n = int(len(whole) // RATE - WINDOW_S) + 1
        starts = np.rint(np.linspace(0, n - 1, min(n, max_windows))).astype(int)
        raw = np.concatenate([self._model(whole[None, s * RATE : s * RATE + WINDOW])[0] for s in starts])
        fits = (SIGNAL_FIT, BACKGROUND_FIT, OVERALL_FIT)
        return Opinion(*(float(np.polyval(fit, raw[:, i]).mean()) for i, fit in enumerate(fits)))


def _doubled(n: int) -> int:
    """Double ``n`` until it fills a window, as the reference code does; it may then fill several."""
    while n < WINDOW:
        n *= 2
    return n

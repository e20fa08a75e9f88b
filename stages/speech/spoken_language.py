"""Which language is spoken: openai-whisper's own ``detect_language`` (MIT, arXiv 2212.04356 section 2.3).

Whisper hears 30 s and answers with one distribution over its language tokens. On silence or music the answer is
noise (github.com/openai/whisper discussion 676), so callers hand in voiced sound only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

WINDOW_S = 30.0
RATE = 16_000
ISO_CODES = {"jw": "jv"}  #: whisper writes Javanese with a code that ISO 639-1 withdrew in 2001


class SpokenLanguage:
    """``SpokenLanguage(path).probabilities(voiced)``; ``path`` is a checkpoint in whisper's format (tiny.pt)."""

    def __init__(self, path: Path) -> None:
        import torch  # with whisper: seconds and 0.5 GB that only this class needs
        import whisper

        torch.set_num_threads(1)  # one worker per core
        # A path is never one of whisper's model names, so nothing is downloaded; it reads with weights_only=True.
        self._model = whisper.load_model(str(path.resolve(strict=True)), device="cpu")
        self._whisper = whisper

    def probabilities(self, windows: list[np.ndarray]) -> dict[str, float]:
        """Language code -> probability, averaged over windows (float32 [N], 16 kHz, each up to 30 s); sums to 1."""
        total: dict[str, float] = {}
        for window in windows:
            mel = self._whisper.log_mel_spectrogram(
                self._whisper.pad_or_trim(window.astype(np.float32)), n_mels=self._model.dims.n_mels
            )
            _, found = self._whisper.detect_language(self._model, mel)
            for code, probability in found.items():
                total[code] = total.get(code, 0.0) + probability / len(windows)
        return {ISO_CODES.get(code, code): probability for code, probability in total.items()}

"""Whisper says which language is spoken and what is said, by its own ``detect_language`` and ``decode``.

Source: openai-whisper, MIT, arXiv 2212.04356 section 2.3.

Whisper hears 30 s and answers with one distribution over its language tokens. On silence or music the answer is noise
(github.com/openai/whisper discussion 676), so callers hand in voiced sound only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.speech.whisper_file import load_whisper

if TYPE_CHECKING:
    import torch

WINDOW_S = 30.0
RATE = 16_000
ISO_CODES = {"jw": "jv"}  #: whisper writes Javanese with a code that ISO 639-1 withdrew in 2001


class SpokenLanguage:
    """Detects the language of voiced sound and transcribes it; ``path`` is a file that whisper_file.py can load.

    Raises:
        UserError: the file holds something else.
    """

    def __init__(self, path: Path, device: torch.device | str = "cpu") -> None:
        import torch  # torch and whisper take seconds and 0.5 GB, and only this class needs them
        import whisper

        torch.set_num_threads(1)  # one worker per core
        self._model = load_whisper(path, device)
        self._whisper = whisper

    def probabilities(self, windows: list[np.ndarray]) -> dict[str, float]:
        """Return language code -> probability, the mean over windows (float32 [N], 16 kHz, up to 30 s); sums to 1."""
        total: dict[str, float] = {}
        for window in windows:
            _, found = self._whisper.detect_language(self._model, self._mel(window))
            for code, probability in found.items():
                total[code] = total.get(code, 0.0) + probability / len(windows)
        return {ISO_CODES.get(code, code): probability for code, probability in total.items()}

    def transcript(self, windows: list[np.ndarray], language: str) -> str:
        """Return what is said in the windows, in order, as ``language`` (a code of :meth:`probabilities`)."""
        code = next((old for old, new in ISO_CODES.items() if new == language), language)
        # Greedy and without timestamps: the windows are voiced sound, cut together, so times in them mean nothing.
        options = self._whisper.DecodingOptions(
            language=code, without_timestamps=True, fp16=self._model.device.type == "cuda"
        )
        said = [self._whisper.decode(self._model, self._mel(window), options).text.strip() for window in windows]
        return " ".join(text for text in said if text)

    def _mel(self, window: np.ndarray) -> Any:
        """Return Whisper's log mel spectrogram of 30 s."""
        heard = self._whisper.pad_or_trim(window.astype(np.float32))
        return self._whisper.log_mel_spectrogram(heard, n_mels=self._model.dims.n_mels).to(self._model.device)

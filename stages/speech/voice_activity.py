"""silero VAD (MIT, github.com/snakers4/silero-vad) finds where somebody speaks, 32 ms a step.

The network keeps a state, so it goes through the sound step by step. Its probabilities become spans with a
hysteresis: speech begins at 0.5 and ends after 100 ms below 0.35; spans under 250 ms are dropped, the rest grow by
30 ms at each end (the package's own defaults, ``get_speech_timestamps``, which the tests compare with). The package
itself is not imported, because it would load torch in workers that do not need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalogs.media import ClipMedia
from stages.runtime.onnx import open_session

RATE = 16_000
STEP = 512  #: samples per probability
CONTEXT = 64  #: samples of the previous step that the network sees again
STATE_SHAPE = (2, 1, 128)


@dataclass(frozen=True)
class VoiceActivity:
    """Says where somebody speaks in a clip.

    Attributes:
        spans_s: float64 [n, 2], begin and end in seconds since the clip's first frame, ascending, not overlapping.
        probabilities: float32 [T], probability of speech in each step of 32 ms.
        duration_s: length of the sound.
    """

    spans_s: np.ndarray
    probabilities: np.ndarray
    duration_s: float

    @property
    def speech_s(self) -> float:
        return float(np.diff(self.spans_s, axis=1).sum())

    @property
    def speech_ratio(self) -> float:
        """Return the share of the sound that is speech, 0…1."""
        return self.speech_s / self.duration_s if self.duration_s > 0 else 0.0

    def mask(self, n: int, rate: float, margin_s: float = 0.0) -> np.ndarray:
        """Say which of ``n`` samples (or steps) at ``rate`` per second lie in speech, or so near to it: bool [n]."""
        inside = np.zeros(n, bool)
        for begin, end in np.rint((self.spans_s + np.array([-margin_s, margin_s])) * rate).astype(np.int64):
            inside[max(0, begin) : max(0, end)] = True
        return inside


@dataclass(frozen=True)
class SpanRule:
    """Says how probabilities become spans."""

    enter: float = 0.5
    leave: float = 0.35
    min_speech_s: float = 0.25
    min_silence_s: float = 0.1
    pad_s: float = 0.03


class VoiceDetector:
    """Finds where somebody speaks in a sound."""

    def __init__(self, path: Path, rule: SpanRule | None = None) -> None:
        self._session = open_session(path)
        self.rule = rule or SpanRule()

    def detect(self, mono: np.ndarray) -> VoiceActivity:
        """Find speech in ``mono`` (float32 [N], 16 kHz)."""
        probabilities = self._probabilities(mono)
        return VoiceActivity(spans(probabilities, len(mono), self.rule), probabilities, len(mono) / RATE)

    def _probabilities(self, mono: np.ndarray) -> np.ndarray:
        n = -(-len(mono) // STEP)
        padded = np.pad(np.asarray(mono, np.float32), (CONTEXT, n * STEP - len(mono)))
        state, rate = np.zeros(STATE_SHAPE, np.float32), np.asarray(RATE, np.int64)
        probabilities = np.zeros(n, np.float32)
        for step in range(n):
            heard = padded[None, step * STEP : (step + 1) * STEP + CONTEXT]
            output, state = self._session.run(None, {"input": heard, "state": state, "sr": rate})
            probabilities[step] = output[0, 0]
        return probabilities


def spans(probabilities: np.ndarray, n_samples: int, rule: SpanRule) -> np.ndarray:
    """Return spans of speech in seconds, float64 [n, 2], from the probabilities [T] of ``n_samples`` at 16 kHz."""
    found: list[list[int]] = []  # begin and end in samples
    begin = quiet_since = None
    for step, probability in enumerate(probabilities):
        at = step * STEP
        if probability >= rule.enter:
            begin = at if begin is None else begin
            quiet_since = None
        elif probability < rule.leave and begin is not None:
            quiet_since = at if quiet_since is None else quiet_since
            if at - quiet_since >= rule.min_silence_s * RATE:
                found.append([begin, quiet_since])
                begin = quiet_since = None
    if begin is not None:
        found.append([begin, n_samples])
    long_enough = [span for span in found if span[1] - span[0] > rule.min_speech_s * RATE]
    return _padded(np.asarray(long_enough, np.int64).reshape(-1, 2), n_samples, round(rule.pad_s * RATE)) / RATE


def _padded(found: np.ndarray, n_samples: int, pad: int) -> np.ndarray:
    """Grow spans [n, 2] by ``pad`` samples at each end; neighbours that would overlap meet in the middle."""
    grown = np.clip(found + np.asarray([-pad, pad]), 0, n_samples)
    for left, right, gap in zip(grown[:-1], grown[1:], found[1:, 0] - found[:-1, 1], strict=True):
        if gap < 2 * pad:
            left[1] = right[0] = left[1] - pad + gap // 2
    return grown


def voice_activity(clip: ClipMedia, detector: VoiceDetector) -> VoiceActivity | None:
    """Find speech in the clip's sound, once however many stages ask; None without a sound track."""
    speech = clip.speech
    return None if speech is None else clip.once(("vad", detector.rule), lambda: detector.detect(speech))

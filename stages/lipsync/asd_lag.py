"""The method ``light_asd_lag`` joins lag curves of Light-ASD's encoders with the curve of ``mouth_mel``.

Light-ASD was trained to say whether a mouth talks, not whether it is in sync, and its joint score does not say that: it
also accepts a face that talks while somebody else is heard. But each of its encoders alone follows speech:

- *loudness*: the talking logit of the picture alone against the log energy of the sound; nothing is fitted.
- *encodings*: the canonical components that the two encodings share, fitted by scripts/fit_sync.py on a few
  permissively licensed talking clips, whose sha256 the weights file lists.

The curve is half the curve of mouth_mel and a quarter of each of these: their errors differ, so the mean peaks where
the sync is. It separates a face's own sound from swapped sound better than any of the three (see benchmarks/sync.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.lipsync.lag import high_pass, lag_curve, read_curve, trim
from stages.lipsync.method import Comparison
from stages.lipsync.mfcc import HOP, mfcc
from stages.lipsync.mouth_mel import WINDOWS_PER_FRAME, HeardLips, MouthMel, SeenLips
from stages.lipsync.tracks import Track, asd_crops

if TYPE_CHECKING:  # torch takes two seconds to import, and only this method needs it
    from stages.lipsync.light_asd import LightAsd

METHOD = "light_asd_lag"
MOUTH_SHARE, LOUDNESS_SHARE, ENCODING_SHARE = 0.5, 0.25, 0.25
WIDTH = 128  #: numbers in each of the two encodings
COMPONENTS, RIDGE = 10, 0.3  #: ridge as a share of a feature's variance; the best of three, leaving one clip out


@dataclass(frozen=True)
class SeenFace:
    """Holds a track's lips as in mouth_mel, encoding float32 [T, 128] and talking logit of the picture float32 [T]."""

    lips: SeenLips
    encoding: np.ndarray
    logit: np.ndarray

    def __len__(self) -> int:
        return len(self.logit)


@dataclass(frozen=True)
class HeardVoice:
    """Holds a sound's lips as in mouth_mel, encoding float32 [T, 128] and log energy float32 [T]."""

    lips: HeardLips
    encoding: np.ndarray
    loudness: np.ndarray

    def __len__(self) -> int:
        return len(self.loudness)


class LightAsdLag:
    """Compares a face track with a sound; fitting and benchmarks also call its steps, named as in MouthMel."""

    name = METHOD

    def __init__(self, mouth: MouthMel, network: LightAsd, projection: CanonicalPair):
        self.mouth, self.network, self.projection = mouth, network, projection

    def compare(self, rgb: np.ndarray, track: Track, samples: np.ndarray) -> Comparison | None:
        """Compare a track with a sound; see :class:`stages.lipsync.method.LipSyncMethod`."""
        seen = self.see(rgb, track)
        if seen is None:
            return None
        heard = self.hear(samples, len(track))
        reading = read_curve(self.curve(seen, heard), len(track))
        return Comparison(reading, self.network.talking_logit(seen.encoding, heard.encoding))

    def see(self, rgb: np.ndarray, track: Track) -> SeenFace | None:
        """Encode the pictures of a track (``rgb`` uint8 [T, H, W, 3] of the clip); None if the mesh does not find the
        face.
        """
        lips = self.mouth.see(rgb, track)
        if lips is None:
            return None
        encoding = self.network.encode_picture(asd_crops(rgb, track))
        return SeenFace(lips, encoding, self.network.picture_logit(encoding))

    def hear(self, samples: np.ndarray, n_frames: int) -> HeardVoice:
        """Encode a sound (float32 [N] at 16 kHz from the moment of the first picture)."""
        encoding = self.network.encode_sound(mfcc(samples, WINDOWS_PER_FRAME * n_frames))
        return HeardVoice(self.mouth.hear(samples, n_frames), encoding, loudness(samples, n_frames))

    def curve(self, seen: SeenFace, heard: HeardVoice) -> np.ndarray:
        """Return the lag curve [31] of equally many pictures and frames of sound."""
        by_mouth = self.mouth.curve(seen.lips, heard.lips)
        by_loudness = lag_curve(_prepared(seen.logit[:, None]), _prepared(heard.loudness[:, None]))
        by_encoding = lag_curve(
            self.projection.picture(_prepared(seen.encoding)), self.projection.sound(_prepared(heard.encoding))
        )
        return MOUTH_SHARE * by_mouth + LOUDNESS_SHARE * by_loudness + ENCODING_SHARE * by_encoding


@dataclass(frozen=True)
class CanonicalPair:
    """Holds linear maps of both encodings onto the components that they share.

    Attributes:
        picture_map, sound_map: float32 [128, k], applied to centred encodings.
        picture_mean, sound_mean: float32 [128].
        fitted_on: sha256 of the media files used; clips of these files must not be used as a test.
    """

    picture_map: np.ndarray
    sound_map: np.ndarray
    picture_mean: np.ndarray
    sound_mean: np.ndarray
    fitted_on: tuple[str, ...] = ()

    def picture(self, encoding: np.ndarray) -> np.ndarray:
        """Map encodings of pictures [T, 128] to components, float32 [T, k]."""
        return (encoding - self.picture_mean) @ self.picture_map

    def sound(self, encoding: np.ndarray) -> np.ndarray:
        """Map encodings of sound [T, 128] to components, float32 [T, k]."""
        return (encoding - self.sound_mean) @ self.sound_map

    @classmethod
    def unfitted(cls) -> CanonicalPair:
        """Make maps that take the first components unchanged: a placeholder while the real maps are being fitted."""
        eye, zero = np.eye(WIDTH, COMPONENTS, dtype=np.float32), np.zeros(WIDTH, np.float32)
        return cls(eye, eye, zero, zero)

    @classmethod
    def load(cls, path: Path) -> CanonicalPair:
        """Read the npz file that :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("picture_map", "sound_map", "picture_mean", "sound_mean")}
            return cls(**arrays, fitted_on=tuple(str(sha) for sha in stored["fitted_on"]))

    def save(self, path: Path) -> None:
        """Write an npz file without pickled objects."""
        np.savez(
            path,
            picture_map=self.picture_map,
            sound_map=self.sound_map,
            picture_mean=self.picture_mean,
            sound_mean=self.sound_mean,
            fitted_on=np.asarray(self.fitted_on),
        )

    @classmethod
    def fit(cls, pairs: Sequence[tuple[SeenFace, HeardVoice]], fitted_on: Sequence[str]) -> CanonicalPair:
        """Fit the maps by ridge canonical correlation of talking faces with their own sound."""
        picture = np.concatenate([_prepared(seen.encoding) for seen, _ in pairs]).astype(float)
        sound = np.concatenate([_prepared(heard.encoding) for _, heard in pairs]).astype(float)
        picture_mean, sound_mean = picture.mean(axis=0), sound.mean(axis=0)
        picture, sound = picture - picture_mean, sound - sound_mean
        whiten_picture, whiten_sound = _ridge_whitening(picture), _ridge_whitening(sound)
        shared = whiten_picture.T @ (picture.T @ sound / len(picture)) @ whiten_sound
        left, _, right = np.linalg.svd(shared)
        return cls(
            picture_map=(whiten_picture @ left[:, :COMPONENTS]).astype(np.float32),
            sound_map=(whiten_sound @ right[:COMPONENTS].T).astype(np.float32),
            picture_mean=picture_mean.astype(np.float32),
            sound_mean=sound_mean.astype(np.float32),
            fitted_on=tuple(fitted_on),
        )


def loudness(samples: np.ndarray, n_frames: int) -> np.ndarray:
    """Return the log energy of each frame's 40 ms, float32 [n_frames]."""
    hop = HOP * WINDOWS_PER_FRAME
    padded = np.pad(samples[: n_frames * hop].astype(float), (0, max(0, n_frames * hop - len(samples))))
    return np.log((padded.reshape(n_frames, hop) ** 2).mean(axis=1) + 1e-8).astype(np.float32)


def _prepared(series: np.ndarray) -> np.ndarray:
    return high_pass(trim(series))


def _ridge_whitening(centred: np.ndarray) -> np.ndarray:
    """Return the [128, 128] map to uncorrelated unit variance; each feature is first scaled to its deviation."""
    scale = centred.std(axis=0) + 1e-6
    scaled = centred / scale
    values, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled) + RIDGE * np.eye(scaled.shape[1]))
    return (vectors / np.sqrt(values)) @ vectors.T / scale[:, None]

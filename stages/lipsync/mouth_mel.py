"""The method ``mouth_mel`` compares the lips that are seen with the lips that the sound should have.

Seen are how far the mouth opens (distance of the inner lips plus distance of chin and nose: the mesh finds the jaw more
steadily than the lips) and how wide it is. They are distances between landmarks in three dimensions, which do not
change as the head turns, divided by the size of the parts of the face that do not move in speech.

A small network computes the same two quantities from 0.28 s of log-mel spectrum. scripts/fit_sync.py trained it on
synthesised speech in eight languages whose phonemes, and so lip shapes, are known to the millisecond; no recording of a
person was used.

The lag curve is the mean of the two correlations. Somebody else's sound makes no peak. The method is approximate: it
sees two numbers a picture, where SyncNet sees the mouth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lipsync.lag import high_pass, lag_curve, read_curve, trim
from stages.lipsync.method import Comparison
from stages.lipsync.mfcc import INT16, WINDOW, mel_filters, power_spectrum
from stages.lipsync.tracks import Track
from stages.vision.face_mesh import INNER_LIPS, MIN_PRESENCE, MOUTH_CORNERS, FaceMesh

METHOD = "mouth_mel"
#: Landmarks that speech does not move: eye corners, nose, brow line, forehead, temples.
STILL = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 10, 151, 9, 8, 107, 336, 46, 276, 127, 356, 234, 454, 1, 19, 94)
NOSE_CHIN = (1, 152)
N_FILTERS, LOW_HZ, HIGH_HZ = 26, 80.0, 7600.0
WINDOWS_PER_FRAME = 4  #: 10 ms steps at 25 fps
CONTEXT = 3  #: frames before and after that the network hears too
N_FEATURES = WINDOWS_PER_FRAME * N_FILTERS * (2 * CONTEXT + 1)
MAX_UNSEEN = 0.4  #: share of a track's pictures in which the mesh may lose the face


@dataclass(frozen=True)
class SeenLips:
    """Holds opening and width of the mouth of one track, float32 [T, 2], in sizes of the still face."""

    lips: np.ndarray

    def __len__(self) -> int:
        return len(self.lips)


@dataclass(frozen=True)
class HeardLips:
    """Holds opening and width that the sound should have, float32 [T, 2], in standard deviations."""

    lips: np.ndarray

    def __len__(self) -> int:
        return len(self.lips)


class MouthMel:
    """Compares a face track with a sound; fitting and benchmarks also call its three steps."""

    name = METHOD

    def __init__(self, mesh: FaceMesh, weights: Path):
        self._mesh = mesh
        self._network = LipsFromSound(weights)

    def compare(self, rgb: np.ndarray, track: Track, samples: np.ndarray) -> Comparison | None:
        """Compare a track with a sound; see :class:`stages.lipsync.method.LipSyncMethod`."""
        seen = self.see(rgb, track)
        if seen is None:
            return None
        return Comparison(read_curve(self.curve(seen, self.hear(samples, len(track))), len(track)))

    def see(self, rgb: np.ndarray, track: Track) -> SeenLips | None:
        """Measure the lips of a track (``rgb`` uint8 [T, H, W, 3] of the clip); None if the mesh does not find the
        face.
        """
        landmarks = track_landmarks(self._mesh, rgb, track)
        return None if landmarks is None else SeenLips(lip_shapes(landmarks))

    def hear(self, samples: np.ndarray, n_frames: int) -> HeardLips:
        """Predict the lips of a sound (float32 [N] at 16 kHz from the moment of the first picture)."""
        return HeardLips(self._network(sound_features(samples, n_frames)))

    def curve(self, seen: SeenLips, heard: HeardLips) -> np.ndarray:
        """Return the lag curve [31] of equally many pictures and frames of sound."""
        return lag_curve(trim(high_pass(seen.lips)), trim(heard.lips))


class LipsFromSound:
    """The network maps features [T, 728] to opening and width [T, 2]; it has one hidden layer, in numpy."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as stored:
            self._scale, self._hidden, self._hidden_bias, self._out, self._out_bias = (
                stored[name].astype(np.float32) for name in ("scale", "hidden", "hidden_bias", "out", "out_bias")
            )

    def __call__(self, features: np.ndarray) -> np.ndarray:
        hidden = np.maximum((features / self._scale) @ self._hidden + self._hidden_bias, 0)
        return hidden @ self._out + self._out_bias


def track_landmarks(mesh: FaceMesh, rgb: np.ndarray, track: Track) -> np.ndarray | None:
    """Return landmarks float32 [n, 468, 3] of each picture of a track; where the face is lost, the last known ones.

    Returns:
        None when the mesh finds no face in more than ``MAX_UNSEEN`` of the pictures.
    """
    found: list[np.ndarray] = []
    unseen = 0
    known: np.ndarray | None = None
    for i in range(len(track)):
        picture = rgb[track.first + i]
        points, presence = (
            mesh.landmarks(picture, track.boxes[i], track.keypoints[i]) if known is None else mesh.track(picture, known)
        )
        known = points if presence >= MIN_PRESENCE else None
        unseen += known is None
        found.append(points if known is not None or not found else found[-1])
    return None if unseen > MAX_UNSEEN * len(track) else np.stack(found)


def lip_shapes(landmarks: np.ndarray) -> np.ndarray:
    """Return opening and width of the mouth, float32 [T, 2], from landmarks [T, 468, 3]."""
    still = landmarks[:, list(STILL)].astype(float)
    still -= still.mean(axis=1, keepdims=True)
    size = np.sqrt((still**2).sum(axis=(1, 2)) / len(STILL))
    parted, jaw, width = (
        np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=1) for a, b in (INNER_LIPS, NOSE_CHIN, MOUTH_CORNERS)
    )
    return (np.stack([parted + jaw, width], axis=1) / size[:, None]).astype(np.float32)


def sound_features(samples: np.ndarray, n_frames: int) -> np.ndarray:
    """Return the network's input, float32 [n_frames, 728]: log-mel rows of each frame and its neighbours, high-passed.

    Row 4 k of the spectrum is centred on the moment of picture k.
    """
    centred = np.pad(samples * INT16, (WINDOW // 2, 0))
    n_windows = WINDOWS_PER_FRAME * n_frames
    log_mel = np.log(power_spectrum(centred, n_windows) @ mel_filters(LOW_HZ, HIGH_HZ, N_FILTERS).T + 1.0)
    rows = high_pass(log_mel.reshape(n_frames, -1))
    at = np.arange(n_frames)
    shifted = [rows[np.clip(at + step, 0, n_frames - 1)] for step in range(-CONTEXT, CONTEXT + 1)]
    return np.concatenate(shifted, axis=1).astype(np.float32)

"""All methods of comparing a face with a sound have this interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stages.lipsync.lag import LagReading
from stages.lipsync.tracks import Track


@dataclass(frozen=True)
class Comparison:
    """Holds the result of comparing one face track with one sound.

    Attributes:
        reading: what the lag curve says, -15..+15 frames; + = sound late.
        talking_logit: float32 [T], > 0 where the face talks; None where the method cannot say.
    """

    reading: LagReading
    talking_logit: np.ndarray | None = None


class LipSyncMethod(Protocol):
    """A method compares a face with a sound: mouth_mel, light_asd_lag or syncnet."""

    name: str

    def compare(self, rgb: np.ndarray, track: Track, samples: np.ndarray) -> Comparison | None:
        """Compare a track with a sound; None if the mouth cannot be made out.

        Args:
            rgb: uint8 [T, H, W, 3], the pictures of the clip at 25 fps.
            track: one face in them, n pictures.
            samples: float32 [640 n] at 16 kHz: the sound of the track's time.
        """
        ...

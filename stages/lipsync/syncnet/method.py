"""The method ``syncnet`` compares a face track with a sound; where Light-ASD is installed, it says who talks."""

from __future__ import annotations

import numpy as np

from stages.lipsync.light_asd import LightAsd
from stages.lipsync.method import Comparison
from stages.lipsync.mfcc import mfcc
from stages.lipsync.syncnet.distances import distance_curve, read_distances
from stages.lipsync.syncnet.frontend import CEPSTRA_PER_FRAME, picture_crops, sound_windows
from stages.lipsync.syncnet.network import SyncNet
from stages.lipsync.tracks import Track, asd_crops

METHOD = "syncnet"


class SyncNetMethod:
    """Compares a face track with a sound by SyncNet's distances."""

    name = METHOD

    def __init__(self, network: SyncNet, light_asd: LightAsd | None = None):
        self._network, self._light_asd = network, light_asd

    def compare(self, rgb: np.ndarray, track: Track, samples: np.ndarray) -> Comparison:
        """Compare a track with a sound; see :class:`stages.lipsync.method.LipSyncMethod`."""
        seen = self._network.encode_picture(picture_crops(rgb, track))
        heard = self._network.encode_sound(sound_windows(samples, len(track)))
        return Comparison(read_distances(distance_curve(seen, heard)), self._talking_logit(rgb, track, samples))

    def _talking_logit(self, rgb: np.ndarray, track: Track, samples: np.ndarray) -> np.ndarray | None:
        if self._light_asd is None:
            return None
        seen = self._light_asd.encode_picture(asd_crops(rgb, track))
        heard = self._light_asd.encode_sound(mfcc(samples, CEPSTRA_PER_FRAME * len(track)))
        return self._light_asd.talking_logit(seen, heard)

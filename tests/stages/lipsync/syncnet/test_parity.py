"""The numbers of the PyPI package syncnet-python 0.2.3 for the same weights, crops and sound.

benchmarks/syncnet_parity.py computes them, in an environment that has that package, and compares real clips too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.lipsync.mfcc import INT16
from stages.lipsync.syncnet.distances import distance_curve, read_distances
from stages.lipsync.syncnet.frontend import sound_windows
from stages.lipsync.syncnet.network import Network, SyncNet
from tests.support import made_up_syncnet as made_up


@pytest.mark.parametrize(
    ("make", "late", "av_offset", "confidence", "distance"),
    [
        (made_up.random_network, 0, 15, 0.178555, 15.392015),
        (made_up.brightness_and_loudness, 4, -4, 0.381887, 0.080799),
        (made_up.brightness_and_loudness, -7, 7, 0.219546, 0.159003),
    ],
)
def test_upstreams_numbers_come_out(
    tmp_path: Path,
    make: Callable[[np.ndarray, np.ndarray], Network],
    late: int,
    av_offset: int,
    confidence: float,
    distance: float,
) -> None:
    crops, samples = made_up.crops(60), made_up.sound(60, late)
    path = made_up.save_as_published(make(crops, samples), tmp_path / "syncnet_v2.model")
    network = SyncNet(path, torch.device("cpu"))
    seen, heard = network.encode_picture(crops[:59]), network.encode_sound(sound_windows(samples / INT16, 60))
    reading = read_distances(distance_curve(seen, heard))
    assert reading.offset_frames == -av_offset  # upstream's is the delay that the sound needs
    assert reading.confidence == pytest.approx(confidence, abs=1e-3)
    assert reading.distance == pytest.approx(distance, abs=1e-3)

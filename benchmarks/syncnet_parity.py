"""This benchmark checks that stages/lipsync/syncnet gives the same numbers as the PyPI package syncnet-python.

That package has the code of joonson/syncnet_python.

    python -m venv /tmp/upstream
    /tmp/upstream/bin/pip install syncnet-python
    python -m benchmarks.syncnet_parity --upstream /tmp/upstream/bin/python [--media DIR] [--weights syncnet_v2.model]

Run it from the repository's root. Both get the same weights (random ones in the published format unless one is named),
the same crops (lossless) and the same 16-bit sound: generated ones, whose numbers
tests/stages/lipsync/syncnet/test_parity.py holds as constants, and with --media the first face of real clips. Exits 1
unless offsets are equal and confidences and distances are within 0.001.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.io import wavfile

from catalogs.media import ClipMedia
from stages.lipsync.lag import MIN_FRAMES, LagReading
from stages.lipsync.mfcc import INT16, SAMPLE_RATE
from stages.lipsync.syncnet.distances import distance_curve, read_distances
from stages.lipsync.syncnet.frontend import sound_windows
from stages.lipsync.syncnet.network import CROP, Network, SyncNet
from stages.lipsync.tracks import face_crops, find_tracks
from stages.sync import track_sound
from stages.vision.faces import FaceDetector
from tests.support import made_up_syncnet as made_up
from tests.support.written_media import whole_span
from weights import registry

CLIPS = ("derived/sync_demo1_00.mp4", "derived/sync_demo1_p10.mp4", "derived/sync_face3_m05.mp4")
TOLERANCE = 1e-3
#: Runs in the other environment. The package's own __init__ would import its face detector and scene detection.
UPSTREAM = """
import importlib.util, json, sys, types
sys.path.insert(0, importlib.util.find_spec("syncnet_python").submodule_search_locations[0])
from SyncNetInstance import SyncNetInstance
from SyncNetModel import S
weights, folder = sys.argv[1:]
net = SyncNetInstance(S(), device="cpu")
net.loadParameters(weights)
given = types.SimpleNamespace(tmp_dir=folder, batch_size=20, vshift=15)
print(json.dumps(net.evaluate(given)))
"""


@dataclass(frozen=True)
class Pair:
    """Holds one face, its sound (crops uint8 [n, 224, 224, 3] BGR, samples int16 [640 n]), and the weights to use."""

    name: str
    network: Callable[[np.ndarray, np.ndarray], Network]
    crops: np.ndarray
    samples: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", type=Path, required=True, help="python that has syncnet-python")
    parser.add_argument("--media", type=Path, help="folder with the labelled media")
    parser.add_argument("--weights", type=Path, help="syncnet_v2.model; random weights without it")
    given = parser.parse_args()
    print(f"{'ours and theirs':28s} offset   confidence              min distance")
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for pair in pairs(given.media):
            weights = given.weights or made_up.save_as_published(
                pair.network(pair.crops, pair.samples), Path(folder, "syncnet_v2.model")
            )
            mine, theirs = ours(SyncNet(weights, torch.device("cpu")), pair), upstreams(given.upstream, weights, pair)
            print(
                f"{pair.name:28s} {mine.offset_frames:+3d} {theirs.offset_frames:+3d} {mine.confidence:12.6f} "
                f"{theirs.confidence:10.6f} {mine.distance:12.6f} {theirs.distance:10.6f}"
            )
            worst = max(worst, abs(mine.confidence - theirs.confidence), abs(mine.distance - theirs.distance))
            worst += abs(mine.offset_frames - theirs.offset_frames)
    print(f"largest difference {worst:.2e}")
    raise SystemExit(int(worst > TOLERANCE))


def pairs(media: Path | None) -> Iterator[Pair]:
    """Yield generated pairs, then the longest face of each real clip."""
    crops = made_up.crops(60)
    yield Pair("random", made_up.random_network, crops, made_up.sound(60))
    yield Pair("brightness, 4 late", made_up.brightness_and_loudness, crops, made_up.sound(60, 4))
    yield Pair("brightness, 7 early", made_up.brightness_and_loudness, crops, made_up.sound(60, -7))
    if media is None:
        return
    detector = FaceDetector(registry.require("face_detector"))
    for name in CLIPS:
        clip = ClipMedia(whole_span(media / name))
        rgb = clip.dense().rgb
        track = find_tracks(rgb, detector, MIN_FRAMES)[0]
        pcm = np.rint(track_sound(clip, track) * INT16).clip(-INT16, INT16 - 1).astype(np.int16)
        yield Pair(name, made_up.random_network, face_crops(rgb, track, CROP)[..., ::-1], pcm)


def ours(network: SyncNet, pair: Pair) -> LagReading:
    n = len(pair.crops)
    windows = sound_windows(pair.samples / INT16, n)
    return read_distances(distance_curve(network.encode_picture(pair.crops[: n - 1]), network.encode_sound(windows)))


def upstreams(python: Path, weights: Path, pair: Pair) -> LagReading:
    """Run the package; its "AV offset" is the delay that the sound needs, which is our offset with the other sign."""
    with tempfile.TemporaryDirectory() as folder:
        for i, crop in enumerate(pair.crops):  # it looks for *.jpg; OpenCV reads what the bytes are
            Path(folder, f"{i:06d}.jpg").write_bytes(cv2.imencode(".png", crop)[1].tobytes())
        wavfile.write(Path(folder, "audio.wav"), SAMPLE_RATE, pair.samples)
        command = [str(python), "-c", UPSTREAM, str(weights), folder]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    offset, confidence, distance = json.loads(printed.splitlines()[-1])
    return LagReading(-offset, confidence, float("nan"), distance)


if __name__ == "__main__":
    main()

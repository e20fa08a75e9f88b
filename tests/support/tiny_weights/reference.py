"""A folder of own weights for the whole reference profile holds tiny networks, and the file that declares them.

The picture networks give the same answer to every picture, so the results of a stage are known: one face of ``FACE_PX``
pixels, one person whose keypoints are sure to ``KEYPOINT_SCORE``. Demucs takes ``VOICES`` of every sound for voices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stages.head_body import DWPOSE, YOLOX
from tests.support import made_up_syncnet as made_up
from tests.support import tiny_onnx
from tests.support.tiny_weights.tiny_demucs import tiny_package
from tests.support.tiny_weights.tiny_whisper import LARGE, save_tiny_whisper
from tests.support.tiny_weights.tiny_yolo_world import save_tiny_world

FACE_PX, FACE_SCORE, KEYPOINT_SCORE = 128, 0.75, 0.625
VOICES = 0.75  #: share of every sound
#: Eyes, nose tip, mouth corners of an upright face, pixels of a picture 640 wide.
FACE_POINTS = np.asarray([[255, 271], [283, 271], [269, 287], [257, 304], [281, 304]])
PERSON = (240.0, 80.0, 400.0, 460.0)
CHIN, NASION, WRIST, FACE = 31, 50, 9, slice(23, 91)  # of COCO-WholeBody's 133


def save_reference_weights(folder: Path) -> Mapping[str, Path]:
    """Write every file that the reference profile must have; return registry name -> path."""
    saved = {
        "yolo_world_x": save_tiny_world(folder / "world.pt"),
        "insightface_detector": tiny_onnx.scrfd(folder / "faces.onnx", [(8, 9, FACE_POINTS, FACE_SCORE)]),
        "insightface_landmarks": tiny_onnx.landmarks_3d(folder / "landmarks.onnx", _upright()),
        "insightface_identity": tiny_onnx.arcface(folder / "identity.onnx"),
        YOLOX: tiny_onnx.yolox(folder / "persons.onnx", [(PERSON, 0, 0.9)]),
        DWPOSE: tiny_onnx.dwpose(folder / "keypoints.onnx", *_keypoints()),
        "whisper_large_v3_turbo": save_tiny_whisper(folder / "whisper.pt", LARGE),
        "htdemucs": _demucs(folder / "demucs.th"),
        "syncnet_v2": _syncnet(folder / "syncnet.model"),
    }
    declare(folder, saved)
    return saved


def declare(folder: Path, files: Mapping[str, Path]) -> None:
    """Write ``own_weights.json`` beside the files, with their hashes."""
    entries = {
        name: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "licence": "CC0-1.0"}
        for name, path in files.items()
    }
    (folder / "own_weights.json").write_text(json.dumps(entries, indent=2))


def _upright() -> np.ndarray:
    """Return InsightFace's mean face of 68 points, facing the camera, within -1..1."""
    from insightface.data import get_object

    shape = np.asarray(get_object("meanshape_68.pkl"), np.float64)
    return shape / (2 * np.abs(shape).max())


def _keypoints() -> tuple[np.ndarray, np.ndarray]:
    """Return a face and a hand, in pixels of the network's 288 x 384: points [133, 2], scores [133]."""
    points, scores = np.full((133, 2), 5.0), np.zeros(133, np.float32)
    points[FACE], scores[FACE] = (144, 100), KEYPOINT_SCORE
    points[CHIN], points[NASION] = (144, 120), (144, 90)
    points[WRIST], scores[WRIST] = (100, 200), KEYPOINT_SCORE
    return points, scores


def _demucs(path: Path) -> Path:
    import torch

    torch.save(tiny_package(voices=VOICES), path)
    return path


def _syncnet(path: Path) -> Path:
    return made_up.save_as_published(made_up.random_network(made_up.crops(40), made_up.sound(40)), path)

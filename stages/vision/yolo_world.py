"""YOLO-World v2 X (arXiv 2401.17270) finds persons, through ultralytics and with the single prompt "person".

No text encoder is loaded. A prompt is a CLIP vector, and the published checkpoint has the vectors of the 80 COCO names,
the first of which is "person" (ultralytics issue 15459; ``YOLOWorld`` gives a checkpoint without names those of COCO).
Keeping that row gives what ``set_classes(["person"])`` would compute with CLIP's 354 MB. A checkpoint whose rows are
not unit vectors has the placeholder of an untrained network and is refused.

The ``.pt`` is a pickle of modules. Its sha256 is checked by the registry before it is opened, and ultralytics then
reads it with ``torch.load(weights_only=True)``: only torch's and ultralytics' own network classes can be constructed,
no code from the file runs. That is ultralytics' own ULTRALYTICS_SAFE_LOAD, which is off by default.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.errors import UserError
from catalogs.media import ClipMedia
from stages.person_count import YOLO_WORLD, PersonCountMeasurement, YoloWorldConfig, summarise
from stages.runtime.device import torch_device
from stages.vision.persons import Persons
from weights import registry

if TYPE_CHECKING:
    import torch
    from ultralytics import YOLOWorld

PROMPT = "person"
COCO_NAMES, PERSON = 80, 0


class YoloWorldDetector:
    """Finds the persons of pictures."""

    def __init__(self, path: Path, config: YoloWorldConfig) -> None:
        device = _device(config)
        self._model = load(path)
        self._batch_size = config.batch_size
        self._settings: dict[str, Any] = {
            "conf": config.min_score,
            "iou": config.max_iou,
            "imgsz": config.picture_size,
            "half": config.half,
            "device": str(device),
            "verbose": False,
            "save": False,
        }

    def detect(self, pictures: Sequence[np.ndarray]) -> tuple[Persons, ...]:
        """Find the persons in each RGB picture (uint8 [H, W, 3]), best score first."""
        found: list[Persons] = []
        for start in range(0, len(pictures), self._batch_size):
            bgr = [np.ascontiguousarray(rgb[..., ::-1]) for rgb in pictures[start : start + self._batch_size]]
            found += [_persons(result) for result in self._model.predict(bgr, **self._settings)]
        return tuple(found)


class YoloWorldScorer:
    """Counts the persons that :class:`YoloWorldDetector` finds."""

    def __init__(self, config: YoloWorldConfig) -> None:
        self._config = config
        self._detector = YoloWorldDetector(registry.require(YOLO_WORLD), config)

    def score(self, clip: ClipMedia) -> PersonCountMeasurement:
        """Measure the clip's sampled pictures; raise ClipError if they do not decode."""
        rgb = clip.sample().rgb
        return summarise(self._detector.detect(list(rgb)), rgb.shape[1], self._config)


def check(config: YoloWorldConfig) -> None:
    """Check before work starts; raise UserError if the device is missing or the file is no YOLO-World."""
    _device(config)
    load(registry.require(YOLO_WORLD))  # the file is a pickle of the whole network: this takes a second and 0.3 GB


def _device(config: YoloWorldConfig) -> torch.device:
    device = torch_device(config.device)
    if config.half and device.type != "cuda":
        raise UserError("config 'half' needs a GPU: half precision is slower than single on a CPU")
    return device


def load(path: Path) -> YOLOWorld:
    """Load the network onto the CPU, with "person" as its only class.

    Raises:
        UserError: the file is no YOLO-World checkpoint, or holds more than tensors and known network classes.
    """
    _tame_ultralytics()
    from ultralytics import YOLOWorld
    from ultralytics.nn.tasks import WorldModel

    _require_safe_load()
    try:
        model = YOLOWorld(str(path))
    except Exception as error:  # a TypeError for damage and foreign classes, but other content raises other errors
        raise UserError(f"weights {path.name} are refused: {' '.join(str(error).split())}") from error
    world = model.model
    if not isinstance(world, WorldModel):
        raise UserError(f"weights {path.name} hold a {type(world).__name__}, expected a YOLO-World network")
    vectors, row = world.txt_feats.float(), _row(world.names)
    norms = vectors.norm(dim=-1)
    if vectors.shape[1] <= row or not bool(((norms - 1).abs() < 0.02).all()):
        raise UserError(
            f"weights {path.name} carry no text vectors: expected [1, {COCO_NAMES}, 512] of length 1, got "
            f"{list(vectors.shape)} of length {norms.min():.2f} to {norms.max():.2f}"
        )
    world.txt_feats = vectors[:, row : row + 1]
    world.model[-1].nc = 1
    world.names = [PROMPT]
    return model


def _row(names: dict[int, str] | list[str]) -> int:
    """Return the index of the text vector of "person": by name, or the first if the checkpoint only numbers COCO's
    classes.

    Raises:
        UserError: the checkpoint names its classes, and none of them is a person.
    """
    listed = list(names.values()) if isinstance(names, dict) else list(names)
    if PROMPT in listed:
        return listed.index(PROMPT)
    if listed == [str(number) for number in range(COCO_NAMES)]:
        return PERSON
    raise UserError(f"this YOLO-World checkpoint knows {', '.join(listed[:5])}, expected {PROMPT!r} among its classes")


def _persons(result: Any) -> Persons:
    boxes, scores = result.boxes.xyxy.float().cpu().numpy(), result.boxes.conf.float().cpu().numpy()
    order = np.argsort(-scores, kind="stable")
    return Persons(boxes[order].reshape(-1, 4), scores[order])


def _tame_ultralytics() -> None:
    """Forbid ultralytics, before its import, to unpickle, to write settings at home, to use the network or install
    packages.

    Its settings file goes to a folder that lives as long as this process.
    """
    if "YOLO_CONFIG_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="funnel-ultralytics-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["YOLO_CONFIG_DIR"] = folder
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "true"
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ.setdefault("YOLO_VERBOSE", "false")


def _require_safe_load() -> None:
    """Raise UserError where ultralytics would unpickle anything, because it or torch is too old."""
    import torch
    from ultralytics.nn import tasks

    if not hasattr(tasks, "SAFE_LOAD") or not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        raise UserError("reading YOLO-World's checkpoint safely needs torch >= 2.6 and ultralytics >= 8.4.190")
    tasks.SAFE_LOAD = True  # the variable is read at import, and other code may have imported ultralytics before

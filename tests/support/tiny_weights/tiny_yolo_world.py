"""An untrained YOLO-World is saved in ultralytics' own checkpoint format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.support import photo_clips as photos

if TYPE_CHECKING:
    import torch


def save_tiny_world(
    path: Path, names: dict[int, str] | None = None, vectors: torch.Tensor | None = None, **more: Any
) -> Path:
    """Save what ultralytics saves: a dict with the pickled network in half precision."""
    import torch

    from stages.vision import yolo_world

    yolo_world._tame_ultralytics()
    from ultralytics.nn.tasks import WorldModel

    torch.manual_seed(0)
    model = WorldModel("yolov8n-worldv2.yaml", nc=80, verbose=False)
    unit = torch.nn.functional.normalize(torch.randn(1, 80, 512), dim=-1)
    model.txt_feats = unit if vectors is None else vectors
    _make_it_find_something(model)
    if names:
        model.names = names
    saved = {"epoch": -1, "model": model.half(), "ema": None, "optimizer": None, "train_args": {"task": "detect"}}
    torch.save({**saved, **more}, path)
    return path


def _make_it_find_something(model: Any) -> None:
    """Normalise the network on one picture: untrained, its activations fade and its scores start near 0."""
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    before = [module.momentum for module in norms]
    for module in norms:
        module.momentum = 1.0
    with torch.no_grad():
        model.train()(as_input(photos.astronaut(640)))
    model.eval()
    for module, momentum in zip(norms, before, strict=True):
        module.momentum = momentum
    for head in model.model[-1].cv4:
        head.bias.data.fill_(-2.0)
        head.logit_scale.data.fill_(0.0)


def as_input(rgb: np.ndarray) -> torch.Tensor:
    """Convert uint8 [H, W, 3] to what the network takes: float32 [1, 3, H, W], 0-1."""
    import torch

    return torch.from_numpy(rgb.transpose(2, 0, 1)[None].copy()).float() / 255

"""This module turns the reference picture into what the image branch of the public image-to-video models reads.

Wan 2.1 and SkyReels-V2 have, beside the picture's latents, 257 tokens of a CLIP vision model: one for the whole picture
and one for each of 16 x 16 patches, of the last layer but one. The preset ``tiny`` has no such branch.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.digests import content_digest
from model.errors import ModelError

_PARTS = ("image_encoder", "image_processor")


class ClipImage:
    """Sees pictures as Wan's image-to-video models do, with the vision half of CLIP (ViT-H/14: 0.6 B parameters).

    Attributes:
        name: kind of encoder, ``clip``.
        width: numbers per token, 1280 for the public models.
        length: tokens per picture, 257 for the public models.
    """

    name = "clip"

    def __init__(self, folder: Path) -> None:
        """The encoder is loaded, with its way of preparing pictures.

        Args:
            folder: of a Wan or SkyReels-V2 image-to-video model in diffusers' form, with ``image_encoder`` and
                ``image_processor`` in it.

        Raises:
            ModelError: a part is missing, or there are no safetensors (a pickled file is never opened).
        """
        from transformers import CLIPImageProcessor, CLIPVisionModel

        for part in _PARTS:
            if not (folder / part).is_dir():
                raise ModelError(
                    f"{folder} has no folder {part}: give the folder of a Wan image-to-video model in diffusers' form"
                )
        try:
            self._prepare: Any = CLIPImageProcessor.from_pretrained(folder / _PARTS[1], local_files_only=True)
            model = CLIPVisionModel.from_pretrained(folder / _PARTS[0], local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{folder} holds no CLIP vision model in safetensors: {reason}") from error
        self._model = model.eval().requires_grad_(False)
        shape: Any = model.config
        self.width: int = shape.hidden_size
        self.length: int = 1 + (shape.image_size // shape.patch_size) ** 2

    @cached_property
    def digest(self) -> str:
        """Its digest is that of all weights, and of how pictures are prepared."""
        how = self._prepare
        prepared = {  # plain values: releases of the library wrap them in classes of their own
            "size": dict(how.size) if how.do_resize else None,
            "crop": dict(how.crop_size) if how.do_center_crop else None,
            "mean": list(how.image_mean),
            "std": list(how.image_std),
            "resample": int(how.resample),
        }
        return content_digest(self.name, prepared, self._model.state_dict())

    def to(self, device: torch.device | str) -> ClipImage:
        """The encoder moves to ``device``."""
        self._model.to(device)
        return self

    @torch.no_grad()
    def encode(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Pictures uint8 [B, H, W, 3], RGB, become tokens float32 [B, length, width] on the CPU.

        Null image is zeros of the same shape (``training/batch.py``).
        """
        prepared = self._prepare(images=list(pictures), return_tensors="pt")
        pixels = prepared["pixel_values"].to(self._model.device, self._model.dtype)
        return self._model(pixels, output_hidden_states=True).hidden_states[-2].float().cpu()

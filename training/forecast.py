"""Before anything is encoded, this module says how large the latents will be and how long it will take."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from catalogs.errors import UserError
from model.audio import PAD_TOKENS, RATE
from model.positions import TOKENS_PER_S
from training.encode_config import AUDIO_TAIL_S

_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_SPARE = 1.02  #: headers, records and the index beside the tensors
_UNITS = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True)
class Forecast:
    """Holds what encoding will cost.

    Attributes:
        clips: clips to encode, those that are done already included.
        hours: length of their encoded pictures.
        total_bytes: size of the whole folder.
        owed_clips, owed_bytes: what is still to be encoded.
        free_bytes: free space on the disk of the folder now.
        clip_s: seconds that one worker takes for a clip; None if not measured.
    """

    clips: int
    hours: float
    total_bytes: int
    owed_clips: int
    owed_bytes: int
    free_bytes: int
    clip_s: float | None = None

    def seconds(self, workers: int) -> float | None:
        """Return how long ``workers`` workers will take for what is owed; None if no clip was timed."""
        return None if self.clip_s is None else self.owed_clips * self.clip_s / max(1, workers)

    def check_space(self, folder: Path) -> None:
        """Raise UserError if the disk cannot hold what is still to be written."""
        if self.owed_bytes > self.free_bytes:
            raise UserError(
                f"the latents still need {size(self.owed_bytes)}, and the disk of {folder} has "
                f"{size(self.free_bytes)} free: give another folder or smaller pictures, or train on the fly (data: "
                "catalog: in the training's config)"
            )


def clip_bytes(encoding: Mapping[str, Any], n_frames: int) -> int:
    """Return the size of a clip's tensors (training/latents.py), from shapes alone.

    480 x 832 pixels, 81 pictures, 16 channels in bfloat16 are 12.6 MB of latents (three kinds), 0.8 MB of masks, 0.4 MB
    of sound and, with UMT5, 4.2 MB of text.

    Args:
        encoding: ``encoding.json``, or the part of it that says what the tensors are made with.
        n_frames: pictures that are encoded.
    """
    config, codec, audio, text = (encoding[name] for name in ("config", "codec", "audio", "text"))
    cells = config["height"] * config["width"] // codec["spatial"] ** 2
    latents = 1 + (n_frames - 1) // codec["temporal"]
    tokens = ceil(TOKENS_PER_S * (n_frames / config["fps"] + AUDIO_TAIL_S)) + 2 * PAD_TOKENS + 1
    values = codec["channels"] * cells * (2 * latents + config["window_latents"])
    values += tokens * audio["width"] + text["length"] * text["width"]
    if image := encoding.get("image"):
        values += image["length"] * image["width"]
    masks = cells * latents * (codec["temporal"] + 2)  # uint8 and float16
    sound = 2 * round((n_frames / config["fps"] + AUDIO_TAIL_S) * RATE)  # int16
    return values * _BYTES[config["dtype"]] + masks + sound


def forecast(
    encoding: Mapping[str, Any],
    folder: Path,
    all_frames: Iterable[int],
    owed_frames: Iterable[int],
    clip_s: float | None,
) -> Forecast:
    """Forecast a folder.

    Args:
        encoding: see :func:`clip_bytes`.
        folder: need not exist.
        all_frames: pictures of each clip that is to be encoded.
        owed_frames: the same for those that are not done yet.
        clip_s: measured seconds for a clip.
    """
    frames, owed = list(all_frames), list(owed_frames)
    return Forecast(
        clips=len(frames),
        hours=sum(frames) / encoding["config"]["fps"] / 3600,
        total_bytes=round(_SPARE * sum(clip_bytes(encoding, n) for n in frames)),
        owed_clips=len(owed),
        owed_bytes=round(_SPARE * sum(clip_bytes(encoding, n) for n in owed)),
        free_bytes=shutil.disk_usage(_nearest(folder)).free,
        clip_s=clip_s,
    )


def size(n_bytes: float) -> str:
    """Write a size for people: ``1.5 GB``."""
    for unit, name in _UNITS:
        if n_bytes >= unit:
            value = n_bytes / unit
            return f"{value:,.0f} {name}" if value >= 100 else f"{value:.3g} {name}"
    return f"{n_bytes:.0f} bytes"


def duration(seconds: float) -> str:
    """Write a time for people: ``45 s``, ``12 min``, ``7.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(above for above in (folder, *folder.parents) if above.exists())

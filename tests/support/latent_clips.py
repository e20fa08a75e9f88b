"""A tiny folder of latents is made here from made-up tensors whose truth is known, through the real writer.

The mouth is the middle of the lower half of the cells. Its first channel is the clip's picture there plus ``MOUTH``
times a signal, and the signal at a latent's time is column 0 of the audio tokens (of token ``p_k``, see
model/positions.py); the other columns are noise. Everything else in a clip's video stays as it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from training.latents import ENCODING
from training.shards import EncodedClip, encoding_digest, finish, write_json, write_nulls, write_shard

FIRST_TOKEN = -25
MOUTH = 1.5  #: how far the signal moves the mouth's first channel
TEMPORAL = 4
BLANK, NULL_TEXT = -0.25, 0.125  #: the made-up grey video and empty caption are these everywhere


def made_latents(
    folder: Path,
    n_clips: int = 8,
    n_latents: int = 9,
    size: tuple[int, int] = (4, 4),
    channels: int = 16,
    audio_width: int = 8,
    seed: int = 0,
    *,
    text_shape: tuple[int, int] = (16, 32),
    window_latents: int | None = None,
    fps: float = 25.0,
    clips_per_shard: int = 3,
    dtype: torch.dtype = torch.bfloat16,
    audio_name: str = "made_up",
    image_shape: tuple[int, int] | None = None,
) -> Path:
    """Write a whole folder of latents.

    Args:
        size: latent cells, height and width.
        text_shape: tokens and width of the text.
        window_latents: length of ``image_condition``; that of the clips by default.
        image_shape: tokens and width of the reference picture; None for models without an image branch.

    Returns:
        The folder, as :meth:`training.latents.LatentClips.open` takes it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    window = window_latents or n_latents
    encoding = {
        "snapshot": {"name": "made", "sha256": "0" * 64, "catalog": "made"},
        "config": {
            "fps": fps,
            "height": 8 * size[0],
            "width": 8 * size[1],
            "window_latents": window,
            "dtype": str(dtype).removeprefix("torch."),
        },
        "codec": {"name": "made_up", "digest": "0", "channels": channels, "spatial": 8, "temporal": TEMPORAL},
        "audio": {"name": audio_name, "digest": "0", "width": audio_width},
        "text": {"name": "made_up", "digest": "0", "width": text_shape[1], "length": text_shape[0]},
        "image": image_shape and {"name": "made_up", "digest": "0", "width": image_shape[1], "length": image_shape[0]},
        "faces": {"name": "made_up", "digest": "0"},
    }
    write_json(folder / ENCODING, encoding)
    n_frames = 1 + TEMPORAL * (n_latents - 1)
    made = []
    for number in range(n_clips):
        tensors = made_clip(random, n_latents, window, size, channels, audio_width, text_shape, fps, dtype)
        if image_shape:
            tensors["clip_image"] = torch.from_numpy(random.normal(size=image_shape)).to(dtype)
        facts = EncodedClip(
            f"c{number:032x}", n_frames, n_latents, 8 * size[0], 8 * size[1], fps, len(tensors["audio"])
        )
        made.append((facts, tensors))
    for start in range(0, n_clips, clips_per_shard):
        write_shard(folder, encoding_digest(encoding), made[start : start + clips_per_shard])
    rows = [
        {"clip_id": clip.clip_id, "source_id": f"s{number // 2:032x}", "duration_s": n_frames / fps}
        for number, (clip, _) in enumerate(made)
    ]
    blank = torch.full((channels, window, *size), BLANK)
    write_nulls(folder, {(8 * size[0], 8 * size[1]): blank}, torch.full(text_shape, NULL_TEXT))
    finish(folder, encoding, [pa.Table.from_pylist(rows)])
    return folder


def mouth_cells(size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the mouth's rows and columns of latent cells."""
    height, width = size
    return slice(height // 2, max(height // 2 + 1, height - height // 4)), slice(width // 4, width - width // 4)


def made_clip(
    random: np.random.Generator,
    n_latents: int,
    window: int,
    size: tuple[int, int],
    channels: int,
    audio_width: int,
    text_shape: tuple[int, int],
    fps: float,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Return the tensors of one clip, with the names, shapes and dtypes of training/latents.py."""
    n_frames = 1 + TEMPORAL * (n_latents - 1)
    n_tokens = int(np.ceil(50 * n_frames / fps)) - 2 * FIRST_TOKEN
    audio = random.normal(size=(n_tokens, audio_width))
    audio[:, 0] = np.convolve(random.normal(size=n_tokens + 8), np.ones(9) / 3, "valid")
    k = np.arange(n_latents)
    at = np.where(k == 0, 25 / fps, 50 * (TEMPORAL * k - 1) / fps)
    signal = np.interp(at, np.arange(n_tokens) + FIRST_TOKEN, audio[:, 0])
    video = np.repeat(random.normal(size=(channels, 1, *size)), n_latents, axis=1)
    rows, columns = mouth_cells(size)
    video[0, :, rows, columns] += MOUTH * signal[:, None, None]
    blanked = video.copy()
    blanked[:, :, rows, columns] = 0
    hole = np.zeros((TEMPORAL, n_latents, *size), np.uint8)
    hole[:, :, rows, columns] = 1
    first = np.zeros((channels, window, *size))
    first[:, 0] = video[:, 0]
    real = {
        "video": video,
        "image_condition": first,
        "video_condition": blanked,
        "audio": audio,
        "text": random.normal(size=text_shape),
    }
    tensors = {name: torch.from_numpy(values).to(dtype) for name, values in real.items()}
    sound = np.clip(random.normal(scale=3000, size=round(n_frames / fps * 16_000)), -32767, 32767).astype(np.int16)
    tensors["sound"] = torch.from_numpy(sound)
    return tensors | {"hole": torch.from_numpy(hole), "lips": torch.from_numpy(hole[0]).to(torch.float16)}

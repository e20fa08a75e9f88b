"""Videos of held-out clips show a person what the numbers mean: the model paints them from their first picture and
their sound.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from catalogs.media.film import write_film
from model.codecs import load_codec
from model.codecs.codec import Codec
from model.flow import sample, sampling_levels
from model.transformer import AudioWanTransformer
from training.batch import Batch, make_batch
from training.clips import TrainingClips, codec_folder
from training.config import TrainConfig
from training.draws import Draw, key_of
from training.encode import SOUND_PEAK
from training.order import Place, share_of
from training.parallel import Group
from training.predict import predict

_SCALE = 2  #: sample videos are so many times larger than the latents' pictures, for people


def write_samples(
    network: AudioWanTransformer, clips: TrainingClips, config: TrainConfig, group: Group, done: int
) -> list[Path]:
    """Write videos of the first windows of some held-out clips; every process must call this.

    Nothing of the training is touched: noise is drawn from fixed keys, and the weights are only read.

    Args:
        done: optimiser steps so far; names the folder.

    Returns:
        The files that this process wrote.
    """
    rows = clips.heldout[: config.meters.samples]
    if not rows:
        return []
    codec = load_codec(codec_folder(config.data))
    folder = Path(config.run) / "samples" / f"step-{done:08d}"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for ((place, weight),) in share_of([Place(n, row) for n, row in enumerate(rows)], group.rank, group.world, 1):
        tensors = clips.tensors(place.index)
        latents = sampled(network, window_batch(clips, [place.index]), config, group)
        if weight:
            path = folder / f"{clips.clip_id(place.index)}.mp4"
            frames = decoded(codec, latents)[0]
            sound = tensors["sound"].numpy().astype(np.float32) / np.float32(SOUND_PEAK)
            write_film(path, frames, sound, round(clips.window.fps), scale=_SCALE)
            written.append(path)
    return written


def window_batch(clips: TrainingClips, rows: list[int], seed: int = 0, sound_of: list[int] | None = None) -> Batch:
    """Make a batch of the first windows of some clips, to be painted from their first picture.

    Args:
        seed: of the noise.
        sound_of: clips whose sound is heard instead of their own.
    """
    draws = [Draw("image", 1.0, 0.0, False, False, False, False, False, key_of("sample", seed, row)) for row in rows]
    tensors = [clips.tensors(row) for row in rows]
    if sound_of is not None:
        heard = [clips.tensors(row)["audio"] for row in sound_of]
        tensors = [own | {"audio": audio} for own, audio in zip(tensors, heard, strict=True)]
    return make_batch(tensors, draws, [1.0] * len(rows), clips.window)


@torch.no_grad()
def sampled(network: AudioWanTransformer, batch: Batch, config: TrainConfig, group: Group) -> Tensor:
    """Return the latents [B, C, W, h, w] that the model makes of a batch's noise and conditions.

    The first picture of a video is given, and stays as it was given. Guidance by the sound is that of the config;
    guidance by the text is left out.
    """
    moved = batch.to(group.device)
    deaf = replace(moved, audio_gate=torch.zeros_like(moved.audio_gate))
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    scale = config.sampling.audio_scale

    def told(batch: Batch, latents: Tensor, level: float) -> Tensor:
        at = replace(batch, level=torch.full_like(batch.level, level))
        return predict(network, at, torch.cat([latents, batch.condition], 1), dtype).float()

    def velocity(latents: Tensor, level: float) -> Tensor:
        full = told(moved, latents, level)
        return full + scale * (full - told(deaf, latents, level)) if scale else full

    made = sample(velocity, moved.noise, sampling_levels(config.sampling.steps, config.flow.shift))
    known, given = moved.condition.split([moved.condition.shape[1] - made.shape[1], made.shape[1]], 1)
    is_given = known[:, :1, :1] == 1
    made[:, :, :1] = torch.where(is_given, given[:, :, :1], made[:, :, :1])
    return made.cpu()


@torch.no_grad()
def decoded(codec: Codec, latents: Tensor) -> np.ndarray:
    """Return the pictures of latents, uint8 [B, F, H, W, 3]."""
    video = codec.decode(latents.float())
    return ((video + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).cpu().numpy()

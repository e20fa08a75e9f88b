"""A batch is made of the latents of some clips and of what was drawn for them: windows, conditions, weights, noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from model import flow
from model.audio import PAD_TOKENS
from model.conditioning import ConditionSource, window_condition
from model.positions import audio_window, latent_positions, window_tokens
from training.draws import Draw, noise_of

#: How much slot 0 of a window from the middle is "known": it sees the reference image, which is not that moment.
REFERENCE_KNOWN = 0.5
AUDIO_MARGIN = 10.0  #: tokens of sound around a window (0.2 s)


@dataclass(frozen=True)
class Batch:
    """Holds everything that a training step needs of some clips; floats are float32, positions float64.

    Attributes:
        latents: the data [B, C, W, h, w].
        noise: of the same shape.
        level: noise level [B].
        condition: known mask and condition latents [B, t + C, W, h, w] (model/conditioning.py).
        hole: what is to be painted [B, W, h, w], 1 in it.
        lips: share of each cell that is lower face [B, W, h, w].
        lips_only: bool [B], whose loss counts the lower face only.
        text: [B, N, width].
        image: CLIP's tokens of the reference [B, 257, 1280], or None.
        audio: tokens around the window [B, A, D].
        audio_positions: of the tokens [B, A], in tokens from the window's first.
        latent_positions: of the latents [B, W], on the same scale.
        audio_gate: [B], 0 where the sound is left out.
        weight: of each clip's loss [B].
    """

    latents: Tensor
    noise: Tensor
    level: Tensor
    condition: Tensor
    hole: Tensor
    lips: Tensor
    lips_only: Tensor
    text: Tensor
    image: Tensor | None
    audio: Tensor
    audio_positions: Tensor
    latent_positions: Tensor
    audio_gate: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=True))

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with every tensor changed."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {name: None if value is None else change(value) for name, value in values.items()}
        return Batch(**changed)

    def beside(self, other: Batch) -> Batch:
        """Return one batch with the clips of both, which have the same shapes."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        joined: dict[str, Any] = {name: None if a is None else torch.cat([a, b]) for name, (a, b) in pairs.items()}
        return Batch(**joined)


@dataclass(frozen=True)
class Window:
    """Says what a training window is.

    Attributes:
        latents: its length.
        fps: pictures per second of the latents.
        temporal: pictures per latent.
    """

    latents: int
    fps: float
    temporal: int

    def start(self, n_latents: int, drawn: Draw) -> int:
        """Return the first latent of the window in a clip of ``n_latents``."""
        places = n_latents - self.latents
        if places <= 0 or not drawn.is_middle:
            return 0
        return 1 + int(drawn.window * places)


def make_batch(
    clips: Sequence[Mapping[str, Tensor]], draws: Sequence[Draw], weights: Sequence[float], window: Window
) -> Batch:
    """Make a batch.

    Args:
        clips: the tensors of each clip and its nulls (training.clips.TrainingClips.tensors).
        draws: what was drawn for each.
        weights: of each clip's loss.
        window: what a training window is.
    """
    parts = [_example(clip, drawn, window) for clip, drawn in zip(clips, draws, strict=True)]
    stacked: dict[str, Any] = {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
    return Batch(
        **{"image": None, **stacked},
        level=torch.tensor([drawn.level for drawn in draws]),
        lips_only=torch.tensor([drawn.lips_only for drawn in draws]),
        audio_gate=torch.tensor([0.0 if drawn.drops_audio else 1.0 for drawn in draws]),
        weight=torch.tensor(list(weights)),
    )


def _example(clip: Mapping[str, Tensor], drawn: Draw, window: Window) -> dict[str, Tensor]:
    start = window.start(clip["video"].shape[1], drawn)
    span = slice(start, start + window.latents)
    latents = clip["video"][:, span].float()
    given = _condition(clip, drawn, span)
    known = given[: window.temporal]
    example = {
        "latents": latents,
        "noise": noise_of(drawn.noise_key, latents.shape),
        "condition": given,
        "hole": (1 - known).amax(0),
        "lips": clip["lips"][span].float(),
        "text": clip["null_text" if drawn.drops_text else "text"].float(),
        **_sound(clip["audio"], start, window),
    }
    if "clip_image" in clip:
        image = clip["clip_image"].float()
        example["image"] = image if _has_image(drawn) else torch.zeros_like(image)
    return example


def _condition(clip: Mapping[str, Tensor], drawn: Draw, span: slice) -> Tensor:
    """Return the picture condition [t + C, W, h, w] of a window."""
    image = clip["image_condition"].float().clone()
    image[:, 0] = clip["video"][:, 0].float()  # the same picture, and the same in every codec: the clip's first frame
    pictures = ConditionSource(
        hole=clip["hole"][None, :, span].float(),
        video=clip["video_condition"][None, :, span].float(),
        image=image[None],
        blank=clip["blank"][None].float(),
    )
    has_image = _has_image(drawn)
    return window_condition(
        pictures,
        has_image=has_image,
        has_video=has_image and drawn.task == "video",
        middle=span.start > 0,
        reference_known=REFERENCE_KNOWN,
    )[0]


def _has_image(drawn: Draw) -> bool:
    return drawn.task != "audio" and not drawn.drops_reference


def _sound(tokens: Tensor, start: int, window: Window) -> dict[str, Tensor]:
    """Return the tokens around a window with their positions; beyond the track its silent end is repeated."""
    positions = latent_positions(window.latents, window.fps, window.temporal, first=start)
    first, _ = audio_window(positions, AUDIO_MARGIN)
    n = window_tokens(window.latents, window.fps, window.temporal, AUDIO_MARGIN)
    rows = (torch.arange(n) + first + PAD_TOKENS).clamp(0, len(tokens) - 1)
    return {
        "audio": tokens[rows].float(),
        "audio_positions": torch.arange(n, dtype=torch.float64),
        "latent_positions": positions - first,
    }


def model_input(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return what the transformer sees [B, C + t + C, W, h, w], and the velocity that it should predict."""
    noised = flow.noisy(batch.latents, batch.noise, batch.level)
    return torch.cat([noised, batch.condition], 1), flow.velocity_target(batch.latents, batch.noise)

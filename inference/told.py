"""A model is told of a portrait, a voice, a prompt and perhaps a source video: they become a track here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inference.conditions import Track
from inference.source_video import SourceVideo
from model.audio import AudioEncoder
from model.codecs.codec import Codec, CodecShape
from model.conditioning import blank_latents, fold_hole
from model.folder import ModelFolder
from model.image import ClipImage
from model.shapes import frames_of_latents
from model.text import TextEncoder

Pixels = npt.NDArray[np.uint8]

_LATENTS_AT_ONCE = 50  # of a source video: reading begins at a key frame each time


@dataclass(frozen=True, eq=False)
class Encoders:
    """Holds what turns sound, words and pictures into what the model reads.

    Attributes:
        audio, text: those of the training.
        image: of the reference picture; None for a model without an image branch.
    """

    audio: AudioEncoder
    text: TextEncoder
    image: ClipImage | None = None


@torch.no_grad()
def make_track(
    model: ModelFolder,
    encoders: Encoders,
    picture: Pixels,
    samples: npt.NDArray[np.float32],
    prompt: str,
    longest: int,
    source: tuple[Tensor, Tensor] | None = None,
) -> Track:
    """A track holds everything that the model is told of a video.

    Args:
        model: its codec encodes the picture.
        encoders: of sound, text and picture.
        picture: the portrait at the model's size, uint8 [H, W, 3].
        samples: the sound, float32 [N], 16 kHz.
        prompt: a description; empty for none.
        longest: latents of the longest window.
        source: latents of a source video with grey in its hole [1, C, L, h, w], and the folded hole [1, t, L, h, w].
    """
    shape, facts = model.codec.shape, model.facts
    frames = frames_of_latents(longest, shape.temporal)
    video = torch.zeros(1, 3, frames, *picture.shape[:2])
    video[0, :, 0] = torch.from_numpy(picture).permute(2, 0, 1).float().div_(127.5).sub_(1)
    image = model.codec.encode(video)
    height, width = image.shape[3:]
    return Track(
        image=image,
        blank=blank_latents(model.codec, longest, height, width),
        audio=encoders.audio.encode(samples),
        text=encoders.text.encode([prompt]),
        null_text=encoders.text.encode([""]),
        fps=facts.fps,
        temporal=shape.temporal,
        reference_known=facts.reference_known,
        audio_margin=facts.audio_margin,
        video=None if source is None else source[0],
        hole=None if source is None else source[1],
        clip_image=None if encoders.image is None else encoders.image.encode(picture[None]),
        given=image[:, :, :1],
    )


def source_latents(codec: Codec, source: SourceVideo, latents: int) -> tuple[Tensor, Tensor]:
    """A source video becomes what ``make_track`` takes: latents with grey in the hole, and the folded hole.

    The video is read and encoded piece by piece; its latents stay, so memory grows with its length: at 480 x 832 pixels
    by 0.4 MB for every 4 pictures.

    Args:
        codec: of the model.
        source: the video; it has pictures for all latents.
        latents: of the film.
    """
    temporal = codec.shape.temporal
    starts = range(0, latents, _LATENTS_AT_ONCE)
    edges = [0, *(1 + temporal * (min(start + _LATENTS_AT_ONCE, latents) - 1) for start in starts)]
    spans = list(pairwise(edges))
    holes: list[Tensor] = []

    def pieces() -> Iterator[Tensor]:
        for first, stop in spans:
            hole = torch.from_numpy(source.hole(first, stop))
            pixels = torch.from_numpy(source.cut(source.pictures(first, stop))).permute(3, 0, 1, 2)[None]
            holes.append(_folded(hole, codec.shape, is_first=first == 0))
            yield (pixels.float().div_(127.5).sub_(1)) * (1 - hole)

    encoded = torch.cat(list(codec.encode_stream(pieces())), dim=2)
    return encoded, torch.cat(holes, dim=2)


def _folded(hole: Tensor, shape: CodecShape, is_first: bool) -> Tensor:
    """Fold the hole of some latents' frames: [1, t, n, h, w]."""
    if is_first:
        return fold_hole(hole, shape.spatial, shape.temporal)
    return fold_hole(torch.cat([hole[:, :, :1], hole], dim=2), shape.spatial, shape.temporal)[:, :, 1:]


def pixels_of(video: Tensor) -> Pixels:
    """Decoded pictures float32 [1, 3, F, H, W], -1..1, become uint8 [F, H, W, 3]."""
    found = ((video[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 3, 0)
    return np.ascontiguousarray(found.cpu().numpy())

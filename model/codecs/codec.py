"""This module says what a codec is: video in, normalised latents out, and back, also piece by piece.

All codecs share the first-frame rule: latent 0 is the first frame alone, each later latent is ``temporal`` frames
(with ``temporal`` 1 every latent is one frame). Latents are normalised: each channel has about mean 0 and standard
deviation 1 on the videos that the codec was made for, so noise of that size drowns them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from model.errors import ModelError
from model.shapes import latents_of_frames


@dataclass(frozen=True)
class CodecShape:
    """Says how videos and latents correspond.

    Attributes:
        channels: channels of a latent, C.
        spatial: pixels per latent cell in height and width.
        temporal: frames per latent after the first frame.
    """

    channels: int
    spatial: int
    temporal: int

    def of_video(self, video: Tensor) -> tuple[int, int, int, int]:
        """A video float32 [B, 3, F, H, W] has latents of the size (B, L, h, w).

        Raises:
            ModelError: the video does not fit the codec.
        """
        if video.ndim != 5 or video.shape[1] != 3:
            raise ModelError(f"a video has shape [B, 3, F, H, W], this one has {list(video.shape)}")
        batch, _, frames, height, width = video.shape
        if height % self.spatial or width % self.spatial:
            raise ModelError(
                f"a video of {width}x{height} pixels is no multiple of {self.spatial}: crop or resize it first"
            )
        latents = latents_of_frames(frames, self.temporal)
        return batch, latents, height // self.spatial, width // self.spatial

    def check_latents(self, latents: Tensor) -> None:
        """Latents must have the shape [B, C, L, h, w] with this codec's C.

        Raises:
            ModelError: they have another shape.
        """
        if latents.ndim != 5 or latents.shape[1] != self.channels:
            raise ModelError(
                f"this codec's latents have shape [B, {self.channels}, L, h, w], these have {list(latents.shape)}"
            )


class Codec(Protocol):
    """Turns videos into latents and back.

    Attributes:
        name: the kind of codec, as ``codec.json`` has it: ``linear``, ``wan`` or ``taef2``.
        shape: how videos and latents correspond.
        digest: sha256 of everything that changes its numbers; latents of codecs with other digests do not mix.
    """

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> CodecShape: ...

    @property
    def digest(self) -> str: ...

    def encode(self, video: Tensor) -> Tensor:
        """A video float32 [B, 3, F, H, W], -1..1, becomes normalised latents float32 [B, C, L, h, w] on its device.

        Raises:
            ModelError: its size does not fit.
        """
        ...

    def encode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """A video that comes in pieces along time, [B, 3, any, H, W], becomes its latents one by one, [B, C, 1, h, w].

        The latents together equal ``encode`` of the whole; memory is bounded by a piece. Frames beyond the last whole
        latent are left out.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents [B, C, L, h, w] become a video float32 [B, 3, F, H, W], clamped to -1..1."""
        ...

    def decode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Latents that come in pieces along time, [B, C, any, h, w], become pieces of the video.

        The pieces together equal ``decode`` of the whole exactly; memory is bounded by a piece.
        """
        ...

    def save(self, folder: Path) -> None:
        """The codec goes into a folder that ``load_codec`` reads; the folder is made if it is not there."""
        ...

    def to(self, device: torch.device | str) -> Codec:
        """The codec computes on ``device`` from now on (the returned codec does)."""
        ...


def frames_of_one_latent_each(chunks: Iterable[Tensor], shape: CodecShape) -> Iterator[Tensor]:
    """Chunks of frames [B, 3, any, H, W] come as those of one latent at a time: the first alone, then ``temporal``.

    Raises:
        ModelError: a chunk is no multiple of the codec's cells, or no video.
    """
    held: Tensor | None = None
    wanted = 1
    for chunk in chunks:
        shape.of_video(chunk[:, :, :1])
        held = chunk if held is None else torch.cat([held, chunk], dim=2)
        while held.shape[2] >= wanted:
            yield held[:, :, :wanted]
            held, wanted = held[:, :, wanted:], shape.temporal


def one_latent_each(chunks: Iterable[Tensor], shape: CodecShape) -> Iterator[Tensor]:
    """Chunks of latents [B, C, any, h, w] come one latent at a time: [B, C, 1, h, w].

    Decoding always goes by single latents, so that the cut into chunks cannot change a bit of the result.

    Raises:
        ModelError: a chunk has another shape than the codec's latents.
    """
    for chunk in chunks:
        shape.check_latents(chunk)
        yield from chunk.split(1, dim=2)

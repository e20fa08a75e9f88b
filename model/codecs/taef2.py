"""This module is TAEF2, the tiny autoencoder for the latents of FLUX.2: 32 channels, 8 x 8 pixels, frame by frame.

Weights: ``taef2_encoder.pth`` and ``taef2_decoder.pth`` of madebyollin/taesd (MIT, 2.7 MB each). The network is written
here from the names and shapes of their tensors: blocks of three convolutions with a skip; at the smallest size each
block first adds a widened, group-normalised copy of its input (4 groups: others lose at least 1.8 dB). Pictures are
0..1 inside. Measured on 13 real clips at 128 pixels: 28.7 to 36.5 dB. Being per frame, its latents are four times as
many as Wan's, and not smooth in time.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.codecs.codec import CodecShape, frames_of_one_latent_each, one_latent_each
from model.digests import content_digest
from model.errors import ModelError

_CHANNELS, _WIDTH, _GROUPS = 32, 64, 4
_FRAMES_AT_ONCE = 16


class _Block(nn.Module):
    """Adds three convolutions to its input; ``pooled`` blocks first add a normalised 1 x 1 path."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(_WIDTH, _WIDTH), nn.ReLU(), _conv(_WIDTH, _WIDTH), nn.ReLU(), _conv(_WIDTH, _WIDTH)
        )
        self.pool = _pool() if pooled else None

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return F.relu(self.conv(x) + x)


class _SoftClamp(nn.Module):
    """Keeps latents that are far out within -3..3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def _conv(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, stride=stride, bias=bias)


def _pool() -> nn.Sequential:
    wide = 4 * _WIDTH
    return nn.Sequential(
        nn.Conv2d(_WIDTH, wide, 1, bias=False),
        nn.GroupNorm(_GROUPS, wide),
        nn.ReLU(),
        nn.Conv2d(wide, _WIDTH, 1, bias=False),
    )


def _blocks(pooled: bool = False) -> list[nn.Module]:
    return [_Block(pooled) for _ in range(3)]


def networks() -> tuple[nn.Sequential, nn.Sequential]:
    """TAEF2's encoder and decoder, untrained, have the published files' names and shapes of tensors."""
    down = [layer for last in (False, False, True) for layer in (_conv(_WIDTH, _WIDTH, 2, bias=False), *_blocks(last))]
    encoder = nn.Sequential(_conv(3, _WIDTH), _Block(False), *down, _conv(_WIDTH, _CHANNELS))
    up: list[nn.Module] = []
    for pooled in (True, False, False):
        up += [*_blocks(pooled), nn.Upsample(scale_factor=2), _conv(_WIDTH, _WIDTH, bias=False)]
    decoder = nn.Sequential(_SoftClamp(), _conv(_CHANNELS, _WIDTH), nn.ReLU(), *up, _Block(False), _conv(_WIDTH, 3))
    return encoder, decoder


class Taef2Codec:
    """Encodes single frames with TAEF2."""

    name = "taef2"
    shape = CodecShape(_CHANNELS, spatial=8, temporal=1)

    def __init__(self, encoder: nn.Module, decoder: nn.Module, mean: Tensor, std: Tensor) -> None:
        """The parts are put together: networks, and the statistics [32] that normalise their latents."""
        self._encoder, self._decoder = encoder.eval().requires_grad_(False), decoder.eval().requires_grad_(False)
        self._mean, self._std = mean, std

    @classmethod
    def from_files(cls, encoder: Path, decoder: Path) -> Taef2Codec:
        """The two published files are read; latents are not normalised yet: see ``measured``.

        Raises:
            ModelError: a file is missing, holds other tensors, or more than tensors.
        """
        parts = networks()
        for network, path in zip(parts, (encoder, decoder), strict=True):
            try:
                network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
            except (OSError, RuntimeError, ValueError, TypeError, AttributeError, pickle.UnpicklingError) as error:
                reason = str(error).strip().splitlines()[0]
                raise ModelError(f"{path} is not the file of TAEF2 that it should be: {reason}") from error
        return cls(*parts, torch.zeros(_CHANNELS), torch.ones(_CHANNELS))

    def measured(self, videos: Iterable[Tensor]) -> Taef2Codec:
        """The same networks get the statistics of some videos, so that their latents have mean 0 and deviation 1.

        Args:
            videos: each float32 [3, F, H, W], -1..1. Only sums are kept, in float64.

        Raises:
            ModelError: there is no video.
        """
        count, total, squares = (
            0,
            torch.zeros(_CHANNELS, dtype=torch.float64),
            torch.zeros(_CHANNELS, dtype=torch.float64),
        )
        plain = Taef2Codec(self._encoder, self._decoder, torch.zeros(_CHANNELS), torch.ones(_CHANNELS))
        for video in videos:
            values = plain.encode(video[None])[0].double().flatten(1).cpu()
            count, total, squares = count + values.shape[1], total + values.sum(1), squares + (values**2).sum(1)
        if not count:
            raise ModelError("TAEF2's statistics are measured on videos, and none was given")
        mean = total / count
        std = (squares / count - mean**2).clamp(min=1e-12).sqrt()
        return Taef2Codec(self._encoder, self._decoder, mean.float(), std.float())

    @classmethod
    def load(cls, folder: Path) -> Taef2Codec:
        """The codec that ``save`` left in a folder is read back.

        Raises:
            ModelError: the file is missing or is not what ``save`` writes.
        """
        encoder, decoder = networks()
        try:
            tensors = load_file(folder / "codec.safetensors")
            encoder.load_state_dict(_under(tensors, "encoder."))
            decoder.load_state_dict(_under(tensors, "decoder."))
            return cls(encoder, decoder, tensors["mean"], tensors["std"])
        except (OSError, SafetensorError, RuntimeError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{folder} holds no TAEF2 codec ({reason}): write it anew with Taef2Codec.save") from error

    def save(self, folder: Path) -> None:
        """The codec is written as ``codec.safetensors`` and ``codec.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in self._tensors().items()}, folder / "codec.safetensors"
        )
        facts = {"kind": self.name, "channels": _CHANNELS, "digest": self.digest}
        (folder / "codec.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")

    def _tensors(self) -> dict[str, Tensor]:
        parts = {"encoder": self._encoder, "decoder": self._decoder}
        named = {f"{part}.{name}": t for part, network in parts.items() for name, t in network.state_dict().items()}
        return {**named, "mean": self._mean, "std": self._std}

    @cached_property
    def digest(self) -> str:
        """Its digest is that of both networks and of the statistics."""
        return content_digest(self.name, {}, self._tensors())

    def to(self, device: torch.device | str) -> Taef2Codec:
        """The networks move to ``device``."""
        return Taef2Codec(
            self._encoder.to(device), self._decoder.to(device), self._mean.to(device), self._std.to(device)
        )

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """A video float32 [B, 3, F, H, W] becomes latents float32 [B, 32, F, h, w]: see ``Codec``."""
        batch, _, _, _ = self.shape.of_video(video)
        frames = video.transpose(1, 2).flatten(0, 1).to(self._mean)
        latents = torch.cat([self._encoder(part / 2 + 0.5) for part in frames.split(_FRAMES_AT_ONCE)])
        latents = (latents - self._mean.view(-1, 1, 1)) / self._std.view(-1, 1, 1)
        return latents.unflatten(0, (batch, -1)).transpose(1, 2).contiguous().to(video.device)

    def encode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of a video become its latents, one by one: see ``Codec``."""
        for frame in frames_of_one_latent_each(chunks, self.shape):
            yield self.encode(frame)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, 32, F, h, w] become a video float32 [B, 3, F, H, W]: see ``Codec``."""
        return torch.cat(list(self.decode_stream([latents])), dim=2)

    def decode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of latents become pieces of the video: see ``Codec``."""
        for latent in one_latent_each(chunks, self.shape):
            with torch.no_grad():
                raw = latent[:, :, 0].to(self._mean) * self._std.view(-1, 1, 1) + self._mean.view(-1, 1, 1)
                frames = self._decoder(raw) * 2 - 1
            yield frames.clamp(-1, 1).unsqueeze(2).to(latent.device)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

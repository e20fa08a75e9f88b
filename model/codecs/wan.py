"""This module is the codec of Wan 2.1 and SkyReels-V2: diffusers' ``AutoencoderKLWan``, 16 channels, 4 x 8 x 8.

Latents are the mean of the encoder's distribution (diffusers' ``latent_dist.mode()``), less ``latents_mean``, divided
by ``latents_std`` of its config, as ``WanImageToVideoPipeline`` does. The decoder is causal in time and keeps what it
needs of earlier latents in a list of features; it runs one latent at a time, so a stream equals the whole (0.0).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.codecs.codec import CodecShape, frames_of_one_latent_each, one_latent_each
from model.digests import content_digest
from model.errors import ModelError

_CHANNELS, _SPATIAL, _TEMPORAL = 16, 8, 4


class WanCodec:
    """Encodes with a Wan autoencoder."""

    name = "wan"
    shape = CodecShape(_CHANNELS, _SPATIAL, _TEMPORAL)

    def __init__(self, vae: Any) -> None:
        """A loaded autoencoder is wrapped; it computes on its device and in its dtype.

        Args:
            vae: an ``AutoencoderKLWan`` (diffusers' classes have no usable types).

        Raises:
            ModelError: it is that of Wan 2.2 5B (48 channels, 16 pixels), or another one.
        """
        config = vae.config
        if config.z_dim != _CHANNELS or config.patch_size is not None or len(config.latents_mean) != _CHANNELS:
            raise ModelError(
                f"this Wan autoencoder has {config.z_dim} channels (Wan 2.2 5B has 48): take Wan 2.1's, with 16"
            )
        self._vae = vae.eval().requires_grad_(False)
        self._mean = torch.tensor(config.latents_mean).view(1, -1, 1, 1, 1)
        self._std = torch.tensor(config.latents_std).view(1, -1, 1, 1, 1)

    @classmethod
    def load(cls, folder: Path) -> WanCodec:
        """A folder that ``save`` wrote, or the ``vae`` folder of a model in diffusers' form, is loaded.

        Only safetensors are read; a pickled file is never opened.

        Raises:
            ModelError: the folder holds no such autoencoder.
        """
        from diffusers import AutoencoderKLWan  # seconds to import, and other codecs do without

        try:
            vae = AutoencoderKLWan.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{folder} holds no Wan autoencoder in safetensors: {reason}") from error
        return cls(vae)

    def save(self, folder: Path) -> None:
        """The autoencoder is written in diffusers' form, with ``codec.json`` beside it."""
        self._vae.save_pretrained(folder, safe_serialization=True)
        facts = {"kind": self.name, "channels": _CHANNELS, "digest": self.digest}
        (folder / "codec.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")

    @cached_property
    def digest(self) -> str:
        """Its digest is that of all weights and of the latents' statistics."""
        settings = {"mean": list(self._vae.config.latents_mean), "std": list(self._vae.config.latents_std)}
        return content_digest(self.name, settings, self._vae.state_dict())

    def to(self, device: torch.device | str) -> WanCodec:
        """The autoencoder moves to ``device``."""
        self._vae.to(device)
        return self

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """A video float32 [B, 3, F, H, W] becomes latents float32 [B, 16, L, h, w]: see ``Codec``."""
        self.shape.of_video(video)
        latents = self._vae.encode(video.to(self._vae.device, self._vae.dtype)).latent_dist.mode()
        latents = latents.float()
        return ((latents - self._mean.to(latents)) / self._std.to(latents)).to(video.device)

    @torch.no_grad()
    def encode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of a video become its latents, one by one: see ``Codec``. Each stream has features of its own."""
        encoder = self._vae.encoder
        features: list[object] = [None] * sum(isinstance(module, nn.Conv3d) for module in encoder.modules())
        for frames in frames_of_one_latent_each(chunks, self.shape):
            hidden = encoder(frames.to(self._vae.device, self._vae.dtype), feat_cache=features, feat_idx=[0])
            latents = self._vae.quant_conv(hidden)[:, :_CHANNELS].float()  # the first half is the distribution's mode
            yield ((latents - self._mean.to(latents)) / self._std.to(latents)).to(frames.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, 16, L, h, w] become a video float32 [B, 3, F, H, W]: see ``Codec``."""
        return torch.cat(list(self.decode_stream([latents])), dim=2)

    def decode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of latents become pieces of the video: see ``Codec``. Each stream has features of its own."""
        decoder = self._vae.decoder
        features: list[object] = [None] * sum(isinstance(module, nn.Conv3d) for module in decoder.modules())
        for index, latent in enumerate(one_latent_each(chunks, self.shape)):
            with torch.no_grad():
                raw = latent.float()
                raw = raw * self._std.to(raw) + self._mean.to(raw)
                hidden = self._vae.post_quant_conv(raw.to(self._vae.device, self._vae.dtype))
                frames = decoder(hidden, feat_cache=features, feat_idx=[0], first_chunk=index == 0)
            yield frames.float().clamp(-1, 1).to(latent.device)

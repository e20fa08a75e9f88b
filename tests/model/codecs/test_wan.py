"""Wan's codec, against diffusers' own encoding and decoding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan

from model.codecs import WanCodec, load_codec
from model.errors import ModelError
from tests.support.latent_models import noise_video, tiny_wan_vae


def test_latents_are_the_mean_normalised_by_the_published_statistics() -> None:
    vae = tiny_wan_vae()
    video = noise_video(frames=9)
    with torch.no_grad():
        raw = vae.encode(video).latent_dist.mean
    latents = WanCodec(vae).encode(video)
    for channel in range(16):
        expected = (raw[:, channel] - vae.config.latents_mean[channel]) / vae.config.latents_std[channel]
        assert torch.allclose(latents[:, channel], expected, atol=1e-6)


def test_the_statistics_are_those_of_wan_2_1() -> None:
    """First and last channel, as published in Wan 2.1's ``vae.py``."""
    latents = torch.zeros(1, 16, 1, 2, 2)
    seen: list[torch.Tensor] = []
    vae = tiny_wan_vae()
    vae.post_quant_conv.register_forward_hook(lambda _module, given, _out: seen.append(given[0]))
    codec = WanCodec(vae)
    codec.decode(latents)
    codec.decode(latents + 1)
    assert seen[0][0, :, 0, 0, 0].tolist()[::15] == pytest.approx([-0.7571, -0.2921])
    assert (seen[1] - seen[0])[0, :, 0, 0, 0].tolist()[::15] == pytest.approx([2.8184, 1.9160])


def test_decoding_equals_diffusers_full_decode() -> None:
    """Up to rounding: on some CPUs a convolution of one latent sums in another order than that of five."""
    vae = tiny_wan_vae()
    latents = torch.randn(1, 16, 5, 2, 3, generator=torch.Generator().manual_seed(1))
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    with torch.no_grad():
        theirs = vae.decode(latents * std + mean).sample
    assert torch.allclose(WanCodec(vae).decode(latents), theirs, rtol=0, atol=1e-6)


def test_the_vae_folder_of_a_public_model_is_a_codec(tmp_path: Path) -> None:
    vae = tiny_wan_vae()
    vae.save_pretrained(tmp_path / "vae")
    codec = load_codec(tmp_path / "vae")
    assert codec.digest == WanCodec(vae).digest


def test_the_codec_of_wan_2_2_5b_is_refused() -> None:
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=48, dim_mult=[1, 1, 1, 1], num_res_blocks=1, in_channels=12, out_channels=12, patch_size=2
    )
    with pytest.raises(ModelError, match=r"has 48 channels .* take Wan 2\.1's, with 16"):
        WanCodec(vae)


def test_a_pickled_file_is_never_read(tmp_path: Path) -> None:
    tiny_wan_vae().save_pretrained(tmp_path, safe_serialization=False)
    assert list(tmp_path.glob("*.bin"))
    with pytest.raises(ModelError, match="no Wan autoencoder in safetensors"):
        load_codec(tmp_path)

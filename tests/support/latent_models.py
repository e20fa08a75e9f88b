"""Tiny random models in the true formats, and small videos whose content is known, for tests of ``model/``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tests.support.tiny_weights.tiny_whisper import Dimensions

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan
    from whisper.model import Whisper

    from model.codecs.taef2 import Taef2Codec
    from model.folder import ModelFolder


def tiny_whisper(n_audio_ctx: int = 1500, seed: int = 0) -> Whisper:
    """An openai-whisper module with one random layer of width 16, that hears ``n_audio_ctx`` tokens at a time."""
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(seed)
    facts = asdict(Dimensions()) | {"n_audio_ctx": n_audio_ctx, "n_vocab": 8, "n_text_ctx": 4}
    return Whisper(ModelDimensions(**facts)).eval()


def deaf_to_context(model: Whisper) -> Whisper:
    """Its tokens come from the mel frames around them only: no attention, no absolute positions."""
    with torch.no_grad():
        model.encoder.positional_embedding.zero_()
        for block in model.encoder.blocks:
            block.attn.out.weight.zero_()
            block.attn.out.bias.zero_()
    return model


def tiny_wan_vae(seed: int = 0) -> AutoencoderKLWan:
    """Wan's autoencoder with 3 features a layer instead of 96: same factors, same 16 channels, same statistics."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(seed)
    return AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()


def noise_video(frames: int = 9, height: int = 16, width: int = 24, batch: int = 1, seed: int = 0) -> Tensor:
    """A video float32 [B, 3, F, H, W] of noise in -1..1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, frames, height, width, generator=generator) * 2 - 1


def wave_video(frames: int = 17, size: int = 32, seed: int = 0) -> Tensor:
    """A video float32 [3, F, H, W] of smooth waves that move: something that a few components describe."""
    generator = torch.Generator().manual_seed(seed)
    t, y, x = torch.meshgrid(torch.arange(frames) / 8, torch.arange(size) / 16, torch.arange(size) / 16, indexing="ij")
    speed, up, across = torch.rand(3, 3, generator=generator) * 2
    waves = [torch.sin(speed[c] * t + up[c] * y + across[c] * x + c) for c in range(3)]
    return 0.8 * torch.stack(waves)


def tiny_umt5(folder: Path) -> Path:
    """A folder with ``text_encoder`` and ``tokenizer`` as Wan's models have them, with a handful of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    words = ["<pad>", "</s>", "<unk>", "a", "person", "speaks", "laughs", "&", "calmly"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    config = UMT5Config(vocab_size=len(words), d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
    UMT5EncoderModel(config).save_pretrained(folder / "text_encoder", safe_serialization=True)
    return folder


def tiny_clip(folder: Path, size: int = 28) -> Path:
    """A folder with ``image_encoder`` and ``image_processor`` as Wan's image-to-video models have them."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size}).save_pretrained(
        folder / "image_processor"
    )
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=size, patch_size=14
    )
    CLIPVisionModel(config).save_pretrained(folder / "image_encoder", safe_serialization=True)
    return folder


def random_taef2() -> Taef2Codec:
    """TAEF2's networks with random weights."""
    from model.codecs.taef2 import Taef2Codec, networks

    torch.manual_seed(0)
    return Taef2Codec(*networks(), torch.zeros(32), torch.ones(32))


def tiny_model_folder(**facts: Any) -> ModelFolder:
    """A whole model with random weights: one layer, the linear codec, log-mel sound, hashed captions."""
    from model.audio import LogMelAudio
    from model.codecs.linear import LinearCodec
    from model.facts import EncoderFacts, ModelFacts
    from model.folder import ModelFolder
    from model.presets import build
    from model.text import HashedText

    torch.manual_seed(0)
    transformer = build("tiny", num_layers=1, ffn_dim=64, audio_in_dim=160)
    with torch.no_grad():
        for parameter in transformer.parameters():  # also those that start at zero
            parameter.add_(0.02 * torch.randn_like(parameter))
    made = {
        "fps": 25.0,
        "window_latents": 5,
        "height": 32,
        "width": 48,
        "preset": "tiny",
        "audio": EncoderFacts.of(LogMelAudio()),
        "text": EncoderFacts.of(HashedText()),
    }
    return ModelFolder(transformer, LinearCodec.fit([wave_video()]), ModelFacts(**{**made, **facts}))

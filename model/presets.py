"""This module has the sizes in which the transformer comes: ``tiny`` for a laptop, the two public image-to-video sizes.

``1.3B`` is SkyReels-V2-I2V-1.3B, ``14B`` SkyReels-V2-I2V-14B and Wan2.1-I2V-14B (the numbers of their published
configs); both with the branch for CLIP's image tokens. Audio keys and values come from 768 channels there; None gives
them the model's full width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from model.errors import ModelError
from model.transformer import AudioWanTransformer


@dataclass(frozen=True)
class Preset:
    """Is a named size of the transformer.

    Attributes:
        name: as users write it.
        about: in words, with the public checkpoints of this size.
        config: arguments of ``AudioWanTransformer``.
    """

    name: str
    about: str
    config: Mapping[str, Any]


_IMAGE_TO_VIDEO = {
    "attention_head_dim": 128,
    "in_channels": 36,  # 16 noisy + 4 mask + 16 condition
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "image_dim": 1280,
    "audio_in_dim": 1280,  # Whisper large
    "audio_dim": 768,
}

_TINY = {
    "num_layers": 4,
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "ffn_dim": 512,
    "in_channels": 52,  # 24 noisy + 4 mask + 24 condition: the linear codec's
    "out_channels": 24,
    "text_dim": 32,
    "freq_dim": 64,
    "audio_in_dim": 512,  # Whisper base
}

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset("tiny", "trains on a CPU in minutes; no public base", MappingProxyType(_TINY)),
            Preset(
                "1.3B",
                "SkyReels-V2-I2V-1.3B-540P",
                MappingProxyType(
                    {
                        **_IMAGE_TO_VIDEO,
                        "num_layers": 30,
                        "num_attention_heads": 12,
                        "ffn_dim": 8960,
                        "added_kv_proj_dim": 1536,
                    }
                ),
            ),
            Preset(
                "14B",
                "SkyReels-V2-I2V-14B-540P, Wan2.1-I2V-14B-480P and -720P",
                MappingProxyType(
                    {
                        **_IMAGE_TO_VIDEO,
                        "num_layers": 40,
                        "num_attention_heads": 40,
                        "ffn_dim": 13824,
                        "added_kv_proj_dim": 5120,
                    }
                ),
            ),
        )
    }
)


def preset(name: str) -> Preset:
    """The function returns a preset by its name.

    Raises:
        ModelError: there is none of this name; the message lists those that there are.
    """
    if name not in PRESETS:
        raise ModelError(f"no model preset named {name!r}: there are {', '.join(PRESETS)}")
    return PRESETS[name]


def build(name: str, **overrides: Any) -> AudioWanTransformer:
    """The function makes a transformer of a preset's size with new random weights.

    Args:
        name: of the preset.
        overrides: arguments of ``AudioWanTransformer`` that differ from the preset's.

    Raises:
        ModelError: there is no preset of this name, or no such argument.
    """
    config = {**preset(name).config, **overrides}
    try:
        return AudioWanTransformer(**config)
    except TypeError as error:
        raise ModelError(f"preset {name}: {error}") from error

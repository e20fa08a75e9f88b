"""Whisper's checkpoint format is used with the real vocabulary and window, and tiny random layers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whisper.model import Whisper


@dataclass(frozen=True)
class Dimensions:
    """Has the outer sizes of whisper tiny; large-v3 hears 128 mel bands and knows one more language (Cantonese)."""

    n_mels: int = 80
    n_audio_ctx: int = 1500
    n_audio_state: int = 16
    n_audio_head: int = 2
    n_audio_layer: int = 1
    n_vocab: int = 51_865
    n_text_ctx: int = 448
    n_text_state: int = 16
    n_text_head: int = 2
    n_text_layer: int = 1


LARGE = Dimensions(n_mels=128, n_vocab=51_866)


def tiny_whisper(dimensions: Dimensions) -> Whisper:
    """Make a Whisper of random numbers, the same every time."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(0)
    model = Whisper(ModelDimensions(**asdict(dimensions)))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def save_tiny_whisper(path: Path, dimensions: Dimensions) -> Path:
    """Write a checkpoint as openai-whisper publishes them."""
    import torch

    torch.save({"dims": asdict(dimensions), "model_state_dict": tiny_whisper(dimensions).state_dict()}, path)
    return path

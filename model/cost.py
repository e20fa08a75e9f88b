"""This module says on paper what a model costs: parameters, floating-point operations, memory for training.

Nothing is allocated: parameters are counted on the meta device, the rest is formulas. Tests hold operations against
PyTorch's own counter and activations against what autograd keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from model.transformer import AudioWanTransformer, is_audio_key

# Bytes that autograd keeps per video token and channel of the model's width, in one block in bfloat16 without
# torch.compile: norms and their inputs are float32 (4), linear layers' inputs and attention's in- and outputs 2.
_SELF_ATTENTION, _TEXT_ATTENTION, _IMAGE_ATTENTION, _AUDIO_ATTENTION, _FEED_FORWARD = 36, 20, 2, 18, 14
_HIDDEN_BYTES = 4  # per channel of the feed-forward layer: before and after GELU
_CONTEXT_BYTES = 12  # per channel of the width, for each token that gives keys and values: norm 8, key 2, value 2
_STATE_BYTES = 2  # a token between blocks, per channel


@dataclass(frozen=True)
class Size:
    """Is the size of one sample in tokens.

    Attributes:
        video: video tokens: latents x h x w / 4.
        audio: audio tokens; 0 leaves the branch out.
        text: text tokens.
        image: tokens of CLIP's image encoder; 0 without an image branch.
    """

    video: int
    audio: int
    text: int = 512
    image: int = 257


def size_of(config: Mapping[str, Any], latents: int, height: int, width: int, *, audio: int, text: int = 512) -> Size:
    """The function returns the size of a sample of ``latents`` frames of ``height`` x ``width`` latent cells."""
    t, h, w = config.get("patch_size", (1, 2, 2))
    video = (latents // t) * (height // h) * (width // w)
    return Size(video, audio, text, 257 if config.get("image_dim") else 0)


@dataclass(frozen=True)
class Parameters:
    """Counts parameters: those that the base has, and those that hearing adds."""

    base: int
    audio: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.base + self.audio


def parameters(config: Mapping[str, Any]) -> Parameters:
    """The function counts the parameters of a model with this config, without memory for them."""
    with torch.device("meta"):
        named = AudioWanTransformer(**config).named_parameters()
    counts = [(is_audio_key(name), parameter.numel()) for name, parameter in named]
    return Parameters(*(sum(count for is_audio, count in counts if is_audio == part) for part in (False, True)))


@dataclass(frozen=True)
class Flops:
    """Counts floating-point operations (a multiplication and an addition are two).

    Attributes:
        base_linear: matrix products with weights that the base has.
        base_attention: scores and weighted sums of self-, text and image attention.
        audio_linear: matrix products with the audio branch's weights.
        audio_attention: scores and weighted sums of audio attention.
    """

    base_linear: int
    base_attention: int
    audio_linear: int
    audio_attention: int

    @property
    def base(self) -> int:
        """What the base alone does."""
        return self.base_linear + self.base_attention

    @property
    def audio(self) -> int:
        """What hearing adds."""
        return self.audio_linear + self.audio_attention

    @property
    def total(self) -> int:
        """All of it."""
        return self.base + self.audio

    def step(self, *, audio_only: bool = False, recompute: bool = False) -> int:
        """The method returns the operations of a training step: forward, and backward for inputs and weights.

        Backward repeats each matrix product twice: once for its inputs, once for its weights (not where they are
        frozen); both factors of attention are inputs, so it always counts twice.

        Args:
            audio_only: only the audio branch has gradients of weights. The first block is counted as the others are,
                though nothing flows below its audio branch.
            recompute: gradient checkpointing computes each forward twice; what lies outside the blocks, which it does
                not, is counted too (a hundredth at the preset ``tiny``). Leave it False for MFU, which counts useful
                work only (PaLM, appendix B).
        """
        linear = self.base_linear + self.audio_linear
        weights = self.audio_linear if audio_only else linear
        backward = linear + weights + 2 * (self.base_attention + self.audio_attention)
        return self.total * (2 if recompute else 1) + backward


def forward_flops(config: Mapping[str, Any], size: Size) -> Flops:
    """The function returns the operations of one forward pass for one sample, without norms and activations.

    Args:
        config: of ``AudioWanTransformer``.
        size: of the sample.
    """
    c = _Widths.of(config)
    s, t, i, a, d = size.video, size.text, size.image, size.audio, c.dim
    linear = 8 * s * d * d  # self-attention: Q, K, V, output
    linear += 4 * s * d * d + 4 * t * d * d + 4 * i * c.image_keys * d  # text: Q, output; K, V of text and image
    linear += 4 * s * d * c.hidden  # feed-forward
    ends = 2 * s * d * c.patch * (c.inputs + c.outputs)  # first and last layer
    ends += 2 * (c.frequencies * d + 7 * d * d)  # noise level: two layers, and the modulation's six rows
    ends += 2 * t * (c.text * d + d * d) + 2 * i * (c.image * c.image + c.image * d)
    attention = 4 * s * s * d + 4 * s * t * d + 4 * s * i * d
    if not a:
        return Flops(c.layers * linear + ends, c.layers * attention, 0, 0)
    audio_linear = c.layers * (4 * s * d * d + 4 * a * c.audio * d) + 2 * a * (c.audio_in * c.audio + c.audio**2)
    return Flops(c.layers * linear + ends, c.layers * attention, audio_linear, c.layers * 4 * s * a * d)


@dataclass(frozen=True)
class Memory:
    """Is the memory of training in bytes, all processes together; FSDP shares out all but the activations.

    Attributes:
        weights: float32 (the master copy) of what is trained, bfloat16 of what is frozen.
        gradients: float32, of what is trained.
        moments: AdamW's two, float32.
        ema: float32 averages of what is trained; 0 without.
        activations: of one sample, on the process that computes it.
    """

    weights: int
    gradients: int
    moments: int
    ema: int
    activations: int

    @property
    def total(self) -> int:
        """All of it, with one sample in the works."""
        return self.weights + self.gradients + self.moments + self.ema + self.activations


def training_memory(
    config: Mapping[str, Any], size: Size, *, audio_only: bool = False, ema: bool = True, checkpointing: bool = True
) -> Memory:
    """The function returns what training needs on paper.

    Args:
        config: of ``AudioWanTransformer``.
        size: of the sample.
        audio_only: the base is frozen.
        ema: averages of the weights are kept.
        checkpointing: only the tokens between blocks are kept, and each block is computed again in backward.
    """
    count = parameters(config)
    trained = count.audio if audio_only else count.total
    return Memory(
        weights=4 * trained + 2 * (count.total - trained),
        gradients=4 * trained,
        moments=8 * trained,
        ema=4 * trained if ema else 0,
        activations=activations(config, size, checkpointing=checkpointing),
    )


def activations(config: Mapping[str, Any], size: Size, *, checkpointing: bool) -> int:
    """The function returns the bytes that autograd keeps of all blocks for one sample in bfloat16, if all is trained.

    With checkpointing that is the tokens between blocks, and everything of the one block that is in the works.
    """
    c = _Widths.of(config)
    width = _SELF_ATTENTION + _TEXT_ATTENTION + _FEED_FORWARD
    width += _IMAGE_ATTENTION if size.image else 0
    width += _AUDIO_ATTENTION if size.audio else 0
    block = size.video * (width * c.dim + _HIDDEN_BYTES * c.hidden)
    block += (size.text + size.image + size.audio) * _CONTEXT_BYTES * c.dim
    if not checkpointing:
        return c.layers * block
    return c.layers * size.video * _STATE_BYTES * c.dim + block


@dataclass(frozen=True)
class _Widths:
    """Holds the widths of a config's layers."""

    layers: int
    dim: int
    hidden: int
    patch: int
    inputs: int
    outputs: int
    text: int
    frequencies: int
    image: int
    image_keys: int
    audio_in: int
    audio: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> _Widths:
        t, h, w = config.get("patch_size", (1, 2, 2))
        dim = config["num_attention_heads"] * config["attention_head_dim"]
        return cls(
            layers=config["num_layers"],
            dim=dim,
            hidden=config["ffn_dim"],
            patch=t * h * w,
            inputs=config["in_channels"],
            outputs=config["out_channels"],
            text=config["text_dim"],
            frequencies=config["freq_dim"],
            image=config.get("image_dim") or 0,
            image_keys=config.get("added_kv_proj_dim") or 0,
            audio_in=config["audio_in_dim"],
            audio=config.get("audio_dim") or dim,
        )

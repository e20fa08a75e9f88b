"""This module turns captions into what the transformer's text attention reads.

``Umt5Text`` is the text encoder of Wan and SkyReels-V2. ``HashedText`` needs no weights: each word is a fixed random
direction, so that captions differ and nothing of their meaning is known. It is for the preset ``tiny``.
"""

from __future__ import annotations

import hashlib
import html
import re
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from model.digests import content_digest
from model.errors import ModelError

_WORD = re.compile(r"\w+")
_WAN_LENGTH = 512  #: tokens that Wan's text attention reads (max_sequence_length of WanImageToVideoPipeline)


class TextEncoder(Protocol):
    """Encodes captions.

    Attributes:
        name: kind of encoder: ``umt5`` or ``hashed``.
        width: numbers per token.
        length: tokens per caption; shorter ones end in zeros, longer ones are cut.
        digest: sha256 of everything that changes its numbers.
    """

    @property
    def name(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def length(self) -> int: ...

    @property
    def digest(self) -> str: ...

    def encode(self, captions: list[str]) -> Tensor:
        """Captions become tokens: float32 [B, length, width]. The null text is the empty caption."""
        ...


class HashedText:
    """Gives each word a fixed random unit vector: a stand-in that knows words apart, and no meaning.

    Case and punctuation do not count. An empty caption is all zeros.
    """

    name = "hashed"

    def __init__(self, width: int = 32, length: int = 16) -> None:
        """Width and length are chosen; see ``TextEncoder``."""
        self.width, self.length = width, length

    @cached_property
    def digest(self) -> str:
        """Its digest names the formula and the sizes."""
        return content_digest(self.name, {"width": self.width, "length": self.length, "version": 1})

    def encode(self, captions: list[str]) -> Tensor:
        """Captions become tokens: see ``TextEncoder``."""
        tokens = torch.zeros(len(captions), self.length, self.width)
        for row, caption in enumerate(captions):
            for place, word in enumerate(_WORD.findall(caption.lower())[: self.length]):
                tokens[row, place] = _direction(word, self.width)
        return tokens


def _direction(word: str, width: int) -> Tensor:
    """A word's unit vector comes from its SHAKE-256, so it is the same on every machine and for ever."""
    numbers = np.frombuffer(hashlib.shake_256(word.encode()).digest(4 * width), "<u4")
    vector = torch.from_numpy(numbers / 2**31 - 1)  # uniform in -1..1
    return (vector / vector.norm()).float()


class Umt5Text:
    """Encodes captions as Wan does, with UMT5 (XXL for the public models: 5.7 B parameters, 4096 wide)."""

    name = "umt5"

    def __init__(self, folder: Path, length: int = _WAN_LENGTH) -> None:
        """The encoder is loaded, with its tokenizer.

        Args:
            folder: of a Wan or SkyReels-V2 model in diffusers' form, with ``text_encoder`` and ``tokenizer`` in it.
            length: tokens per caption; Wan was trained with 512.

        Raises:
            ModelError: a part is missing, or there are no safetensors (a pickled file is never opened).
        """
        from transformers import AutoTokenizer, UMT5EncoderModel

        for part in ("text_encoder", "tokenizer"):
            if not (folder / part).is_dir():
                raise ModelError(f"{folder} has no folder {part}: give the folder of a Wan model in diffusers' form")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
            model = UMT5EncoderModel.from_pretrained(
                folder / "text_encoder", local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{folder} holds no UMT5 encoder in safetensors: {reason}") from error
        self._model = model.eval().requires_grad_(False)
        self.width, self.length = model.config.d_model, length

    @cached_property
    def digest(self) -> str:
        """Its digest is that of all weights, the tokenizer's words and the length."""
        words = hashlib.sha256(repr(sorted(self._tokenizer.get_vocab().items())).encode()).hexdigest()
        return content_digest(self.name, {"length": self.length, "words": words}, self._model.state_dict())

    def to(self, device: torch.device | str) -> Umt5Text:
        """The encoder moves to ``device``."""
        self._model.to(device)
        return self

    @torch.no_grad()
    def encode(self, captions: list[str]) -> Tensor:
        """Captions become tokens on the CPU: see ``TextEncoder``. What is behind a caption's end is zero, as in Wan."""
        read = self._tokenizer(
            [_clean(caption) for caption in captions],
            padding="max_length",
            max_length=self.length,
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self._model.device)
        states = self._model(read.input_ids, read.attention_mask).last_hidden_state
        return (states * read.attention_mask.unsqueeze(-1)).float().cpu()


def _clean(caption: str) -> str:
    """A caption as Wan's pipeline cleans it: HTML's escapes resolved, white space made single.

    The pipeline also runs ``ftfy``, which mends wrongly decoded text; captions here are UTF-8 from the start.
    """
    return " ".join(html.unescape(html.unescape(caption)).split())

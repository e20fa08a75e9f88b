"""A model's words about quality become a number, by the scoring of Q-Align (arXiv 2312.17090, section 3.2).

The model is shown a picture, asked how it would rate it, and made to begin its answer with "The quality of the image
is". Its next word decides: softmax over the logits of the five levels excellent, good, fair, poor, bad, and the score
is the mean of 5, 4, 3, 2, 1 under these probabilities. The logits of all other words are left out.

The scoring is the same for every model; the numbers are not. Q-Align's published weights (OneAlign) are a mPLUG-Owl2,
whose code transformers does not have: running it would mean running code out of a downloaded folder
(``trust_remote_code``), which this package does not do. So any image-text-to-text model of transformers' own can name
the levels. Only a model that was fitted to people's ratings in these words gives Q-Align-like numbers; a general one
gives an opinion. The model's sha256 is in the fingerprint. Q-Align pads pictures to squares; here the model's own
processor decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from catalogs.errors import UserError
from weights.inspection import checkpoint

WHAT = "an image-and-text model"  #: name of the model in messages
LEVELS = (("excellent", 5.0), ("good", 4.0), ("fair", 3.0), ("poor", 2.0), ("bad", 1.0))


@dataclass(frozen=True)
class Rating:
    """Holds the ratings of one picture, 1-5 each."""

    quality: float
    aesthetics: float


class LevelModel:
    """Rates pictures with an image-and-text model.

    Args:
        folder: a transformers checkpoint; only safetensors are read, no code is run from it, nothing is downloaded.

    Raises:
        UserError: the folder holds another model or a damaged one, or two of the levels begin with the same token in
            its vocabulary.
    """

    def __init__(self, folder: Path) -> None:
        import torch

        inspect(folder)
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if self._device == "cuda" else torch.float32
        self._processor = checkpoint.load_processor(folder, WHAT)
        self._model = checkpoint.load_model(folder, dtype, WHAT).to(self._device).eval()
        self._tokens = _level_tokens(self._processor)

    def rate(self, rgb: np.ndarray, max_side: int = 768) -> Rating:
        """Rate a picture, uint8 [H, W, 3] RGB."""
        return Rating(
            self._score(rgb, max_side, "quality", "The quality of the image is"),
            self._score(rgb, max_side, "aesthetics", "The aesthetics of the image is"),
        )

    def _score(self, rgb: np.ndarray, max_side: int, what: str, beginning: str) -> float:
        logits = self.next_logits(rgb, max_side, f"How would you rate the {what} of this image?", beginning)
        return expected_level(logits[self._tokens])

    def next_logits(self, rgb: np.ndarray, max_side: int, question: str, beginning: str) -> np.ndarray:
        """Return the logits of the token after ``beginning``, float64 [vocabulary]."""
        asked = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        text = self._processor.apply_chat_template([asked], tokenize=False, add_generation_prompt=True) + beginning
        inputs = self._processor(text=[text], images=[_shrunk(rgb, max_side)], return_tensors="pt").to(self._device)
        with self._torch.inference_mode():
            logits = self._model(**inputs).logits[0, -1]
        return logits.double().cpu().numpy()


def inspect(folder: Path) -> None:
    """Raise UserError if ``folder`` holds no model that can name the levels; its weights are not read."""
    checkpoint.inspect(folder, WHAT)
    tokens = _level_tokens(checkpoint.load_processor(folder, WHAT))
    if len(set(tokens)) < len(LEVELS):
        raise UserError(f"video_quality: {folder}: two levels of quality begin with the same token")


def _level_tokens(processor: Any) -> list[int]:
    """Return, for each level, the first token of its name inside a sentence."""
    encode = processor.tokenizer.encode
    beginning = encode("image is", add_special_tokens=False)
    return [int(encode(f"image is {level}", add_special_tokens=False)[len(beginning)]) for level, _ in LEVELS]


def expected_level(logits: np.ndarray) -> float:
    """Return the mean of 5, 4, 3, 2, 1 under the softmax of the levels' logits, float64 [5]."""
    shares = np.exp(logits - logits.max())
    return float(shares @ [value for _, value in LEVELS] / shares.sum())


def _shrunk(rgb: np.ndarray, max_side: int) -> np.ndarray:
    scale = max_side / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    return cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)

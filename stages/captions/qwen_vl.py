"""Qwen2.5-VL runs in this process, through transformers: for a machine with a GPU and no server.

SkyCaptioner-V1 is such a model (Qwen2.5-VL-7B-Instruct, fine-tuned; about 16 GB in half precision). The pictures go in
as one video of 2 pictures a second, as in SkyCaptioner-V1's own script. Answers are the most probable tokens (no
sampling), so the same clip gets the same caption. A server (stages/captions/chat.py) batches the questions of many
workers and is faster.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stages.captions.chat import Answer
from weights.inspection import checkpoint

VIDEO_FPS = 2.0
WHAT, FAMILY = "Qwen2.5-VL", "qwen2_5_vl"  #: names of the model in messages and in config.json


class QwenVL:
    """Answers questions about pictures.

    Args:
        folder: written by ``save_pretrained``; only safetensors are read, no code is run from it, nothing is
            downloaded.

    Raises:
        UserError: the folder holds another model, or a damaged one.
    """

    def __init__(self, folder: Path, max_tokens: int = 2048) -> None:
        import torch

        inspect(folder)
        self._torch, self._max_tokens = torch, max_tokens
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        # Half precision has no fast kernels on a CPU, where only tests run the model.
        dtype = torch.bfloat16 if self._device == "cuda" else torch.float32
        self._processor = checkpoint.load_processor(folder, WHAT)
        self._model = checkpoint.load_model(folder, dtype, WHAT).to(self._device).eval()

    def ask(self, pictures: list[np.ndarray], question: str, turns: list[dict[str, Any]]) -> Answer:
        """Answer the question about ``pictures`` (uint8 [H, W, 3] RGB, one size), or the last of the ``turns`` after
        it.
        """
        inputs = self.inputs(pictures, question, turns)
        with self._torch.inference_mode():
            said = self._model.generate(**inputs, max_new_tokens=self._max_tokens, do_sample=False)
        new = said[0, inputs["input_ids"].shape[1] :]
        text = self._processor.decode(new, skip_special_tokens=True)
        return Answer(text, is_complete=len(new) < self._max_tokens)

    def inputs(self, pictures: list[np.ndarray], question: str, turns: list[dict[str, Any]]) -> Any:
        """Make the network's inputs, on its device."""
        asked = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}
        said = [{"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
        text = self._processor.apply_chat_template([asked, *said], tokenize=False, add_generation_prompt=True)
        video = self._torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)  # [T, 3, H, W]
        inputs = self._processor(
            text=[text], videos=[video], do_sample_frames=False, fps=VIDEO_FPS, return_tensors="pt"
        )
        return inputs.to(self._device)


def inspect(folder: Path) -> None:
    """Raise UserError if ``folder`` holds no Qwen2.5-VL; its weights are not read, only their headers."""
    checkpoint.inspect(folder, WHAT, FAMILY)
    checkpoint.load_processor(folder, WHAT)

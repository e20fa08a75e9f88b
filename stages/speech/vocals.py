"""Hybrid Transformer Demucs (arXiv 2211.08553, MIT) splits sound into voices and everything else, 44.1 kHz stereo.

The checkpoint is demucs's own package format: a pickle with the network's class, its arguments and its weights.
demucs itself unpickles it after comparing eight hex digits of the hash. Here the registry compares all 64, and the
pickle may name nothing but that class and ``Fraction`` (torch's ``weights_only`` with these two allowed), so that not
even a file with the wrong hash could run code.
"""

from __future__ import annotations

from fractions import Fraction
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.speech.speech_split import SplitSound
from weights.inspection import torch_file

if TYPE_CHECKING:
    import torch

WHAT = "Demucs for vocals (HTDemucs)"  #: name of the model in messages
SAMPLE_RATE = 44_100
OVERLAP = 0.25  #: share of a segment that overlaps the next one, demucs's own default


class VocalSplitter:
    """Splits stereo sound into voices and the rest; ``path`` comes from the registry, which checked its hash.

    Raises:
        UserError: the file holds no HTDemucs for voices at 44.1 kHz, or names anything beyond what is allowed.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        import torch
        from demucs.apply import apply_model

        self._torch, self._apply, self._device = torch, apply_model, device
        self._model = _load(path, "cpu").to(device).eval()

    def split(self, stereo44k: np.ndarray) -> SplitSound:
        """Split ``stereo44k`` (float32 [2, N], N > 0) into voices and the rest, float32 [2, N] each, which add up to
        it.

        Loudness is normalised before and restored after, as demucs's own program does. Its random shifts are off, so
        the same sound gets the same answer.
        """
        sound = self._torch.from_numpy(np.ascontiguousarray(stereo44k, np.float32)).to(self._device)
        mix = sound.mean(dim=0)
        mean, deviation = mix.mean(), mix.std(unbiased=False) + 1e-8
        with self._torch.inference_mode():
            found = self._apply(
                self._model, ((sound - mean) / deviation)[None], shifts=0, split=True, overlap=OVERLAP, progress=False
            )
        voices = (found[0, self._model.sources.index("vocals")] * deviation + mean).cpu().numpy()
        return SplitSound(voices, stereo44k - voices)


def inspect(path: Path) -> None:
    """Raise UserError if ``path`` holds no Demucs for voices; code in the file is not run."""
    _load(path, "meta")


def _load(path: Path, device: str) -> Any:
    """Load the network; on the device ``meta`` it has names and shapes without memory."""
    import torch
    from demucs.htdemucs import HTDemucs

    package = torch_file.read(path, WHAT, (HTDemucs, Fraction))
    known = signature(HTDemucs).parameters  # demucs drops arguments that its newer versions lost
    try:
        if package["klass"] is not HTDemucs:
            raise TypeError(f"its class is {package['klass']!r}")
        with torch.device(device):
            model = HTDemucs(*package["args"], **{name: v for name, v in package["kwargs"].items() if name in known})
        state = package["state"]
    except Exception as error:  # a foreign file's values raise errors of any kind
        raise torch_file.wrong_content(path, WHAT, repr(error)) from error
    if "vocals" not in model.sources or model.samplerate != SAMPLE_RATE:
        told = f"{model.sources} at {model.samplerate} Hz"
        raise torch_file.wrong_content(path, WHAT, f"expected a source 'vocals' at {SAMPLE_RATE} Hz, got {told}")
    torch_file.fill(model, state, path, WHAT)  # stored in half precision, copied into float32
    return model

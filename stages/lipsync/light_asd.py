"""Light-ASD says which faces talk (Liao et al., CVPR 2023); here its two encoders can also be read separately.

Each encoder has three blocks, and each block adds a branch of 3-wide and one of 5-wide convolutions, split into space
(or frequency) and time. The sum of both encodings runs through two recurrent layers for the talking score; the layer
``lossV`` reads a talking logit from the picture alone. Parameter names are those of the published files.

Source: the paper, section 3, and the public repository Junhua-Liao/Light-ASD (``model/``; MIT).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from weights.inspection import torch_file

WHAT = "Light-ASD"  #: name of the model in messages
WIDTH = 128  #: channels of every encoding
CROP = 112  #: pixels
GREY_MEAN, GREY_STD = 0.4161, 0.1688  # mean and deviation of the training crops, 0..1 (Model.py)
BATCH_NORM_EPS = 1e-3  # Encoder.py
CHUNK, MARGIN = 64, 6  # frames per pass and its overlap: three blocks look 2 frames to each side


class Branches(nn.Module):
    """A block has a 3-wide and a 5-wide branch, each first across (space or frequency), then along time; both are
    added.

    Args:
        name: what the first layers look across, and the prefix of their parameters: ``s`` (space, pictures: 3D layers)
            or ``m`` (mel, sound: 2D layers).
        n_in, n_out: channels.
        stride: stride of the first layers, in space.
    """

    def __init__(self, name: str, n_in: int, n_out: int, stride: int = 1):
        super().__init__()
        self.name, self._is_picture = name, name == "s"
        for width in (3, 5):
            self._add(f"{name}_{width}", n_in, n_out, self._across(width), stride)
            self._add(f"t_{width}", n_out, n_out, self._along(width))
        self._add("last", n_out, n_out, (1, 1, 1) if self._is_picture else (1, 1))

    def _across(self, width: int) -> tuple[int, ...]:
        return (1, width, width) if self._is_picture else (width, 1)

    def _along(self, width: int) -> tuple[int, ...]:
        return (width, 1, 1) if self._is_picture else (1, width)

    def _add(self, name: str, n_in: int, n_out: int, kernel: tuple[int, ...], stride: int = 1) -> None:
        conv: Any = nn.Conv3d if self._is_picture else nn.Conv2d
        norm = nn.BatchNorm3d if self._is_picture else nn.BatchNorm2d
        strides = tuple(stride if size > 1 else 1 for size in kernel)
        padding = tuple(size // 2 for size in kernel)
        self.add_module(name, conv(n_in, n_out, kernel, strides, padding, bias=False))
        self.add_module(f"bn_{name}", norm(n_out, eps=BATCH_NORM_EPS))

    def _layer(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.relu(getattr(self, f"bn_{name}")(getattr(self, name)(x)), inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [self._layer(f"t_{width}", self._layer(f"{self.name}_{width}", x)) for width in (3, 5)]
        return self._layer("last", branches[0] + branches[1])

    def fuse(self) -> None:
        """Fold each batch norm into its convolution: the same numbers with a third less memory traffic."""
        for name, module in list(self.named_children()):
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                setattr(self, name, fuse_conv_bn_eval(module, getattr(self, f"bn_{name}")))
                setattr(self, f"bn_{name}", nn.Identity())


class VisualEncoder(nn.Module):
    """Encodes grey face crops [B, 1, T, 112, 112] to [B, T, 128]."""

    def __init__(self) -> None:
        super().__init__()
        self.block1 = Branches("s", 1, 32, stride=2)
        self.block2 = Branches("s", 32, 64)
        self.block3 = Branches("s", 64, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block2(_halve_space(self.block1(x)))
        return self.block3(_halve_space(x)).amax(dim=(3, 4)).transpose(1, 2)


class AudioEncoder(nn.Module):
    """Encodes cepstra [B, 1, 13, 4 T] to [B, T, 128]."""

    def __init__(self) -> None:
        super().__init__()
        self.block1 = Branches("m", 1, 32)
        self.block2 = Branches("m", 32, 64)
        self.block3 = Branches("m", 64, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block2(_halve_time(self.block1(x)))
        return self.block3(_halve_time(x)).mean(dim=2).transpose(1, 2)


def _halve_space(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))


def _halve_time(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, (1, 3), (1, 2), (0, 1))


class Recurrence(nn.Module):
    """Runs a layer forward in time, then one backward over its output."""

    def __init__(self) -> None:
        super().__init__()
        self.gru_forward = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.gru_backward = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.gru_forward(x)[0]).flip(1)
        return F.gelu(self.gru_backward(x)[0].flip(1))


class Encoders(nn.Module):
    """Holds the encoders and the layer that joins them, under their published names."""

    def __init__(self) -> None:
        super().__init__()
        self.visualEncoder = VisualEncoder()
        self.audioEncoder = AudioEncoder()
        self.GRU = Recurrence()


class Head(nn.Module):
    """Computes the logits of silent and talking."""

    def __init__(self) -> None:
        super().__init__()
        self.FC = nn.Linear(WIDTH, 2)


class Network(nn.Module):
    """Holds the layers under their published names."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Encoders()
        self.lossAV, self.lossV = Head(), Head()


class LightAsd:
    """Runs the encoders and the scores over them; without a path the weights are random (tests of shapes).

    Raises:
        UserError: the file does not hold Light-ASD's parameters.
    """

    def __init__(self, path: Path | None):
        torch.set_num_threads(1)  # one worker per core
        network = Network()
        if path is not None:
            _load(network, path)
        network.eval().requires_grad_(False)
        for module in network.modules():
            if isinstance(module, Branches):
                module.fuse()
        self._network = network

    @torch.inference_mode()
    def encode_picture(self, crops: np.ndarray) -> np.ndarray:
        """Encode grey crops uint8 [T, 112, 112], cut as :func:`stages.lipsync.tracks.asd_crops` does, to float32 [T,
        128].

        It works in chunks that overlap by the encoder's reach: the numbers of a single pass, in bounded memory.
        """
        total, parts = len(crops), []
        for start in range(0, total, CHUNK):
            low, high = max(0, start - MARGIN), min(total, start + CHUNK + MARGIN)
            chunk = torch.from_numpy(crops[None, None, low:high]).float()
            encoded = self._network.model.visualEncoder((chunk / 255 - GREY_MEAN) / GREY_STD)
            parts.append(encoded[0, start - low : min(start + CHUNK, total) - low])
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def encode_sound(self, cepstra: np.ndarray) -> np.ndarray:
        """Encode cepstra float32 [4 T, 13], :func:`stages.lipsync.mfcc.mfcc` of the same time, to float32 [T, 128]."""
        return self._network.model.audioEncoder(torch.from_numpy(cepstra.T[None, None].copy()))[0].numpy()

    @torch.inference_mode()
    def picture_logit(self, visual: np.ndarray) -> np.ndarray:
        """Return the talking logit by the picture alone, float32 [T]: > 0 looks like talking."""
        return self._network.lossV.FC(torch.from_numpy(visual))[:, 1].numpy()

    @torch.inference_mode()
    def talking_logit(self, visual: np.ndarray, audio: np.ndarray) -> np.ndarray:
        """Return the talking logit by picture and sound, float32 [T]: > 0 talks. It says nothing about sync."""
        both = torch.from_numpy(visual + audio)[None]
        return self._network.lossAV.FC(self._network.model.GRU(both))[0, :, 1].numpy()


def inspect(path: Path) -> None:
    """Raise UserError if ``path`` does not hold Light-ASD; code in the file is not run."""
    with torch.device("meta"):
        network = Network()
    _load(network, path)


def _load(network: Network, path: Path) -> None:
    torch_file.fill(network, torch_file.read(path, WHAT), path, WHAT)

"""SyncNet's two streams map 0.2 s of a face and 0.2 s of sound to 1024 numbers each, close if they belong together.

Layers and parameter names are those of the published ``syncnet_v2.model`` (88 tensors, 13.6 M parameters, of a PyTorch
before 0.4.1). Source: "Out of time: automated lip sync in the wild", section 2, and ``SyncNetModel.py`` of the public
repository joonson/syncnet_python (MIT).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from weights.inspection import torch_file

WHAT = "SyncNet"  #: name of the model in messages
WIDTH = 1024  #: numbers in each of the two embeddings
WINDOW = 5  #: pictures of one embedding, 0.2 s
CROP = 224  #: pixels
N_CEPSTRA, CEPSTRA_PER_WINDOW = 13, 20
BATCH = {"cpu": 8, "cuda": 128}  #: windows a pass; conv1 alone makes 4.6 MB of each


class Network(nn.Module):
    """Holds the layers under their published names."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_layer2d(1, 64, 3, padding=1),
            nn.Identity(),  # published as a pool of 1 x 1; it keeps the numbering of the layers
            *_layer2d(64, 192, 3, padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_layer2d(192, 384, 3, padding=1),
            *_layer2d(384, 256, 3, padding=1),
            *_layer2d(256, 256, 3, padding=1),
            nn.MaxPool2d(3, 2),
            *_layer2d(256, 512, (5, 4)),
        )
        self.netfcaud = _head()
        self.netcnnlip = nn.Sequential(
            *_layer3d(3, 96, (WINDOW, 7, 7), stride=2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_layer3d(96, 256, (1, 5, 5), stride=2, padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_layer3d(256, 256, (1, 3, 3), padding=1),
            *_layer3d(256, 256, (1, 3, 3), padding=1),
            *_layer3d(256, 256, (1, 3, 3), padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_layer3d(256, 512, (1, 6, 6)),
        )
        self.netfclip = _head()

    def encode_picture(self, x: torch.Tensor) -> torch.Tensor:
        """Encode [1, 3, T, 224, 224] BGR 0..255 to [T - 4, 1024].

        Only the first layer looks along time, so all windows of a stretch of pictures take one pass.
        """
        return self.netfclip(self.netcnnlip(x)[0, :, :, 0, 0].T)

    def encode_sound(self, x: torch.Tensor) -> torch.Tensor:
        """Encode cepstra [B, 1, 13, 20] to [B, 1024]."""
        return self.netfcaud(self.netcnnaud(x).flatten(1))

    def fuse(self) -> None:
        """Fold each batch norm into the convolution before it: the same numbers with less memory traffic."""
        for stream in (self.netcnnaud, self.netcnnlip):
            for i, (conv, norm) in enumerate(pairwise(stream)):
                if isinstance(conv, (nn.Conv2d, nn.Conv3d)):
                    assert isinstance(norm, (nn.BatchNorm2d, nn.BatchNorm3d))
                    stream[i], stream[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()


def _layer2d(n_in: int, n_out: int, kernel: Any, padding: int = 0) -> tuple[nn.Module, ...]:
    return nn.Conv2d(n_in, n_out, kernel, padding=padding), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)


def _layer3d(
    n_in: int, n_out: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0
) -> tuple[nn.Module, ...]:
    """Make a 3D layer; ``stride`` and ``padding`` are in space."""
    conv = nn.Conv3d(n_in, n_out, kernel, (1, stride, stride), (0, padding, padding))
    return conv, nn.BatchNorm3d(n_out), nn.ReLU(inplace=True)


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, WIDTH))


class SyncNet:
    """Runs both encoders on numpy arrays.

    Raises:
        UserError: the file does not hold SyncNet's parameters.
    """

    def __init__(self, path: Path, device: torch.device):
        if device.type == "cpu":
            torch.set_num_threads(1)  # one worker per core
        network = Network()
        _load(network, path)
        network.eval().requires_grad_(False)
        network.fuse()
        self._network = network.to(device)
        self._device, self._batch = device, BATCH[device.type]

    def encode_picture(self, crops: np.ndarray) -> np.ndarray:
        """Encode crops uint8 [T, 224, 224, 3] BGR to float32 [T - 4, 1024]; row k is of pictures k to k + 4."""
        n, parts = len(crops) - WINDOW + 1, []
        for start in range(0, n, self._batch):
            stretch = self._put(crops[start : min(n, start + self._batch) + WINDOW - 1])
            parts.append(self._run(self._network.encode_picture, stretch.permute(3, 0, 1, 2)[None]))
        return np.concatenate(parts)

    def encode_sound(self, cepstra: np.ndarray) -> np.ndarray:
        """Encode cepstra float32 [B, 13, 20] to float32 [B, 1024]."""
        parts = []
        for start in range(0, len(cepstra), self._batch):
            windows = self._put(cepstra[start : start + self._batch])
            parts.append(self._run(self._network.encode_sound, windows[:, None]))
        return np.concatenate(parts)

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    @torch.inference_mode()
    def _run(self, encode: Any, x: torch.Tensor) -> np.ndarray:
        # TF32, cuDNN's default for convolutions, has 10 bits of mantissa: a GPU would give other numbers than a CPU.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            encoded: np.ndarray = encode(x.float()).cpu().numpy()
        return encoded


def inspect(path: Path) -> None:
    """Raise UserError if ``path`` does not hold SyncNet; code in the file is not run."""
    with torch.device("meta"):
        network = Network()
    _load(network, path)


def _load(network: Network, path: Path) -> None:
    torch_file.fill(network, torch_file.read(path, WHAT), path, WHAT)

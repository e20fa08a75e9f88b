"""These SyncNet files have the published format and weights of our own; pictures and sound are generated too."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stages.lipsync.mfcc import INT16, SAMPLE_RATE
from stages.lipsync.syncnet.frontend import sound_windows
from stages.lipsync.syncnet.network import Network

FPS = 25
#: Deviation and mean of embeddings: zeros, which stand for sound beyond the ends, are then as far from a picture as
#: any other sound.
SPREAD = CENTRE = 0.3
FITTED = 24  #: pictures that networks are fitted to


def save_as_published(network: Network, path: Path) -> Path:
    """Save the parameters as syncnet_v2.model holds them: PyTorch's old container, no num_batches_tracked."""
    state = network.state_dict().items()
    kept = OrderedDict((name, tensor) for name, tensor in state if "num_batches_tracked" not in name)
    torch.save(kept, path, _use_new_zipfile_serialization=False)
    return path


def random_network(picture: np.ndarray, samples: np.ndarray) -> Network:
    """Make a network with random weights, fitted to some input so that embeddings differ from window to window.

    Args:
        picture: uint8 [T, 224, 224, 3] BGR.
        samples: int16 [640 T].
    """
    rng = np.random.default_rng(0)
    network = Network().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            fan_in = module.weight[0].numel()
            draw = rng.standard_normal(module.weight.shape, dtype=np.float32) * np.sqrt(2 / fan_in)
            module.weight.copy_(torch.from_numpy(draw.astype(np.float32)))
            module.bias.zero_()
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            module.momentum = None
    network.train()
    return _fit_heads(network, picture, samples)


def brightness_and_loudness(picture: np.ndarray, samples: np.ndarray) -> Network:
    """Make a network of one number a stream: the brightness of the middle picture's middle, and the loudness then."""
    network = Network().requires_grad_(False).eval()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.zero_()
    for module in network.netcnnlip:
        if isinstance(module, nn.Conv3d):
            module.weight[(0, slice(None), *(size // 2 for size in module.kernel_size))] = 1
            module.bias.zero_()
    for module in network.netcnnaud:
        if isinstance(module, nn.Conv2d):
            # The first cepstrum is the log energy: its row, which the middle of 3 and the top of 5 rows keep.
            rows, columns = module.kernel_size
            module.weight[0, 0, 1 if rows == 3 else 0, columns // 2 if rows == 3 else 1] = 1
            module.bias.zero_()
    for head in (network.netfclip, network.netfcaud):
        for module in (head[0], head[3]):
            module.weight[0, 0] = 1
            module.bias.zero_()
    return _fit_heads(network, picture, samples)


def _fit_heads(network: Network, picture: np.ndarray, samples: np.ndarray) -> Network:
    """Give the numbers that vary in this input a mean of CENTRE and a deviation of SPREAD."""
    windows = sound_windows(samples / INT16, len(picture))[:FITTED]
    seen = network.encode_picture(torch.from_numpy(picture[:FITTED].copy()).permute(3, 0, 1, 2)[None].float())
    heard = network.encode_sound(torch.from_numpy(windows.copy())[:, None])
    for head, embeddings in ((network.netfclip, seen), (network.netfcaud, heard)):
        spread, mean = embeddings.std(dim=0), embeddings.mean(dim=0)
        varies = spread > 1e-6
        scale = SPREAD / spread[varies].mean()
        head[3].bias.copy_(varies * (CENTRE - (mean - head[3].bias) * scale))
        head[3].weight.mul_(scale)
    return network.eval()


def level(at_s: np.ndarray) -> np.ndarray:
    """Return what pictures and sound follow together, 0..1."""
    return 0.5 + 0.25 * np.sin(2 * np.pi * 1.3 * at_s) + 0.25 * np.sin(2 * np.pi * 2.17 * at_s + 1)


def crops(n: int) -> np.ndarray:
    """Make uint8 [n, 224, 224, 3] BGR: a bar that moves up and down while everything grows brighter and darker."""
    bright = level(np.arange(n) / FPS)[:, None, None, None]
    y = np.arange(224)[None, :, None, None]
    bar = np.exp(-(((y - 150 - 30 * bright) / 16) ** 2)) * np.ones((1, 1, 224, 1))
    colour = bar * np.asarray([40, 90, 220]) + (1 - bar) * np.asarray([150, 120, 60])
    return ((0.4 + 0.6 * bright) * colour).round().astype(np.uint8)


def sound(n_frames: int, late_frames: int = 0) -> np.ndarray:
    """Make int16 [640 n]: a buzz and noise as loud as the pictures are bright, some frames after them."""
    t = np.arange(640 * n_frames) / SAMPLE_RATE
    loud = np.exp(2.3 * (level(t - late_frames / FPS) - 1))
    noise = np.random.default_rng(1).standard_normal(len(t))
    return (4000 * loud * (np.sign(np.sin(2 * np.pi * 140 * t)) + 0.3 * noise)).round().astype(np.int16)

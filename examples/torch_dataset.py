"""A small network learns to hear from the clips of a snapshot how much the picture moves, frame by frame.

    python examples/torch_dataset.py my_catalog v1 150      # steps

Both are standardised in each clip, so an error of 1.0 is that of a network that knows nothing. At the end each clip's
motion is also guessed from another clip's sound: a network that has learnt what belongs together is worse then. It is
asked about clips that it has learnt from; for others give ``open_snapshot`` the condition
``md5_number_lower(source_id) % 10 > 0`` for learning and ``md5_number_lower(source_id) % 10 = 0`` for the test.
"""

from __future__ import annotations

import sys
from itertools import islice

import torch
from torch import nn

from catalogs.reading.clips import ClipForm
from catalogs.reading.rows import open_snapshot
from catalogs.reading.torch_clips import ClipStream, TorchClips

RATE = 16_000
FORM = ClipForm(fps=25, frames=50, size=(64, 64), where="random")


def heard(sound: torch.Tensor) -> torch.Tensor:
    """Turn sound, [B, N], into how loud 64 bands up to 5 kHz are in each frame, [B, 64, T]."""
    frames = sound.unflatten(-1, (-1, RATE // 25))
    return standard(torch.fft.rfft(frames).abs()[..., :192].unflatten(-1, (64, 3)).sum(-1).log1p().transpose(1, 2))


def moved(frames: torch.Tensor) -> torch.Tensor:
    """Measure how much each picture, uint8 [B, T, 3, H, W], differs from the one before: [B, T - 1]."""
    return standard(frames.float().diff(dim=1).abs().mean(dim=(2, 3, 4)))


def standard(values: torch.Tensor) -> torch.Tensor:
    return (values - values.mean(-1, keepdim=True)) / (values.std(-1, keepdim=True) + 1e-3)


def learn(catalog: str, snapshot: str, steps: int = 150, workers: int = 2) -> tuple[float, float]:
    """Train; return the mean error with a clip's own sound and with another clip's."""
    clips = TorchClips(open_snapshot(catalog, snapshot, ["clip_id"], where=FORM.condition), FORM, seed=1)
    stream = ClipStream(clips, batch_size=8, tail="next", on_error="replace")
    network = nn.Sequential(nn.Conv1d(64, 32, 9, padding=4), nn.GELU(), nn.Conv1d(32, 1, 9, padding=4), nn.Flatten())
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    errors = []
    for batch in islice(stream.loader(workers), steps):
        sound, motion = heard(batch["sound"]), moved(batch["frames"])
        loss = nn.functional.mse_loss(network(sound)[:, 1:], motion)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            other = nn.functional.mse_loss(network(sound.roll(1, 0))[:, 1:], motion)
        errors.append((loss.item(), other.item()))  # stream.state_dict() is what a checkpoint would keep
    last = torch.tensor(errors[-20:]).mean(0)
    return float(last[0]), float(last[1])


if __name__ == "__main__":
    own, other = learn(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
    print(f"error with its own sound {own:.2f}, with another clip's {other:.2f} (1.00: knows nothing)")

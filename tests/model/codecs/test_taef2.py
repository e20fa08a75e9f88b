"""TAEF2: the published files, on a real portrait; what its statistics do; and files that are something else."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from model.codecs.taef2 import Taef2Codec
from model.errors import ModelError
from tests.support.latent_models import noise_video, random_taef2

NAMES = ("taef2_encoder.pth", "taef2_decoder.pth")


@pytest.fixture(scope="module")
def published() -> Taef2Codec:
    folder = Path(os.environ.get("FUNNEL_WEIGHTS", ""))
    if not all((folder / name).is_file() for name in NAMES):
        pytest.skip("FUNNEL_WEIGHTS has no taef2_encoder.pth and taef2_decoder.pth")
    return Taef2Codec.from_files(*(folder / name for name in NAMES))


def real_video(path: Path, frames: int = 5, size: int = 128) -> Tensor:
    """The first frames of a file, made small by area: float32 [1, 3, F, size, size]."""
    capture, pictures = cv2.VideoCapture(str(path)), []
    for _ in range(frames):
        _, bgr = capture.read()
        pictures.append(cv2.resize(bgr[..., ::-1], (size, size), interpolation=cv2.INTER_AREA))
    return torch.from_numpy(np.stack(pictures)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


@pytest.mark.parametrize(
    ("name", "least_db"), [("liveportrait_d10.mp4", 33), ("liveportrait_d20.mp4", 33), ("musetalk_yongen.mp4", 28)]
)
def test_the_published_weights_bring_real_faces_back(
    published: Taef2Codec, media: Path, name: str, least_db: float
) -> None:
    video = real_video(media / "video" / name)
    latents = published.encode(video)
    assert latents.shape == (1, 32, 5, 16, 16)
    error = float(((published.decode(latents) - video) ** 2).mean())
    assert least_db <= 10 * np.log10(4 / error) <= 37  # groups of another number: 31.0, 28.4 and 26.8 at best


def test_measured_statistics_normalise_the_latents_and_leave_the_pictures_alone() -> None:
    plain = random_taef2()
    videos = [noise_video(frames=3, height=32, width=32, seed=seed)[0] for seed in range(3)]
    codec = plain.measured(videos)
    values = torch.cat([codec.encode(video[None]) for video in videos]).movedim(1, 0).flatten(1)
    assert torch.allclose(values.mean(dim=1), torch.zeros(32), atol=1e-3)
    assert torch.allclose(values.std(dim=1, correction=0), torch.ones(32), atol=2e-3)
    again = codec.decode(codec.encode(videos[0][None]))
    assert torch.allclose(again, plain.decode(plain.encode(videos[0][None])), atol=1e-4)
    assert codec.digest != plain.digest
    with pytest.raises(ModelError, match="none was given"):
        plain.measured([])


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harm",)


def test_files_of_something_else_are_refused_and_nothing_in_them_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    harmful, other, good = tmp_path / "harmful.pth", tmp_path / "other.pth", tmp_path / "absent.pth"
    harmful.write_bytes(pickle.dumps(_Harmful(), protocol=2))
    torch.save({"0.weight": torch.zeros(3)}, other)
    for path in (harmful, other, good):
        with pytest.raises(ModelError, match="not the file of TAEF2") as caught:
            Taef2Codec.from_files(path, path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()

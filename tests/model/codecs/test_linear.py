"""The linear codec, against numpy's singular values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.fft import dct, idct
from torch import Tensor

from model.codecs.linear import LinearCodec
from model.errors import ModelError
from tests.support.latent_models import noise_video, wave_video

VIDEOS = [wave_video(seed=seed) for seed in range(3)]


def cut(video: Tensor) -> np.ndarray:
    """The blocks of a video [3, F, H, W], one by one in plain Python: [blocks, 768]."""
    frames = [video[:, 0]] * 3 + [video[:, frame] for frame in range(video.shape[1])]
    blocks = []
    for start in range(0, len(frames), 4):
        for top, left in itertools.product(range(0, video.shape[2], 8), range(0, video.shape[3], 8)):
            piece = [frame[:, top : top + 8, left : left + 8] for frame in frames[start : start + 4]]
            blocks.append(torch.stack(piece).permute(0, 2, 3, 1).reshape(-1).double().numpy())
    return np.stack(blocks)


@pytest.fixture(scope="module")
def codec() -> LinearCodec:
    return LinearCodec.fit(iter(VIDEOS), channels=6, motion=1.0)


@pytest.mark.parametrize("motion", [0.5, 3.0])
def test_motion_counts_as_often_as_asked(motion: float) -> None:
    """By hand: the components of blocks whose frames' DCT has its moving parts multiplied, and the way back."""
    blocks = np.concatenate([cut(video) for video in VIDEOS])
    mean = blocks.mean(axis=0)

    def emphasised(values: np.ndarray, factor: float) -> np.ndarray:
        parts = dct(values.reshape(len(values), 4, 192), axis=1, norm="ortho")
        parts[:, 1:] *= factor
        return parts.reshape(len(values), 768)

    def plain(values: np.ndarray, factor: float) -> np.ndarray:
        parts = values.reshape(len(values), 4, 192).copy()
        parts[:, 1:] /= factor
        return idct(parts, axis=1, norm="ortho").reshape(len(values), 768)

    seen = emphasised(blocks - mean, motion)
    _, singular, rows = np.linalg.svd(seen, full_matrices=False)
    codec = LinearCodec.fit(iter(VIDEOS), channels=6, motion=motion)
    assert np.allclose(codec.scale, _scale(singular[:6] / np.sqrt(len(blocks))), rtol=1e-4)
    back = plain(seen @ rows[:6].T @ rows[:6], motion) + mean
    error = ((back - blocks) ** 2).mean()
    assert codec.fit_report.psnr_db == pytest.approx(10 * np.log10(4 / error), abs=0.02)
    latents = codec.encode(VIDEOS[0][None])
    decoded = cut(codec.decode(latents)[0])[16:]  # without the first frame, whose four copies are averaged
    assert np.abs(decoded - np.clip(back[: len(cut(VIDEOS[0]))][16:], -1, 1)).max() < 2e-3


def test_motion_that_counts_more_is_kept_better() -> None:
    error = {}
    for motion in (1.0, 4.0):
        codec = LinearCodec.fit(VIDEOS, channels=4, motion=motion)
        lost = [codec.decode(codec.encode(video[None]))[0] - video for video in VIDEOS]
        error[motion] = sum(float(change.diff(dim=1).square().mean()) for change in lost)
    assert error[4.0] < error[1.0]


def test_it_is_the_principal_components_of_the_blocks(codec: LinearCodec) -> None:
    blocks = np.concatenate([cut(video) for video in VIDEOS])
    centred = blocks - blocks.mean(axis=0)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(codec.mean, blocks.mean(axis=0), atol=1e-6)
    assert np.allclose(codec.scale, _scale(singular[:6] / np.sqrt(len(blocks))), rtol=1e-5)
    assert np.allclose(np.abs(rows[:6] @ codec.basis.double().numpy()), np.eye(6), atol=1e-4)


def test_its_report_is_what_a_round_trip_of_the_blocks_loses(codec: LinearCodec) -> None:
    blocks = np.concatenate([cut(video) for video in VIDEOS])
    mean, basis = codec.mean.double().numpy(), codec.basis.double().numpy()
    back = (blocks - mean) @ basis @ basis.T + mean
    error = ((back - blocks) ** 2).mean()
    spread = ((blocks - blocks.mean(axis=0)) ** 2).mean()
    assert codec.fit_report.kept_variance == pytest.approx(1 - error / spread, abs=1e-6)
    assert codec.fit_report.psnr_db == pytest.approx(10 * np.log10(4 / error), abs=0.01)
    assert (codec.fit_report.videos, codec.fit_report.blocks) == (3, len(blocks))
    assert codec.fit_report.kept_variance > 0.9


def _scale(deviation: np.ndarray) -> np.ndarray:
    """What components of these deviations are divided by: their root, and a number that makes the mean square 1."""
    return np.sqrt(deviation) * np.sqrt(deviation.mean())


def test_latents_of_the_fitted_videos_have_mean_0_and_mean_square_1(codec: LinearCodec) -> None:
    latents = torch.cat([codec.encode(video[None]) for video in VIDEOS]).movedim(1, 0).flatten(1)
    assert torch.allclose(latents.mean(dim=1), torch.zeros(6), atol=1e-3)
    assert float(latents.square().mean()) == pytest.approx(1, abs=2e-3)
    assert list(latents.std(dim=1)) == sorted(latents.std(dim=1), reverse=True)


def test_latents_are_where_their_blocks_are(codec: LinearCodec) -> None:
    blocks = cut(VIDEOS[0])
    expected = (blocks - codec.mean.numpy()) @ codec.basis.numpy() / codec.scale.numpy()
    latents = codec.encode(VIDEOS[0][None])[0].movedim(0, -1).reshape(-1, 6)
    assert np.allclose(latents, expected, atol=1e-3)


def test_with_all_channels_a_video_comes_back() -> None:
    video = noise_video(frames=161, height=32, width=32)
    codec = LinearCodec.fit([video[0]], channels=768)
    assert torch.allclose(codec.decode(codec.encode(video)), video, atol=1e-3)


def test_the_order_of_videos_and_the_run_do_not_turn_the_components(codec: LinearCodec) -> None:
    again = LinearCodec.fit(reversed(VIDEOS), channels=6, motion=1.0)
    assert torch.allclose(again.basis, codec.basis, atol=1e-4)
    assert LinearCodec.fit(VIDEOS, channels=6, motion=1.0).digest == codec.digest


def test_a_pattern_that_never_occurs_is_not_blown_up() -> None:
    """Flat colours have three patterns; the other channels must stay near 0."""
    flat = [torch.full((3, 5, 16, 16), value) * torch.tensor([1.0, 0.5, -0.3]).view(3, 1, 1, 1) for value in (0.1, 0.9)]
    codec = LinearCodec.fit(flat)
    assert float(codec.encode(flat[0][None])[:, 3:].abs().max()) < 0.1
    assert torch.allclose(codec.decode(codec.encode(flat[0][None])), flat[0][None], atol=1e-4)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ModelError, match="none was given"):
        LinearCodec.fit([])
    with pytest.raises(ModelError, match="1 to 768 channels"):
        LinearCodec.fit(VIDEOS, channels=0)
    with pytest.raises(ModelError, match="no numbers"):
        LinearCodec.fit([torch.full((3, 5, 16, 16), torch.nan)])
    with pytest.raises(ModelError, match="use 5 or 9 frames"):
        LinearCodec.fit([torch.zeros(3, 6, 16, 16)])

"""The linear codec, against numpy's singular values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.fft import dct
from torch import Tensor

from model.codecs.linear import LinearCodec
from model.errors import ModelError
from tests.support.latent_models import wave_video

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
    return LinearCodec.fit(VIDEOS, channels=6, motion=1.0)


@pytest.mark.parametrize("motion", [0.5, 3.0])
def test_motion_counts_as_often_as_asked(motion: float) -> None:
    """By hand: the components of blocks whose frames' DCT has its moving parts multiplied."""
    blocks = np.concatenate([cut(video) for video in VIDEOS])
    parts = dct((blocks - blocks.mean(axis=0)).reshape(len(blocks), 4, 192), axis=1, norm="ortho")
    parts[:, 1:] *= motion
    seen = parts.reshape(len(blocks), 768)
    _, singular, rows = np.linalg.svd(seen, full_matrices=False)
    expected = seen @ rows[:6].T / _scale(singular[:6] / np.sqrt(len(blocks)))
    codec = LinearCodec.fit(VIDEOS, channels=6, motion=motion)
    latents = np.concatenate([codec.encode(video[None])[0].movedim(0, -1).reshape(-1, 6) for video in VIDEOS])
    assert np.allclose(np.abs(latents), np.abs(expected), atol=2e-3)


def neighbourhoods(codec: LinearCodec) -> np.ndarray:
    """The latents of each cell and of the eight around it, one by one in plain Python; zeros beyond the picture."""
    rows = []
    for video in VIDEOS:
        latents = codec.encode(video[None])[0].double().numpy()
        wide = np.pad(latents, ((0, 0), (0, 0), (1, 1), (1, 1)))
        _, n, height, width = latents.shape
        for index, top, left in itertools.product(range(n), range(height), range(width)):
            rows.append(wide[:, index, top : top + 3, left : left + 3].reshape(-1))
    return np.stack(rows)


def test_a_block_is_decoded_from_its_cell_and_those_around_by_least_squares(codec: LinearCodec) -> None:
    blocks = np.concatenate([cut(video) for video in VIDEOS])
    mean, seen = blocks.mean(axis=0), neighbourhoods(codec)
    ridge = 1e-3 * np.mean(np.diag(seen.T @ seen)) * np.eye(seen.shape[1])
    back = seen @ np.linalg.solve(seen.T @ seen + ridge, seen.T @ (blocks - mean)) + mean
    n = len(cut(VIDEOS[0]))
    decoded = cut(codec.decode(codec.encode(VIDEOS[0][None]))[0])
    assert np.abs(decoded[16:] - np.clip(back[:n][16:], -1, 1)).max() < 2e-3  # the first frame is four copies' mean
    error, spread = ((back - blocks) ** 2).mean(), ((blocks - mean) ** 2).mean()
    assert codec.fit_report.kept_variance == pytest.approx(1 - error / spread, abs=1e-5)
    assert codec.fit_report.psnr_db == pytest.approx(10 * np.log10(4 / error), abs=0.01)
    assert (codec.fit_report.videos, codec.fit_report.blocks) == (3, len(blocks))
    assert codec.fit_report.kept_variance > 0.9


def test_neighbours_say_something_of_a_block(codec: LinearCodec) -> None:
    """The error is smaller than that of the best guess from the components alone."""
    blocks = np.concatenate([cut(video) for video in VIDEOS])
    centred = blocks - blocks.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    assert 1 - codec.fit_report.kept_variance < 0.8 * (singular[6:] ** 2).sum() / (singular**2).sum()


def test_motion_that_counts_more_is_kept_better() -> None:
    """Of a still pattern and a flicker that is weaker, one component keeps the one that counts more."""
    generator = torch.Generator().manual_seed(0)
    still, flicker = torch.randn(2, 3, 1, 8, 8, generator=generator)
    still_strength, flicker_strength = torch.randn(2, 1, 11, 1, 1, generator=generator)
    blocks = 0.2 * still_strength * still.repeat(1, 11, 1, 1)
    video = blocks.repeat_interleave(4, dim=1)
    video += (
        0.1
        * flicker_strength.repeat_interleave(4, dim=1)
        * flicker
        * torch.tensor([1.0, -1, 1, -1] * 11).view(1, -1, 1, 1)
    )
    video = video[:, 3:].contiguous()
    kept = {}
    for motion in (1.0, 4.0):
        codec = LinearCodec.fit([video], channels=1, motion=motion)
        change = codec.decode(codec.encode(video[None]))[0].diff(dim=1)
        kept[motion] = float((change * video.diff(dim=1)).sum() / video.diff(dim=1).square().sum())
    assert kept[4.0] > 1.5 * kept[1.0]


def test_it_is_the_principal_components_of_the_blocks(codec: LinearCodec) -> None:
    blocks = np.concatenate([cut(video) for video in VIDEOS])
    _, singular, rows = np.linalg.svd(blocks - blocks.mean(axis=0), full_matrices=False)
    assert np.allclose(codec.mean, blocks.mean(axis=0), atol=1e-6)
    components = codec.analysis.double().numpy() * _scale(singular[:6] / np.sqrt(len(blocks)))
    assert np.allclose(np.abs(rows[:6] @ components), np.eye(6), atol=1e-4)


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
    expected = (blocks - codec.mean.numpy()) @ codec.analysis.numpy()
    latents = codec.encode(VIDEOS[0][None])[0].movedim(0, -1).reshape(-1, 6)
    assert np.allclose(latents, expected, atol=1e-3)


def test_a_video_of_few_patterns_comes_back() -> None:
    """Blocks that are sums of ten patterns have ten components, and nothing is lost."""
    generator = torch.Generator().manual_seed(0)
    patterns = 0.05 * torch.randn(10, 4, 8, 8, 3, generator=generator)
    patterns -= patterns.mean(dim=1, keepdim=True) * (torch.arange(10) % 2).view(-1, 1, 1, 1, 1)
    strengths = torch.randn(20, 4, 4, 10, generator=generator)
    blocks = torch.einsum("lhwp,ptyxc->ltchywx", strengths, patterns).flatten(5, 6).flatten(3, 4).flatten(0, 1)
    video = torch.cat([blocks[:1] * 0, blocks]).movedim(1, 0)
    codec = LinearCodec.fit([video], channels=10)
    assert torch.allclose(codec.decode(codec.encode(video[None]))[0], video, atol=5e-3)


def test_the_order_of_videos_and_the_run_do_not_turn_the_components(codec: LinearCodec) -> None:
    again = LinearCodec.fit(VIDEOS[::-1], channels=6, motion=1.0)
    assert torch.allclose(again.analysis, codec.analysis, atol=1e-4)
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
    with pytest.raises(ModelError, match="1 to 128 channels"):
        LinearCodec.fit(VIDEOS, channels=0)
    with pytest.raises(ModelError, match="no numbers"):
        LinearCodec.fit([torch.full((3, 5, 16, 16), torch.nan)])
    with pytest.raises(TypeError, match="walks its videos twice"):
        LinearCodec.fit(iter(VIDEOS))
    with pytest.raises(ModelError, match="use 5 or 9 frames"):
        LinearCodec.fit([torch.zeros(3, 6, 16, 16)])


def test_the_number_of_threads_does_not_change_it() -> None:
    threads = torch.get_num_threads()
    digests = set()
    for n in (1, 2):
        torch.set_num_threads(n)
        digests.add(LinearCodec.fit(VIDEOS, channels=24).digest)
        assert torch.get_num_threads() == n
    torch.set_num_threads(threads)
    assert len(digests) == 1

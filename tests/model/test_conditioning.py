"""The picture condition: polarity, folding, areas, null conditions and Wan's order of channels."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.codecs.linear import LinearCodec
from model.codecs.wan import WanCodec
from model.conditioning import (
    ConditionSource,
    blank_latents,
    condition,
    fold_hole,
    pool_area,
    window_condition,
)
from model.errors import ModelError
from tests.support.latent_models import noise_video, tiny_wan_vae, wave_video


def moving_box(frames: int = 17, size: int = 64) -> Tensor:
    """A mouth's box that moves 8 pixels a frame; the first frame has no hole. [1, 1, F, H, W]"""
    hole = torch.zeros(1, 1, frames, size, size)
    for frame in range(1, frames):
        top = 20 + 8 * (frame % 4)
        hole[:, :, frame, top : top + 10, 20:40] = 1
    return hole


def pooled_with_time(hole: Tensor) -> Tensor:
    """The paper's way: max pooling over (4, 8, 8), every channel the same."""
    padded = torch.cat([hole[:, :, :1].expand(-1, -1, 3, -1, -1), hole], 2)
    return F.max_pool3d(padded, (4, 8, 8)).expand(-1, 4, -1, -1, -1)


def test_a_cell_is_a_hole_where_any_of_its_pixels_is_and_a_channel_is_a_frame() -> None:
    hole = moving_box()
    folded = fold_hole(hole)
    assert folded.shape == (1, 4, 5, 8, 8)
    for channel, latent, row, column in itertools.product(range(4), range(5), range(8), range(8)):
        frame = 0 if latent == 0 else 4 * latent - 3 + channel
        pixels = hole[0, 0, frame, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert float(folded[0, channel, latent, row, column]) == float(pixels.max())


def test_folding_differs_from_the_papers_pooling_for_a_mouth_that_moves() -> None:
    folded, pooled = fold_hole(moving_box(81)), pooled_with_time(moving_box(81))
    assert (folded <= pooled).all()
    assert float((folded != pooled).sum() / pooled.sum()) > 0.5


def test_folding_equals_the_papers_pooling_for_image_animation() -> None:
    hole = torch.ones(1, 1, 17, 16, 16)
    hole[:, :, 0] = 0
    assert torch.equal(fold_hole(hole), pooled_with_time(hole))


def test_a_cell_with_one_unknown_pixel_is_not_known() -> None:
    hole = torch.zeros(1, 1, 1, 16, 16, dtype=torch.bool)
    hole[..., 3, 12] = True
    known = 1 - fold_hole(hole)
    assert known[0, 0, 0].tolist() == [[1, 0], [1, 1]]


def test_codecs_without_a_temporal_factor_fold_nothing() -> None:
    hole = moving_box(5)
    assert torch.equal(fold_hole(hole, temporal=1), F.max_pool3d(hole, (1, 8, 8)))


def test_an_area_is_the_share_of_pixels_over_the_latents_frames() -> None:
    mask = moving_box()
    area = pool_area(mask)
    assert area.shape == (1, 1, 5, 8, 8)
    for latent, row, column in itertools.product(range(5), range(8), range(8)):
        frames = [0] if latent == 0 else list(range(4 * latent - 3, 4 * latent + 1))
        pixels = mask[0, 0, frames, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert float(area[0, 0, latent, row, column]) == pytest.approx(float(pixels.mean()), abs=1e-6)


def test_small_lips_do_not_get_lost() -> None:
    mask = torch.zeros(1, 1, 5, 64, 64)
    mask[..., 32:34, 24:30] = 1  # 2 x 6 pixels at a cell's edge
    trilinear = F.interpolate(mask, size=(2, 8, 8), mode="trilinear", align_corners=False)
    assert float(trilinear.max()) == 0
    assert float(pool_area(mask).sum()) == pytest.approx(2 * 12 / 64)


def test_an_empty_mask_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    mask = torch.zeros(2, 1, 5, 16, 16)
    mask[0] = 1
    with caplog.at_level(logging.WARNING):
        pool_area(mask)
    assert caplog.messages == ["the mask is empty in 1 of 2 samples ([1])"]


@pytest.mark.parametrize("pool", [fold_hole, pool_area])
def test_masks_that_do_not_fit_are_refused(pool) -> None:
    with pytest.raises(ModelError, match="no multiple of 8"):
        pool(torch.zeros(1, 1, 5, 20, 16))
    with pytest.raises(ModelError, match="use 5 or 9 frames"):
        pool(torch.zeros(1, 1, 6, 16, 16))
    with pytest.raises(ModelError, match="has shape"):
        pool(torch.zeros(1, 3, 5, 16, 16))


def test_the_condition_of_image_animation_is_that_of_diffusers_pipeline() -> None:
    from diffusers import WanImageToVideoPipeline

    vae = tiny_wan_vae()
    image = noise_video(frames=1, height=32, width=48)[:, :, 0]
    pipe = WanImageToVideoPipeline(None, None, vae, None, None, None, None)
    _, theirs = pipe.prepare_latents(
        image, 1, 16, 32, 48, num_frames=9, dtype=torch.float32, device=torch.device("cpu"), latents=torch.zeros(1)
    )
    grey = torch.zeros(1, 3, 8, 32, 48)
    hole = torch.ones(1, 1, 9, 32, 48)
    hole[:, :, 0] = 0
    latents = WanCodec(vae).encode(torch.cat([image.unsqueeze(2), grey], dim=2))
    ours = condition(1 - fold_hole(hole), latents)
    assert ours.shape == theirs.shape == (1, 20, 3, 4, 6)
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.fixture
def source() -> ConditionSource:
    """Two samples of 3 latents, with everything recognisable by its value."""
    shape = (2, 16, 3, 2, 2)
    hole = torch.zeros(2, 4, 3, 2, 2, dtype=torch.uint8)
    hole[:, :, 1:, 1, 1] = 1
    return ConditionSource(hole, torch.full(shape, 5.0), torch.full(shape, 7.0), torch.full((1, *shape[1:]), 9.0))


def parts(source: ConditionSource, **choice: Any) -> tuple[Tensor, Tensor]:
    """Known [B, 4, L, h, w] and latents [B, 16, L, h, w] of a condition."""
    made = window_condition(source, **choice)
    assert made.shape == (2, 20, 3, 2, 2)
    return made[:, :4], made[:, 4:]


def test_with_image_and_video_only_the_hole_is_unknown(source: ConditionSource) -> None:
    known, latents = parts(source, has_image=True, has_video=True, middle=False)
    assert (known[:, :, 0] == 1).all()
    assert known[:, :, 1:].sum() == 2 * 4 * 2 * 3
    assert (known[:, :, 1:, 1, 1] == 0).all()
    assert (latents[:, :, 0] == 7).all()
    assert (latents[:, :, 1:] == 5).all()


def test_a_null_video_is_image_animation(source: ConditionSource) -> None:
    known, latents = parts(source, has_image=True, has_video=False, middle=False)
    assert (known[:, :, 0] == 1).all()
    assert (known[:, :, 1:] == 0).all()
    assert (latents == 7).all()


def test_a_null_image_leaves_the_videos_surroundings(source: ConditionSource) -> None:
    known, latents = parts(source, has_image=False, has_video=True, middle=False)
    assert (known[:, :, 0] == 0).all()
    assert known[:, :, 1:].sum() == 2 * 4 * 2 * 3
    assert (latents[:, :, 0] == 9).all()
    assert (latents[:, :, 1:] == 5).all()


def test_with_neither_no_trace_of_a_picture_is_left(source: ConditionSource) -> None:
    known, latents = parts(source, has_image=False, has_video=False, middle=True)
    assert (known == 0).all()
    assert (latents == 9).all()


@pytest.mark.parametrize(("more", "value"), [({}, 0.5), ({"reference_known": 1.0}, 1.0)])
def test_in_the_middle_of_a_video_slot_0_is_an_appearance_and_no_frame(
    source: ConditionSource, more: dict[str, float], value: float
) -> None:
    known, latents = parts(source, has_image=True, has_video=False, middle=True, **more)
    assert (known[:, :, 0] == value).all()
    assert (known[:, :, 1:] == 0).all()
    assert (latents == 7).all()


def test_blank_latents_are_those_of_a_grey_video() -> None:
    codec = LinearCodec.fit([wave_video()], channels=16)
    blank = blank_latents(codec, 3, 2, 4)
    assert blank.shape == (1, 16, 3, 2, 4)
    assert not torch.allclose(blank, torch.zeros(1))
    grey = -codec.mean @ codec.analysis
    assert torch.allclose(blank, grey.view(1, 16, 1, 1, 1).expand_as(blank), atol=1e-3)

"""What a training step is given: windows, conditions, masks and the sound around them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.latent_clips import BLANK, NULL_TEXT, made_latents
from training.batch import REFERENCE_KNOWN, Window, make_batch, model_input
from training.draws import Draw, noise_of
from training.latents import LatentClips

WINDOW = Window(5, 25.0, 4)
IMAGE = Draw("image", 0.5, 0.0, False, False, False, False, False, 7)


@pytest.fixture
def clips(tmp_path: Path) -> list[dict[str, torch.Tensor]]:
    store = LatentClips.open(
        made_latents(tmp_path / "latents", n_clips=2, n_latents=12, window_latents=5, dtype=torch.float32)
    )
    return [store.tensors(row) | store.nulls(32, 32) for row in (0, 1)]


def _batch(clips, *draws):
    return make_batch(clips[: len(draws)], draws, [1.0] * len(draws), WINDOW)


def test_image_animation_knows_the_first_frame_and_nothing_else(clips) -> None:
    batch = _batch(clips, IMAGE)
    known, given = batch.condition[0].split([4, 16])
    assert torch.equal(known[:, 0], torch.ones(4, 4, 4))
    assert not known[:, 1:].any()
    assert torch.equal(given[:, 0], clips[0]["video"][:, 0])
    assert torch.equal(given[:, 1:], clips[0]["image_condition"][:, 1:])
    assert torch.equal(batch.latents[0], clips[0]["video"][:, :5])
    assert torch.equal(batch.hole[0], torch.cat([torch.zeros(1, 4, 4), torch.ones(4, 4, 4)]))


def test_video_editing_knows_everything_but_the_lower_face(clips) -> None:
    batch = _batch(clips, replace(IMAGE, task="video"))
    known, given = batch.condition[0].split([4, 16])
    hole = clips[0]["hole"][:, :5].float()
    assert torch.equal(known[:, 1:], 1 - hole[:, 1:])
    assert torch.equal(known[:, 0], torch.ones(4, 4, 4))
    assert torch.equal(given[:, 1:], clips[0]["video_condition"][:, 1:5])
    assert torch.equal(batch.hole[0, 1:], hole.amax(0)[1:])


def test_a_window_from_the_middle_sees_the_reference_as_half_known(clips) -> None:
    drawn = replace(IMAGE, is_middle=True, window=0.5)
    start = WINDOW.start(12, drawn)
    assert 0 < start <= 12 - 5
    for task in ("image", "video"):
        batch = _batch(clips, replace(drawn, task=task))
        known, given = batch.condition[0].split([4, 16])
        assert (known[:, 0] == REFERENCE_KNOWN).all()
        assert torch.equal(given[:, 0], clips[0]["video"][:, 0])  # the clip's first frame, not this moment
        assert torch.equal(batch.latents[0], clips[0]["video"][:, start : start + 5])


def test_windows_reach_every_place_of_a_clip_and_none_outside() -> None:
    starts = {
        WINDOW.start(12, replace(IMAGE, is_middle=True, window=w)) for w in np.linspace(0, 1, 200, endpoint=False)
    }
    assert starts == set(range(1, 8))
    assert WINDOW.start(5, replace(IMAGE, is_middle=True, window=0.9)) == 0


def test_dropped_conditions_are_not_there(clips) -> None:
    drawn = replace(IMAGE, drops_audio=True, drops_text=True, drops_reference=True)
    batch = _batch(clips, IMAGE, drawn)
    assert batch.audio_gate.tolist() == [1.0, 0.0]
    assert torch.equal(batch.text[0], clips[0]["text"])
    assert (batch.text[1] == NULL_TEXT).all()
    nothing = torch.cat([torch.zeros(4, 5, 4, 4), torch.full((16, 5, 4, 4), BLANK)])
    assert torch.equal(batch.condition[1], nothing)
    assert batch.hole[1].all()  # everything is to be painted
    assert torch.equal(_batch(clips, replace(IMAGE, task="audio")).condition[0], nothing)


@pytest.mark.parametrize("fps", [16.0, 24.0, 25.0, 30.0])
@pytest.mark.parametrize("start", [0, 3])
def test_the_token_at_a_latents_position_is_the_sound_of_that_moment(fps: float, start: int, clips) -> None:
    tokens = torch.arange(-25.0, 200.0)[:, None].repeat(1, 2)  # each token says its number
    window = Window(5, fps, 4)
    drawn = IMAGE if not start else replace(IMAGE, is_middle=True, window=(start - 0.5) / 7)
    assert window.start(12, drawn) == start
    batch = make_batch([clips[0] | {"audio": tokens}], [drawn], [1.0], window)
    at = batch.latent_positions[0].numpy()
    heard = np.interp(at, batch.audio_positions[0].numpy(), batch.audio[0, :, 0].double().numpy())
    shown = [np.arange(4 * k - 3, 4 * k + 1) if k else np.array([0]) for k in range(start, start + 5)]
    middle_s = [(frames + 0.5).mean() / fps for frames in shown]  # by hand: when these frames are on screen
    np.testing.assert_allclose(heard, 50 * np.array(middle_s), atol=1e-9)


def test_the_window_of_sound_reaches_ten_tokens_beyond_the_latents_on_both_sides(clips) -> None:
    batch = _batch(clips, IMAGE)
    at = batch.latent_positions[0]
    assert at[0] - batch.audio_positions[0, 0] >= 10
    assert batch.audio_positions[0, -1] - at[-1] >= 10


def test_noise_is_that_of_its_key_and_the_target_leads_back_to_the_data(clips) -> None:
    batch = _batch(clips, IMAGE, replace(IMAGE, level=0.25, noise_key=8))
    assert torch.equal(batch.noise[1], noise_of(8, (16, 5, 4, 4)))
    inputs, target = model_input(batch)
    assert inputs.shape == (2, 36, 5, 4, 4)
    t = batch.level.view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(inputs[:, :16] - t * target, batch.latents)
    assert torch.equal(inputs[:, 16:], batch.condition)

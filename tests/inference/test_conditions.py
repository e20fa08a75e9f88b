"""A window at inference is told what a window of the training is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inference.conditions import Inputs, Track, window_inputs
from inference.windows import Window
from model.audio import AudioTrack
from model.errors import ModelError
from tests.support.latent_clips import BLANK, made_latents
from tests.support.tracks import LATENTS, LENGTH, noisy, small_track
from training.batch import AUDIO_MARGIN, REFERENCE_KNOWN, make_batch
from training.batch import Window as TrainingWindow
from training.draws import Draw
from training.latents import LatentClips

DRAW = Draw("image", 0.5, 0.0, False, False, False, False, False, 7)
NAMES = ("condition", "text", "image", "audio", "audio_positions", "latent_positions", "audio_gate")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    folder: Path = tmp_path_factory.mktemp("latents")
    store = LatentClips.open(made_latents(folder, n_clips=1, n_latents=12, window_latents=5, image_shape=(5, 16)))
    return store.tensors(0) | store.nulls(32, 32)


def track_of(clip: dict[str, Tensor], **changes: Any) -> Track:
    """The clip as a generation would be told of it."""
    facts: dict[str, Any] = {
        "image": torch.cat([clip["video"][:, :1], clip["image_condition"][:, 1:]], 1)[None],
        "blank": clip["blank"][None],
        "audio": AudioTrack(clip["audio"]),
        "text": clip["text"][None],
        "null_text": clip["null_text"][None],
        "fps": 25.0,
        "temporal": 4,
        "video": clip["video_condition"][None],
        "hole": clip["hole"][None],
        "clip_image": clip["clip_image"][None],
    }
    return Track(**{**facts, **changes})


@pytest.mark.parametrize("task", ["image", "video"])
@pytest.mark.parametrize("start", [0, 1, 4, 7])
@pytest.mark.parametrize(
    ("drawn", "drops"),
    [
        ({}, set()),
        ({"drops_audio": True}, {"audio"}),
        ({"drops_text": True}, {"text"}),
        ({"drops_reference": True}, {"image", "video"}),
        ({"drops_audio": True, "drops_text": True, "drops_reference": True}, {"audio", "text", "image", "video"}),
    ],
)
@pytest.mark.parametrize("fps", [16.0, 25.0, 30.0])
def test_a_window_is_told_what_the_training_told_it(
    clip: dict[str, Tensor], task: Any, start: int, drawn: dict[str, bool], drops: set[str], fps: float
) -> None:
    draw = replace(DRAW, task=task, is_middle=start > 0, window=max(start - 0.5, 0) / 7, **drawn)
    window = TrainingWindow(5, fps, 4)
    assert window.start(12, draw) == start
    batch = make_batch([clip], [draw], [1.0], window)
    given = window_inputs(track_of(clip, fps=fps), Window(3, start, start + 5), task=task, drops=frozenset(drops))
    for name in NAMES:
        assert torch.equal(getattr(given, name), getattr(batch, name)), name
        assert getattr(given, name).dtype == getattr(batch, name).dtype


def test_facts_of_a_model_are_by_default_those_of_the_training() -> None:
    track = small_track()
    assert (track.reference_known, track.audio_margin) == (REFERENCE_KNOWN, AUDIO_MARGIN)


def test_without_the_video_a_window_of_video_editing_is_image_animation(clip: dict[str, Tensor]) -> None:
    track, window = track_of(clip), Window(0, 0, 5)
    dropped = window_inputs(track, window, task="video", drops=frozenset({"video"}))
    assert torch.equal(dropped.condition, window_inputs(track, window, task="image").condition)


def test_without_the_image_a_window_of_video_editing_keeps_the_video(clip: dict[str, Tensor]) -> None:
    track, window = track_of(clip), Window(0, 0, 5)
    dropped = window_inputs(track, window, task="video", drops=frozenset({"image"}))
    told = window_inputs(track, window, task="video")
    assert torch.equal(dropped.condition[:, :, 1:], told.condition[:, :, 1:])
    assert not dropped.condition[:, :4, 0].any()
    assert (dropped.condition[:, 4:, 0] == BLANK).all()
    assert dropped.image is not None
    assert not dropped.image.any()


@pytest.mark.parametrize("task", ["image", "video"])
@pytest.mark.parametrize("start", [0, 6])
def test_a_short_window_is_told_the_beginning_of_what_a_full_one_is_told(task: Any, start: int) -> None:
    track = small_track(video=True)
    full = window_inputs(track, Window(2, start, start + LENGTH), task=task)
    for n in range(1, LENGTH):
        short = window_inputs(track, Window(2, start, start + n), task=task)
        assert torch.equal(short.condition, full.condition[:, :, :n])
        assert torch.equal(short.latent_positions, full.latent_positions[:, :n])
        tokens = short.audio.shape[1]
        assert torch.equal(short.audio, full.audio[:, :tokens])
        assert short.audio_positions[0, -1] - short.latent_positions[0, -1] >= track.audio_margin


def test_inputs_side_by_side_are_a_batch() -> None:
    track, window = small_track(clip_image=True), Window(1, 3, 8)
    parts = [window_inputs(track, window, task="image", drops=frozenset(d)) for d in ((), ("audio",), ("text",))]
    joined = Inputs.joined(parts)
    for name in NAMES:
        assert torch.equal(getattr(joined, name), torch.cat([getattr(part, name) for part in parts]))
    assert joined.hears
    assert not parts[1].hears


def test_what_was_given_is_put_back_at_the_start_of_the_video_only() -> None:
    track = small_track()
    made = noisy(Window(0, 0, 5))
    kept = track.kept(0, made)
    assert torch.equal(kept[:, :, :1], track.image[:, :, :1])
    assert torch.equal(kept[:, :, 1:], made[:, :, 1:])
    assert track.kept(5, made) is made
    assert replace(track, given=None).kept(0, made) is made


@pytest.mark.parametrize(
    ("window", "task", "drops", "says"),
    [
        (Window(0, 0, LENGTH + 1), "image", (), "a window of 6 latents: the track has pictures for 1 to 5"),
        (Window(0, 3, 3), "image", (), "a window of 0 latents"),
        (Window(0, 0, 5), "video", (), "the track has no source video"),
        (Window(0, 0, 5), "image", ("sound",), "sound cannot be left out"),
    ],
)
def test_what_a_window_cannot_be_told_is_refused(window: Window, task: Any, drops: tuple[str, ...], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        window_inputs(small_track(), window, task=task, drops=frozenset(drops))


def test_a_window_beyond_its_source_video_is_refused() -> None:
    with pytest.raises(ModelError, match=f"latents up to 13 of a source video that has {LATENTS}"):
        window_inputs(small_track(video=True), Window(4, 8, 13), task="video")


@pytest.mark.parametrize("name", ["blank", "null_text", "hole", "given"])
def test_a_track_whose_parts_do_not_fit_is_refused(name: str) -> None:
    track = small_track(video=True)
    with pytest.raises(ModelError, match=f"a track's {name} has the shape"):
        replace(track, **{name: torch.zeros(1, 2, 3)})
    with pytest.raises(ModelError, match="a source video and its hole, or neither"):
        replace(track, hole=None)

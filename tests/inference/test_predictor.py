"""The predictor asks the model as the trainer does, with guidance, hybrid inference and windows of any length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from catalogs.errors import UserError
from inference.conditions import Track, window_inputs
from inference.guidance import Guidance, Scale
from inference.predictor import Predictor
from inference.steps import plan_steps
from inference.windows import Window
from model.flow import sample, sampling_levels
from model.transformer import AudioWanTransformer
from tests.inference.test_conditions import track_of
from tests.support.latent_clips import made_latents
from tests.support.tiny_training import config
from tests.support.tracks import noisy, small_track
from tests.support.wan_bases import AUDIO_IN, small_model
from training.clips import open_clips
from training.parallel import Group
from training.samples import sampled, window_batch

NONE = Guidance(Scale.of(0), Scale.of(0))
BOTH = Guidance(Scale.of(4.5), Scale.of(2.0))
LEVELS = sampling_levels(4, 3.0)
WINDOW = Window(1, 3, 8)


@pytest.fixture(scope="module")
def model() -> AudioWanTransformer:
    return small_model()


def ask(model: AudioWanTransformer, track: Track, window: Window, level: float, latents: Tensor, **told: Any) -> Tensor:
    """Ask the model by hand."""
    given = window_inputs(track, window, **told)
    with torch.no_grad():
        return model(
            torch.cat([latents, given.condition], 1),
            torch.tensor([level]) * 1000,
            given.text,
            encoder_hidden_states_image=given.image,
            audio=given.audio,
            audio_positions=given.audio_positions,
            latent_positions=given.latent_positions,
            audio_gate=given.audio_gate,
        ).sample


@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_one_window_is_sampled_as_the_trainer_samples_it(scale: float, tmp_path: Path) -> None:
    made_latents(tmp_path / "latents", n_clips=10, n_latents=8, window_latents=5, audio_width=AUDIO_IN)
    settings = config(tmp_path, sampling={"audio_scale": scale})
    clips, model = open_clips(settings.data, settings.seed), small_model()
    batch = window_batch(clips, [clips.heldout[0]])
    expected = sampled(model, batch, settings, Group.alone())

    clip = clips.tensors(clips.heldout[0])
    own = {"clip_image": None, "video": None, "hole": None, "given": clip["video"][None, :, :1].float()}
    track = track_of(clip | {"clip_image": torch.zeros(1, 1)}, **own)
    levels = sampling_levels(settings.sampling.steps, settings.flow.shift)
    predictor = Predictor(model, track, Guidance(audio=Scale.of(scale)), levels)
    steps = iter(range(len(levels)))
    window = Window(0, 0, 5)
    latents = sample(lambda latents, level: predictor(next(steps), window, latents), batch.noise, levels)
    if scale:
        torch.testing.assert_close(track.kept(0, latents), expected, atol=1e-4, rtol=1e-4)
    else:
        assert torch.equal(track.kept(0, latents), expected)


@pytest.mark.parametrize("image", [False, True])
def test_guided_velocity_is_that_of_the_mended_equation(image: bool) -> None:
    model, track = small_model(image=image), small_track(clip_image=image)
    latents, level = noisy(WINDOW), LEVELS[1]
    full, no_audio, null = (
        ask(model, track, WINDOW, level, latents, task="image", drops=frozenset(drops))
        for drops in ((), ("audio",), ("audio", "text", "image", "video"))
    )
    expected = full + 4.5 * (full - no_audio) + 2.0 * (no_audio - null)
    made = Predictor(model, track, BOTH, LEVELS)(1, WINDOW, latents)
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-4)
    assert (made - full).abs().max() > 0.05


def test_branches_in_a_batch_are_branches_one_after_the_other(model: AudioWanTransformer) -> None:
    track, latents = small_track(video=True), noisy(WINDOW)
    one_by_one = Predictor(model, track, BOTH, LEVELS)
    batched = Predictor(model, track, BOTH, LEVELS, batched=True)
    torch.testing.assert_close(batched(0, WINDOW, latents), one_by_one(0, WINDOW, latents), atol=1e-4, rtol=1e-4)
    assert batched.calls == one_by_one.calls == 3


def test_a_sampling_makes_as_many_calls_as_it_said(model: AudioWanTransformer) -> None:
    guidance = Guidance(Scale.of("4.5:0.7,0:0.7"), Scale.of(0))
    predictor = Predictor(model, small_track(), guidance, LEVELS)
    expected = [2 if level >= 0.7 else 1 for level in LEVELS[:-1]]
    assert [predictor.evaluations(step) for step in range(4)] == expected
    assert set(expected) == {1, 2}
    for window in (Window(0, 0, 5), WINDOW):
        for step in range(4):
            predictor(step, window, noisy(window))
    assert predictor.calls == 2 * sum(expected)


@pytest.mark.parametrize("window", [Window(0, 0, 1), Window(0, 0, 3), Window(4, 10, 12), Window(4, 11, 12)])
def test_windows_may_be_short(model: AudioWanTransformer, window: Window) -> None:
    for track in (small_track(), small_track(video=True)):
        velocity = Predictor(model, track, BOTH, LEVELS)(0, window, noisy(window))
        assert velocity.shape == noisy(window).shape
        assert velocity.isfinite().all()


@pytest.mark.parametrize("n", [0, 1, 3, 4])
def test_hybrid_inference_gives_the_video_first_and_then_its_first_frame(model: AudioWanTransformer, n: int) -> None:
    track, latents = small_track(video=True), noisy(WINDOW)
    hybrid = Predictor(model, track, NONE, LEVELS, hybrid_steps=n)
    for step, level in enumerate(LEVELS[:-1]):
        task = "video" if step < n else "image"
        assert torch.equal(hybrid(step, WINDOW, latents), ask(model, track, WINDOW, level, latents, task=task))
    # The masks go with the video: only the reference is known, and in slot 0 only.
    told = window_inputs(track, WINDOW, task="image").condition[:, :4]
    assert (told[:, :, 0] == 0.5).all()
    assert not told[:, :, 1:].any()


def test_a_source_video_is_given_in_all_steps_unless_it_is_said_otherwise(model: AudioWanTransformer) -> None:
    tasks = [step.task for step in plan_steps(model, LEVELS, NONE, has_video=True)]
    assert tasks == ["video"] * 4
    assert [step.task for step in plan_steps(model, LEVELS, NONE)] == ["image"] * 4


@pytest.mark.parametrize(
    ("levels", "options", "says"),
    [
        (LEVELS, {"hybrid_steps": 2}, "hybrid inference without a source video"),
        (LEVELS, {"hybrid_steps": 5, "has_video": True}, "5 hybrid steps of 4 steps: give 0 to 4"),
        ([1.0], {}, "0 steps"),
        ([1.0, 0.5, 0.5, 0.0], {}, "levels fall"),
    ],
)
def test_steps_that_cannot_be_are_refused(model: Any, levels: list[float], options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        plan_steps(model, levels, NONE, **options)


def test_windows_depend_on_nothing_but_their_own_latents_and_place(model: AudioWanTransformer) -> None:
    predictor = Predictor(model, small_track(), BOTH, LEVELS)
    alone = predictor(2, WINDOW, noisy(WINDOW))
    predictor(2, Window(2, 6, 11), noisy(Window(2, 6, 11)))
    assert torch.equal(predictor(2, WINDOW, noisy(WINDOW)), alone)
    moved = Window(1, 4, 9)
    assert (predictor(2, moved, noisy(WINDOW)) - alone).abs().max() > 1e-4  # another sound


def test_the_model_computes_in_the_dtype_of_its_weights() -> None:
    model = small_model().to(torch.bfloat16)
    made = Predictor(model, small_track(), NONE, LEVELS)(1, WINDOW, noisy(WINDOW))
    assert made.dtype == torch.float32
    exact = Predictor(small_model(), small_track(), NONE, LEVELS)(1, WINDOW, noisy(WINDOW))
    torch.testing.assert_close(made, exact, atol=0.05, rtol=0.05)

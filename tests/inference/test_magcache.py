"""MagCache decides and answers as diffusers' own does, with a state that is ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import MagCacheConfig

from catalogs.errors import UserError
from inference.caches.blocks import recorded
from inference.caches.magcache import MagCache, ResidualRatios, read_ratios, write_ratios
from inference.conditions import Inputs, window_inputs
from inference.guidance import Guidance, Scale
from inference.predictor import Predictor
from inference.steps import shown
from inference.windows import Window
from model.flow import sampling_levels
from tests.support.tracks import noisy, small_track
from tests.support.wan_bases import small_model

STEPS = 10
LEVELS = sampling_levels(STEPS, 3.0)
NONE = Guidance(Scale.of(0), Scale.of(0))
WINDOW = Window(1, 3, 8)
NEAR_ONE = (1.0, 1.2, 1.1, 1.02, 0.99, 1.01, 0.97, 1.0, 1.03, 0.9)


def arguments(told: Inputs, step: int) -> dict[str, Any]:
    return {
        "hidden_states": torch.cat([noisy(WINDOW, seed=step), told.condition], 1),
        "timestep": torch.tensor([LEVELS[step]]) * 1000,
        "encoder_hidden_states": told.text,
        "audio": told.audio,
        "audio_positions": told.audio_positions,
        "latent_positions": told.latent_positions,
        "audio_gate": told.audio_gate,
    }


@pytest.mark.parametrize("ratios", [NEAR_ONE, NEAR_ONE[:7], (1.0,) * 10, (1.0, 2.0, 0.5) * 3])
@pytest.mark.parametrize(("threshold", "most", "first"), [(0.06, 3, 0.2), (0.21, 2, 0.0), (0.0, 3, 0.1), (9.0, 8, 0.3)])
def test_velocities_are_those_of_diffusers(ratios: Sequence[float], threshold: float, most: int, first: float) -> None:
    """No sum of these ratios ends exactly at a threshold: diffusers adds them in float32, which decides such a tie."""
    ours = MagCache(tuple(ratios), threshold, most, first)
    predictor = Predictor(small_model(), small_track(), NONE, LEVELS, cache=ours)
    made = [predictor(step, WINDOW, noisy(WINDOW, seed=step)) for step in range(STEPS)]

    theirs = small_model()
    theirs.enable_cache(MagCacheConfig(threshold, most, first, STEPS, list(ratios)))
    told = window_inputs(small_track(), WINDOW, task="image")
    with torch.no_grad(), theirs.cache_context("full"):
        expected = [theirs(**arguments(told, step)).sample for step in range(STEPS)]
    for step, (a, b) in enumerate(zip(made, expected, strict=True)):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5, msg=f"step {step} of {shown(predictor.steps)}")


def test_ratios_that_stay_at_one_are_computed_once_in_a_while() -> None:
    assert MagCache((1.0,) * 10, first=0.2).decisions(small_model(), LEVELS) == tuple(
        letter == "#" for letter in "##...#...#"
    )
    forced = MagCache((1.0,) * 10, first=0.0).decisions(small_model(), LEVELS, {2})
    assert forced == tuple(letter == "#" for letter in "#.#...#...")


def test_ratios_are_measured_on_a_run() -> None:
    model, track, watched = small_model(), small_track(), ResidualRatios(STEPS)
    predictor = Predictor(model, track, Guidance(), LEVELS, observer=watched, batched=True)
    for step in range(STEPS):
        predictor(step, WINDOW, noisy(WINDOW, seed=step))
    sizes: dict[str, list[torch.Tensor]] = {"full": [], "no_audio": []}
    for name, drops in (("full", frozenset()), ("no_audio", frozenset({"audio"}))):
        told = window_inputs(track, WINDOW, task="image", drops=drops)
        for step in range(STEPS):
            with torch.no_grad(), recorded(model) as residual:
                model(**arguments(told, step))
            sizes[name].append(residual.taken().norm(dim=-1))
    by_hand = [1.0]
    for step in range(1, STEPS):
        by_hand.append(sum(float((own[step] / own[step - 1]).mean()) for own in sizes.values()) / 2)
    assert watched.ratios() == pytest.approx(tuple(by_hand), rel=1e-4)


def test_ratios_lie_in_the_models_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no magcache\.json: calibrate"):
        read_ratios(tmp_path)
    write_ratios(tmp_path, NEAR_ONE)
    assert read_ratios(tmp_path) == NEAR_ONE
    (tmp_path / "magcache.json").write_text('{"format_version": 1}')
    with pytest.raises(UserError, match="cannot be read"):
        read_ratios(tmp_path)
    (tmp_path / "magcache.json").write_text('{"format_version": 3}')
    with pytest.raises(UserError, match="of another release"):
        read_ratios(tmp_path)


@pytest.mark.parametrize(
    "change", [{"ratios": ()}, {"ratios": (1.0, 0.0)}, {"threshold": -1}, {"most": -1}, {"first": 1.5}]
)
def test_a_cache_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="MagCache with"):
        MagCache(**{"ratios": NEAR_ONE, **change})

"""A cache's coefficients are fitted to a model's own runs, and lie in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from catalogs.errors import UserError
from inference.caches.calibration import OutputChanges, fit, fit_runs
from inference.caches.coefficients import FILE, PUBLISHED, Coefficients, coefficients_for, write_coefficients
from inference.caches.gate import GATES, gate_changes
from inference.caches.teacache import TeaCache
from inference.guidance import Guidance, Scale
from inference.predictor import Predictor
from inference.windows import Window
from model.flow import sampling_levels
from model.transformer import AudioWanTransformer
from tests.support.tracks import noisy, small_track
from tests.support.wan_bases import small_model

GUIDANCE = Guidance(Scale.of(4.5), Scale.of(0))
WINDOWS = (Window(0, 0, 5), Window(1, 3, 8))


@pytest.fixture(scope="module")
def model() -> AudioWanTransformer:
    return small_model()


def watched_run(model: AudioWanTransformer, steps: int) -> tuple[list[float], OutputChanges, dict[int, list[float]]]:
    """Run without a cache; the changes are also computed by hand."""
    levels, watched = sampling_levels(steps, 3.0), OutputChanges(steps)
    said: dict[tuple[int, str], dict[int, torch.Tensor]] = {}

    class Both:
        wants = "velocity"

        def __call__(self, step: int, window: Window, branch: str, seen: torch.Tensor) -> None:
            watched(step, window, branch, seen)
            said.setdefault((window.index, branch), {})[step] = seen.clone()

    predictor = Predictor(model, small_track(), GUIDANCE, levels, observer=Both())
    latents = {window.index: noisy(window) for window in WINDOWS}
    for step in range(steps):
        for window in WINDOWS:
            velocity = predictor(step, window, latents[window.index])
            latents[window.index] = latents[window.index] + (levels[step + 1] - levels[step]) * velocity
    by_hand = {
        step: [float((v[step] - v[step - 1]).abs().mean() / v[step - 1].abs().mean()) for v in said.values()]
        for step in range(1, steps)
    }
    return levels, watched, by_hand


def test_a_polynomial_is_found_again() -> None:
    changes = np.linspace(0.02, 0.4, 30)
    values = PUBLISHED["wan-i2v-720p"].values
    made = fit(changes.tolist(), np.polyval(values, changes).tolist(), "plain", "test")
    np.testing.assert_allclose(made.coefficients.values, values, rtol=1e-6)
    assert (made.coefficients.low, made.coefficients.high) == (0.02, 0.4)
    assert made.points == 30


def test_few_points_are_met_exactly_by_a_lower_degree() -> None:
    made = fit([0.1, 0.2, 0.4], [0.3, 0.1, 0.5], "plain", "test")
    assert len(made.coefficients.values) == 3
    assert made.error == pytest.approx(0, abs=1e-12)
    with pytest.raises(UserError, match="too few steps to calibrate"):
        fit([0.1, 0.1], [0.2, 0.3], "plain", "test")


@pytest.mark.parametrize("gate", GATES)
def test_runs_are_watched_and_fitted(model: AudioWanTransformer, gate: Any) -> None:
    runs = [watched_run(model, steps) for steps in (6, 9)]
    for _, watched, by_hand in runs:
        assert watched.mean() == pytest.approx({step: np.mean(changes) for step, changes in by_hand.items()})
        assert all(len(changes) == 2 * len(WINDOWS) for changes in by_hand.values())
    made = fit_runs(model, [(levels, watched) for levels, watched, _ in runs], gate)
    assert made.points == 5 + 8
    x = [change for levels, _, _ in runs for change in gate_changes(model, levels[:-1], gate)]
    y = [np.mean(changes) for _, _, by_hand in runs for changes in by_hand.values()]
    expected = np.polyval(np.polyfit(x, y, 4), x)
    np.testing.assert_allclose([made.coefficients(change) for change in x], np.abs(expected), rtol=1e-3, atol=1e-5)
    assert made.error == pytest.approx(np.sqrt(np.mean((np.abs(expected) - y) ** 2)), rel=1e-2)
    assert made.coefficients.source == "fitted to this model's own runs of 6, 9 steps"


def test_a_cache_that_was_fitted_saves_more_calls_the_more_it_bears(model: AudioWanTransformer) -> None:
    levels, watched, _ = watched_run(model, 12)
    coefficients = fit_runs(model, [(levels, watched)]).coefficients
    computed = [sum(TeaCache(coefficients, alpha).decisions(model, levels)) for alpha in (0, 0.05, 0.2, 1e9)]
    assert computed[0] == 12
    assert computed[-1] == 2
    assert computed == sorted(computed, reverse=True)


def test_coefficients_lie_in_the_models_folder(tmp_path: Path) -> None:
    made = Coefficients("modulated", (1.5, -2.0, 0.25), "test", low=0.01, high=0.5)
    path = write_coefficients(tmp_path, made, points=7)
    assert path == tmp_path / "teacache.json"
    assert coefficients_for(tmp_path) == made
    assert json.loads(path.read_text())["points"] == 7
    assert [p.name for p in tmp_path.iterdir()] == ["teacache.json"]
    endless = Coefficients("plain", (1.0, 0.0), "test")
    write_coefficients(tmp_path, endless)
    assert coefficients_for(tmp_path) == endless
    assert coefficients_for(tmp_path, "wan-i2v-480p") is PUBLISHED["wan-i2v-480p"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "has no teacache.json: calibrate"),
        ("{", "cannot be read"),
        ("[]", "is damaged"),
        ('{"format_version": 1, "gate": "plain"}', "is damaged"),
        ('{"format_version": 2}', "of another release"),
        ('{"format_version": 1, "gate": "x", "coefficients": [1], "source": "", "low": 0, "high": 1}', "the gate 'x'"),
        ('{"format_version": 1, "gate": "plain", "coefficients": [], "source": "", "low": 0, "high": 1}', "not all"),
        (
            '{"format_version": 1, "gate": "plain", "coefficients": [1], "source": "", "low": 0, "high": NaN}',
            "no range",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(UserError, match=says) as error:
        coefficients_for(tmp_path)
    assert "\n" not in str(error.value)


def test_unknown_names_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no TeaCache coefficients named 'wan': there are wan-i2v-480p"):
        coefficients_for(tmp_path, "wan")
    with pytest.raises(UserError, match="cannot be written"):
        write_coefficients(tmp_path / "missing", PUBLISHED["wan-i2v-480p"])

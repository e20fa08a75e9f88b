"""Guidance weighs what the model says; its coefficients sum to one."""

from __future__ import annotations

import itertools

import pytest
import torch

from catalogs.errors import UserError
from inference.guidance import FULL, NO_AUDIO, Guidance, Scale, combined

SCALES = (0.0, 0.3, 1.0, 4.5, 7.25)
PAIRS = list(itertools.product(SCALES, SCALES))


def guidance(audio: float | str, text: float | str) -> Guidance:
    return Guidance(Scale.of(audio), Scale.of(text))


@pytest.mark.parametrize(("audio", "text"), PAIRS)
def test_coefficients_sum_to_one_and_none_is_zero(audio: float, text: float) -> None:
    weights = guidance(audio, text).weights(0.5)
    assert sum(coefficient for _, coefficient in weights) == pytest.approx(1, abs=1e-15)
    assert all(coefficient for _, coefficient in weights)
    assert weights[0][0] == FULL


@pytest.mark.parametrize(("audio", "text"), PAIRS)
def test_velocities_are_combined_as_the_mended_equation_says(audio: float, text: float) -> None:
    full, no_audio, null = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = full + audio * (full - no_audio) + text * (no_audio - null)
    of_branch = {"full": full, "no_audio": no_audio, "null": null}
    weights = guidance(audio, text).weights(0.5)
    made = combined([of_branch[branch.name] for branch, _ in weights], [coefficient for _, coefficient in weights])
    torch.testing.assert_close(made, expected.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("audio", "text", "names"),
    [
        (0, 0, ["full"]),
        (4.5, 0, ["full", "no_audio"]),
        (0, 3, ["full", "no_audio", "null"]),
        (4.5, 3, ["full", "no_audio", "null"]),
        (3, 3, ["full", "null"]),  # what is told everything but the sound counts nothing
    ],
)
def test_a_branch_that_counts_nothing_is_not_asked(audio: float, text: float, names: list[str]) -> None:
    assert [branch.name for branch, _ in guidance(audio, text).weights(1.0)] == names


def test_branches_that_agree_and_one_branch_alone_keep_their_bits() -> None:
    velocity = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    weights = [coefficient for _, coefficient in guidance(4.5, 2.7).weights(0.1)]
    assert torch.equal(combined([velocity] * 3, weights), velocity)
    assert torch.equal(combined([velocity], [1.0]), velocity)


def test_the_default_is_the_papers_scale_for_sound_and_none_for_text() -> None:
    assert dict(Guidance().weights(0.7)) == {FULL: 5.5, NO_AUDIO: -4.5}


def test_what_the_null_branch_drops_is_chosen() -> None:
    assert Guidance().null.drops == {"audio", "text", "image", "video"}
    assert Guidance(null_drops=frozenset({"text"})).null.drops == {"audio", "text"}
    for wrong in ((), ("audio",), ("sound",)):
        with pytest.raises(UserError, match="name at least one of image, text, video"):
            Guidance(null_drops=frozenset(wrong))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("4.5", {1.0: 4.5, 0.0: 4.5}),
        (3, {1.0: 3.0, 0.2: 3.0}),
        ("4.5:1.0→2.0:0.0", {1.0: 4.5, 0.5: 3.25, 0.0: 2.0}),
        ("4.5:1->2:0", {1.0: 4.5, 0.8: 4.0, 0.0: 2.0}),
        ("1:0.8, 3:0.4", {1.0: 1.0, 0.8: 1.0, 0.6: 2.0, 0.4: 3.0, 0.1: 3.0}),
        ("4.5:0.6,0:0.6", {1.0: 4.5, 0.6: 4.5, 0.599: 0.0, 0.0: 0.0}),
        ("4:1,4:0.5,1:0.5,1:0", {0.7: 4.0, 0.5: 4.0, 0.4: 1.0}),
    ],
)
def test_a_scale_follows_its_points(text: str | float, values: dict[float, float]) -> None:
    scale = Scale.of(text)
    assert {level: scale.at(level) for level in values} == pytest.approx(values)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("loud", "'loud' is no guidance scale: write a number"),
        ("", "is no guidance scale"),
        ("4.5:x", "is no guidance scale"),
        ("-1", "a guidance scale of -1.0: give 0"),
        ("nan", "a guidance scale of nan"),
        ("4.5:2", "at noise level 2.0: levels go from 1"),
        ("4.5:0->2:1", "write them falling, from noise to data"),
    ],
)
def test_a_scale_that_is_none_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        Scale.of(text)
    assert "\n" not in str(error.value)

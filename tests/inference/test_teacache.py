"""A cache answers for the model in steps that are known in advance, and keeps nothing longer than it is used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from catalogs.errors import UserError
from inference.caches.blocks import Residual, recorded, replaced
from inference.caches.coefficients import PUBLISHED, Coefficients
from inference.caches.gate import GATES, Gate, gate_changes, gate_embeddings
from inference.caches.teacache import Keeps, TeaCache, decisions, state_bytes, windows_alive
from inference.fusion import fuse
from inference.guidance import Guidance, Scale
from inference.noise import noise as noise_of
from inference.orders import ORDERS, evaluations
from inference.predictor import Predictor
from inference.schedules import Schedule
from inference.steps import plan_steps, shown
from inference.windows import Window, layout
from model.errors import ModelError
from model.flow import sampling_levels
from model.transformer import AudioWanTransformer
from tests.support.tracks import CELLS, noisy, small_track
from tests.support.wan_bases import inputs, small_model

STEPS = 8
LEVELS = sampling_levels(STEPS, 3.0)
BOTH = Guidance(Scale.of(4.5), Scale.of(2.0))
NONE = Guidance(Scale.of(0), Scale.of(0))
WINDOWS = (Window(0, 0, 5), Window(1, 3, 8), Window(2, 6, 11), Window(3, 9, 12))
IDENTITY = Coefficients("plain", (1.0, 0.0), "test")


@dataclass(frozen=True)
class Chosen:
    """Computes the steps that a test names."""

    computed: str  #: as ``shown`` draws them
    keeps: Keeps = "residual"
    on_host: bool = False

    def decisions(self, transformer: Any, levels: Sequence[float], forced: Any) -> tuple[bool, ...]:
        return tuple(letter == "#" or step in forced for step, letter in enumerate(self.computed))


@pytest.fixture(scope="module")
def model() -> AudioWanTransformer:
    return small_model()


def run(predictor: Predictor, windows: Sequence[Window] = WINDOWS, order: str = "sweep") -> list[list[Tensor]]:
    """Velocities by step and window, of latents that the answers move."""
    latents = [noisy(window) for window in windows]
    made: list[list[Tensor]] = [[] for _ in windows]
    for step, k in evaluations(order, len(windows), STEPS):
        made[k].append(predictor(step, windows[k], latents[k]))
        latents[k] = latents[k] + (LEVELS[step + 1] - LEVELS[step]) * made[k][-1]
    return made


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("keeps", ["residual", "velocity"])
def test_with_alpha_zero_the_cache_changes_no_bit(model: AudioWanTransformer, keeps: Any, batched: bool) -> None:
    track = small_track()
    cache = TeaCache(PUBLISHED["wan-i2v-480p"], alpha=0.0, keeps=keeps)
    with_cache = Predictor(model, track, BOTH, LEVELS, cache=cache, batched=batched)
    without = Predictor(model, track, BOTH, LEVELS, batched=batched)
    for ours, plain in zip(run(with_cache), run(without), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))
    assert with_cache.calls == without.calls == 3 * STEPS * len(WINDOWS)
    assert with_cache.peak_kept_bytes == 0


@pytest.mark.parametrize("alpha", [0.05, 0.3, 1.0, 50.0])
@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_step_is_computed_as_teacaches_own_loop_does(model: AudioWanTransformer, alpha: float, name: str) -> None:
    """The loop is written down here with numpy, with the absolute value of the polynomial."""
    cache = TeaCache(PUBLISHED[name], alpha=alpha, first=2, last=1)
    levels = sampling_levels(20, 3.0)
    embeddings = gate_embeddings(model, levels[:-1], cache.coefficients.gate).double().numpy()
    polynomial, total, expected = np.poly1d(PUBLISHED[name].values), 0.0, []
    for step in range(20):
        if step in (0, 1, 19):
            expected, total = [*expected, True], 0.0
            continue
        before, now = embeddings[step - 1 : step + 1]
        total += abs(polynomial(np.abs(now - before).mean() / np.abs(before).mean()))
        expected.append(bool(total >= alpha))
        total = 0.0 if expected[-1] else total
    assert cache.decisions(model, levels) == tuple(expected)


@pytest.mark.parametrize("gate", GATES)
def test_the_gate_is_the_embedding_that_the_model_computes(model: AudioWanTransformer, gate: Gate) -> None:
    embeddings = gate_embeddings(model, LEVELS[:-1], gate)
    for level, ours in zip(LEVELS[:-1], embeddings, strict=True):
        with torch.no_grad():
            plain, modulated, *_ = model.condition_embedder(torch.tensor([level]) * 1000, torch.zeros(1, 16, 32))
        torch.testing.assert_close(ours, (plain if gate == "plain" else modulated)[0], atol=1e-6, rtol=1e-5)
    changes = gate_changes(model, LEVELS[:-1], gate)
    assert len(changes) == STEPS - 1
    expected = (embeddings[3] - embeddings[2]).abs().mean() / embeddings[2].abs().mean()
    assert changes[2] == pytest.approx(float(expected), rel=1e-6)


def test_first_and_last_steps_are_always_computed(model: AudioWanTransformer) -> None:
    for first, last in ((1, 0), (1, 1), (3, 2), (20, 0), (1, 20)):
        made = TeaCache(IDENTITY, alpha=1e9, first=first, last=last).decisions(model, LEVELS)
        expected = [step < first or step >= STEPS - last for step in range(STEPS)]
        assert list(made) == expected


def test_a_forced_step_begins_a_new_sum() -> None:
    assert decisions([1.0] * 6, abs, 3.0, ()) == (True, False, False, True, False, False, True)
    assert decisions([1.0] * 6, abs, 3.0, {2}) == (True, False, True, False, False, True, False)


def test_a_polynomial_below_zero_counts_as_its_absolute_value() -> None:
    coefficients = PUBLISHED["wan-i2v-480p"]
    plain = np.poly1d(coefficients.values)
    assert plain(0.04) < 0 < plain(0.1)
    for change in (0.0, 0.04, 0.1, 0.3):
        assert coefficients(change) == pytest.approx(abs(plain(change)))


def test_what_lies_outside_of_the_measured_changes_counts_as_the_nearest() -> None:
    coefficients = Coefficients("plain", (2.0, 0.0), "test", low=0.1, high=0.3)
    assert [coefficients(change) for change in (0.0, 0.2, 9.0)] == pytest.approx([0.2, 0.4, 0.6])


def test_the_step_in_which_the_video_goes_is_computed(model: AudioWanTransformer) -> None:
    cache = TeaCache(IDENTITY, alpha=1e9)
    for n in range(STEPS + 1):
        steps = plan_steps(model, LEVELS, BOTH, has_video=True, hybrid_steps=n, cache=cache)
        assert {number for number, step in enumerate(steps) if step.computed} == {0, n % STEPS, STEPS - 1}


def test_a_branch_that_comes_is_computed_and_one_that_goes_is_not_missed(model: AudioWanTransformer) -> None:
    cache = TeaCache(IDENTITY, alpha=1e9, last=0)
    late = Guidance(Scale.of("0:0.95,4.5:0.95,4.5:0.8,0:0.8"), Scale.of("0:0.6,2:0.6"))
    steps = plan_steps(model, LEVELS, late, cache=cache)
    names = [tuple(branch.name for branch in step.branches) for step in steps]
    comes = [0] + [n for n in range(1, STEPS) if not set(names[n]) <= set(names[n - 1])]
    assert len(set(names)) == 3
    assert len(comes) == 3
    assert [n for n, step in enumerate(steps) if step.computed] == comes
    run(Predictor(model, small_track(), late, LEVELS, cache=cache))  # nothing is asked for that is not there


def test_all_windows_and_branches_are_computed_in_the_same_steps(model: AudioWanTransformer) -> None:
    """Counted at the blocks themselves, not by the predictor."""
    seen: list[int] = []
    handle = model.blocks[0].register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    try:
        alpha = sum(gate_changes(model, LEVELS[:-1], "plain")) / 3
        predictor = Predictor(model, small_track(), BOTH, LEVELS, cache=TeaCache(IDENTITY, alpha=alpha))
        assert 2 < shown(predictor.steps).count("#") < STEPS
        for step in range(STEPS):
            for window in WINDOWS:
                before = len(seen)
                predictor(step, window, noisy(window))
                assert len(seen) - before == predictor.evaluations(step) == 3 * predictor.steps[step].computed
    finally:
        handle.remove()
    assert predictor.calls == len(seen)


def test_a_reused_residual_is_what_the_blocks_added(model: AudioWanTransformer) -> None:
    given = inputs()
    with torch.no_grad(), recorded(model) as residual:
        expected = model(**given).sample
    added = residual.taken()
    tokens: list[Tensor] = []
    handles = [
        model.blocks[0].register_forward_pre_hook(lambda module, given: tokens.append(given[0])),
        model.blocks[-1].register_forward_hook(lambda module, given, out: tokens.append(out)),
    ]
    with torch.no_grad():
        model(**given)
    for handle in handles:
        handle.remove()
    assert torch.equal(added, tokens[1] - tokens[0])
    with torch.no_grad(), replaced(model, added):
        again = model(**given).sample
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert torch.equal(model(**given).sample, expected)  # the model is as it was


def test_a_call_that_fails_leaves_the_model_as_it_was(model: AudioWanTransformer) -> None:
    expected = model(**inputs()).sample
    with pytest.raises(RuntimeError), replaced(model, torch.zeros(1, 2, 3)):
        model(**inputs())
    assert torch.equal(model(**inputs()).sample, expected)
    with pytest.raises(ModelError, match="compile the blocks"):
        Residual().taken()


def test_a_residual_is_reused_beside_compiled_blocks(model: AudioWanTransformer) -> None:
    track, cache = small_track(), Chosen("#.#.#.##")
    compiled = small_model()
    compiled.compile_repeated_blocks(backend="eager", fullgraph=True)
    expected = run(Predictor(model, track, NONE, LEVELS, cache=cache), WINDOWS[:1])
    made = run(Predictor(compiled, track, NONE, LEVELS, cache=cache), WINDOWS[:1])
    for a, b in zip(made[0], expected[0], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_reused_velocity_is_the_last_one(model: AudioWanTransformer) -> None:
    predictor = Predictor(model, small_track(), BOTH, LEVELS, cache=Chosen("#..#..##", "velocity"))
    for of_window in run(predictor):
        for step, letter in enumerate("#..#..##"):
            same = step > 0 and torch.equal(of_window[step], of_window[step - 1])
            assert same == (letter == ".")


def test_the_residual_is_nearer_to_the_truth_than_the_velocity(model: AudioWanTransformer) -> None:
    track, errors = small_track(), {}
    truth = run(Predictor(model, track, BOTH, LEVELS))
    for keeps in ("residual", "velocity"):
        made = run(Predictor(model, track, BOTH, LEVELS, cache=Chosen("#.#.#.##", keeps)))
        errors[keeps] = sum(
            float((a - b).pow(2).mean()) for x, y in zip(made, truth, strict=True) for a, b in zip(x, y, strict=True)
        )
    assert 0 < errors["residual"] < errors["velocity"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("keeps", ["residual", "velocity"])
@pytest.mark.parametrize("computed", ["#.......", "#.#.#.##", "##.#..##"])
def test_what_is_kept_is_what_was_forecast_and_nothing_stays(
    model: AudioWanTransformer, order: str, keeps: Any, computed: str
) -> None:
    windows = [Window(k, 1 + k, 6 + k) for k in range(4)]  # all of one length, as the forecast assumes
    predictor = Predictor(model, small_track(), BOTH, LEVELS, cache=Chosen(computed, keeps))
    run(predictor, windows, order)
    is_computed = [letter == "#" for letter in computed]
    alive = windows_alive(evaluations(order, len(windows), STEPS), is_computed)
    forecast = state_bytes(
        model.config, keeps, latents=5, height=4, width=4, branches=3, windows=alive, dtype=torch.float32
    )
    assert predictor.peak_kept_bytes == forecast
    assert predictor.kept_bytes == 0
    assert predictor.state() == {}


@pytest.mark.parametrize("order", ["cone", "waves"])
def test_a_longer_video_keeps_no_more(order: str) -> None:
    computed = [True] + [False] * (STEPS - 1)
    short, long = (windows_alive(evaluations(order, n, STEPS), computed) for n in (2 * STEPS, 30 * STEPS))
    assert short == long <= 2 * STEPS


def test_memory_of_a_public_size_is_the_known_one() -> None:
    """335 MB a window and branch at 14B, 480p and 21 latents; the velocity takes an eightieth of it."""
    config = {"num_attention_heads": 40, "attention_head_dim": 128, "out_channels": 16, "patch_size": (1, 2, 2)}
    size = {"latents": 21, "height": 60, "width": 104, "branches": 1, "windows": 1}
    assert state_bytes(config, "residual", **size) == 21 * 30 * 52 * 5120 * 2
    assert state_bytes(config, "residual", **size) == pytest.approx(335e6, rel=0.01)
    assert state_bytes(config, "residual", **size) == 80 * state_bytes(config, "velocity", **size)


@pytest.mark.parametrize("keeps", ["residual", "velocity"])
@pytest.mark.parametrize("stop", [1, 9, 14])
def test_a_generation_goes_on_elsewhere_from_what_was_kept(model: AudioWanTransformer, keeps: Any, stop: int) -> None:
    track, cache = small_track(), Chosen("#..#.#.#", keeps)
    todo = list(evaluations("cone", 3, STEPS))
    whole = Predictor(model, track, BOTH, LEVELS, cache=cache)
    expected = [whole(step, WINDOWS[k], noisy(WINDOWS[k], seed=step)) for step, k in todo]
    first = Predictor(model, track, BOTH, LEVELS, cache=cache)
    made = [first(step, WINDOWS[k], noisy(WINDOWS[k], seed=step)) for step, k in todo[:stop]]
    state = {key: tensor.clone() for key, tensor in first.state().items()}
    second = Predictor(model, track, BOTH, LEVELS, cache=cache)
    second.restore(state)
    made += [second(step, WINDOWS[k], noisy(WINDOWS[k], seed=step)) for step, k in todo[stop:]]
    assert all(torch.equal(a, b) for a, b in zip(made, expected, strict=True))


@pytest.mark.parametrize("keeps", ["residual", "velocity"])
def test_every_order_gives_the_same_bits_with_a_cache(model: AudioWanTransformer, keeps: Any) -> None:
    track, made, drawn = small_track(video=True), [], partial(noise_of, 7, shape=(16, *CELLS))
    for order in ORDERS:
        predictor = Predictor(model, track, BOTH, LEVELS, cache=Chosen("#.#..#.#", keeps), hybrid_steps=4)
        parts = fuse(layout(12, 5, 2), order, Schedule("euler", STEPS, 3.0), predictor, drawn)
        made.append(torch.cat([latents for _, latents in parts], 2))
        assert predictor.calls == 4 * 3 * shown(predictor.steps).count("#")
        assert predictor.kept_bytes == 0
    assert made[0].shape == (1, 16, 12, *CELLS)
    assert all(torch.equal(latents, made[0]) for latents in made)


def test_what_is_kept_may_lie_on_the_host(model: AudioWanTransformer) -> None:
    track, cache = small_track(), Chosen("#..#.#.#", "residual")
    here = run(Predictor(model, track, BOTH, LEVELS, cache=cache))
    there = run(Predictor(model, track, BOTH, LEVELS, cache=replace(cache, on_host=True)))
    assert all(torch.equal(a, b) for x, y in zip(here, there, strict=True) for a, b in zip(x, y, strict=True))


def test_hybrid_inference_never_answers_from_before_the_switch(model: AudioWanTransformer) -> None:
    track = small_track(video=True)
    predictor = Predictor(model, track, BOTH, LEVELS, hybrid_steps=3, cache=Chosen("#.......", "velocity"))
    image_only = Predictor(model, replace(track, video=None, hole=None), BOTH, LEVELS)
    for step in range(STEPS):
        made = predictor(step, WINDOWS[1], noisy(WINDOWS[1]))
        if step == 3:
            assert torch.equal(made, image_only(3, WINDOWS[1], noisy(WINDOWS[1])))
    assert shown(predictor.steps) == "#..#...."


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"alpha": -0.1}, "TeaCache with alpha -0.1: give 0"),
        ({"alpha": math.inf}, "TeaCache with alpha inf"),
        ({"first": 0}, "always computes 0 first and 1 last steps"),
        ({"last": -1}, "always computes 1 first and -1 last steps"),
    ],
)
def test_a_cache_that_cannot_be_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        TeaCache(IDENTITY, **change)

"""Fusing windows: every order against a sweep over the whole video that is written down once more, in ten lines."""

from __future__ import annotations

import gc
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator

import pytest
import torch
from torch import Tensor

from catalogs.errors import UserError
from inference.fusion import Fusion, FusionState, fuse
from inference.orders import ORDERS, resident
from inference.schedules import SCHEDULES, Schedule
from inference.windows import Layout, Window, layout
from tests.support.fusing import SHAPE, keyed_noise, whole, window_velocity

#: (latents, window, overlap, steps): ragged tails, full tails, one window, half a window of overlap, none.
SIZES = [
    (30, 8, 3, 4),
    (29, 8, 4, 3),
    (28, 8, 2, 1),
    (23, 8, 3, 6),
    (40, 4, 2, 9),
    (17, 6, 0, 3),
    (5, 8, 3, 3),
    (9, 8, 2, 2),
]


def swept(made: Layout, schedule: Schedule) -> Tensor:
    """The whole video at once: all windows speak, the weighted velocities are added, everything steps."""
    latents, stepper = keyed_noise(0, made.latents), schedule.start()
    for step in range(schedule.steps):
        total = torch.zeros_like(latents)
        for window in made.windows:
            span = slice(window.start, window.stop)
            said = window_velocity(step, window, latents[:, :, span].clone())
            total[:, :, span] += made.weights(window).view(-1, 1, 1) * said
        latents = stepper.step(step, latents, total)
    return latents


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", SIZES)
def test_every_order_equals_the_sweep_over_the_whole_video_bit_for_bit(
    size: tuple[int, int, int, int], order: str
) -> None:
    made, schedule = layout(*size[:3]), Schedule("euler", size[3], shift=2.0)
    assert torch.equal(whole(fuse(made, order, schedule, window_velocity, keyed_noise)), swept(made, schedule))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "euler"])
def test_with_a_schedule_that_remembers_too(name: str, order: str) -> None:
    made, schedule = layout(30, 8, 3), Schedule(name, 5, shift=2.0)
    assert torch.equal(whole(fuse(made, order, schedule, window_velocity, keyed_noise)), swept(made, schedule))


def test_windows_that_agree_are_not_changed_by_the_fusion() -> None:
    """A constant field: the fused velocity is the velocity, so sampling ends where one window would."""
    field = torch.randn(1, SHAPE[0], 30, *SHAPE[1:], generator=torch.Generator().manual_seed(3))
    made, schedule = layout(30, 8, 3), Schedule("euler", 4)
    found = whole(
        fuse(made, "cone", schedule, lambda step, window, _: field[:, :, window.start : window.stop], keyed_noise)
    )
    torch.testing.assert_close(found, keyed_noise(0, 30) - field, atol=1e-6, rtol=0)


def test_a_longer_video_begins_with_the_same_bits_as_far_as_its_windows_do_not_reach() -> None:
    """A window hears of its neighbours once a step, so what differs from window m on reaches m - (T - 1)."""
    steps = 3
    short, long = layout(50, 8, 3), layout(90, 8, 3)
    videos = [whole(fuse(it, "waves", Schedule("unipc", steps), window_velocity, keyed_noise)) for it in (short, long)]
    differs = len(short.windows) - 1  # the last window of the shorter one fades there, and may be ragged
    reached = short.windows[differs - (steps - 1)].start
    assert torch.equal(videos[0][:, :, :reached], videos[1][:, :, :reached])
    assert not torch.equal(videos[0][:, :, reached:], videos[1][:, :, reached:50])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", SIZES)
def test_memory_and_the_wait_for_the_first_output_are_those_that_were_foretold(
    size: tuple[int, int, int, int], order: str
) -> None:
    made, most, first = layout(*size[:3]), 0, None
    fusion = Fusion(made, order, Schedule("euler", size[3]), window_velocity, keyed_noise)
    while not fusion.is_done:
        fusion.advance()
        most = max(most, fusion.latents_alive)
        for _ in fusion.finished():
            first = first or fusion.evaluated
    foretold = resident(order, made, size[3])
    assert (most, first) == foretold
    assert fusion.latents_alive == 0


@pytest.fixture
def alive() -> Iterator[Callable[[], int]]:
    """Counts the latents that tensors keep in memory, whoever holds them; a view counts as all that it keeps."""
    gc.collect()
    gc.freeze()  # what was there before is not looked at

    def count() -> int:
        return kept(it for it in gc.get_objects() if type(it) is Tensor and it.shape[3:] == SHAPE[1:])

    yield count
    gc.unfreeze()


def kept(tensors: Iterable[Tensor]) -> int:
    storages = {it.untyped_storage().data_ptr(): it.untyped_storage().nbytes() for it in tensors}
    return sum(storages.values()) // (4 * math.prod(SHAPE))


@pytest.mark.parametrize("order", ["waves", "cone"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_finished_segments_are_really_freed_and_a_longer_video_takes_no_more_memory(
    alive: Callable[[], int], name: str, order: str
) -> None:
    """After every evaluation nothing is in memory but what the state tells of: no view, no cycle, no forgotten name."""
    peaks = []
    for latents in (60, 120):
        made, most = layout(latents, 8, 3), 0
        fusion = Fusion(made, order, Schedule(name, 3), window_velocity, keyed_noise)
        while not fusion.is_done:
            fusion.advance()
            most = max(most, alive())
            assert alive() == kept(fusion.state().tensors.values())
            for segment, tensor in fusion.finished():
                assert len(segment) == tensor.shape[2]
                del tensor  # what was handed out belongs to the caller
            assert alive() == kept(fusion.state().tensors.values())
        assert alive() == 0
        peaks.append(most)
    assert peaks[0] == peaks[1]
    assert peaks[0] < 60 * (1 + Schedule(name, 3).tensors_kept)


def test_noise_is_asked_for_once_for_every_segment_when_it_is_first_needed() -> None:
    asked: list[tuple[int, int]] = []

    def noise(first: int, n: int) -> Tensor:
        asked.append((first, n))
        return keyed_noise(first, n)

    made = layout(60, 8, 3)
    parts = fuse(made, "cone", Schedule("euler", 3), window_velocity, noise)
    assert asked == []
    next(parts)
    assert asked == [(segment.start, len(segment)) for segment in made.segments[:6]]  # of the first 3 windows
    list(parts)
    assert asked == [(segment.start, len(segment)) for segment in made.segments]


def test_nothing_happens_between_two_segments_until_the_next_is_asked_for() -> None:
    calls: list[int] = []

    def velocity(step: int, window: Window, latents: Tensor) -> Tensor:
        calls.append(step)
        return window_velocity(step, window, latents)

    parts = fuse(layout(60, 8, 3), "cone", Schedule("euler", 3), velocity, keyed_noise)
    next(parts)
    assert len(calls) == 6  # T (T + 1) / 2
    next(parts)
    assert len(calls) == 9


def on_disk(state: FusionState) -> FusionState:
    """As it comes back from safetensors and JSON."""
    tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
    return FusionState(tensors, json.loads(json.dumps(state.numbers)))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_generation_goes_on_from_its_state_after_any_evaluation_with_the_same_bits(name: str, order: str) -> None:
    made, schedule = layout(19, 8, 3), Schedule(name, 3)
    straight = whole(fuse(made, order, schedule, window_velocity, keyed_noise))
    n = len(made.windows) * 3
    for killed in range(n):
        fusion = Fusion(made, order, schedule, window_velocity, keyed_noise)
        before: list[Tensor] = []
        for _ in range(killed):
            fusion.advance()
            before += [tensor for _, tensor in fusion.finished()]
        rest = Fusion(made, order, schedule, window_velocity, keyed_noise, resume=on_disk(fusion.state()))
        assert rest.evaluated == killed
        after = [tensor for _, tensor in rest.run()]
        assert torch.equal(torch.cat([*before, *after], dim=2), straight), killed


def test_a_segment_that_was_not_yet_handed_out_is_in_the_state() -> None:
    """An evaluation may finish two segments, and the kill may come while the first is written."""
    made, schedule = layout(19, 8, 3), Schedule("unipc", 2)
    straight = list(fuse(made, "cone", schedule, window_velocity, keyed_noise))
    for n in range(1, len(straight)):
        fusion = Fusion(made, "cone", schedule, window_velocity, keyed_noise)
        assert len(list(itertools.islice(fusion.run(), n))) == n
        rest = Fusion(made, "cone", schedule, window_velocity, keyed_noise, resume=on_disk(fusion.state()))
        resumed = list(rest.run())
        assert [segment for segment, _ in resumed] == [segment for segment, _ in straight[n:]]
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(resumed, straight[n:], strict=True))


def test_an_evaluation_that_was_stopped_is_not_done_and_can_be_done_again() -> None:
    made, schedule = layout(30, 8, 3), Schedule("dpm++", 3)
    stops = iter([False] * 7 + [True] + [False] * 100)

    def velocity(step: int, window: Window, latents: Tensor) -> Tensor:
        if next(stops):
            raise KeyboardInterrupt
        return window_velocity(step, window, latents)

    fusion = Fusion(made, "waves", schedule, velocity, keyed_noise)
    with pytest.raises(KeyboardInterrupt):
        list(fusion.run())
    assert fusion.evaluated == 7
    straight = whole(fuse(made, "waves", schedule, window_velocity, keyed_noise))
    resumed = Fusion(made, "waves", schedule, window_velocity, keyed_noise, resume=on_disk(fusion.state()))
    assert torch.equal(whole(resumed.run()), straight)
    assert torch.equal(whole(fusion.run()), straight)


def test_a_state_of_other_settings_is_refused_in_one_line() -> None:
    state = Fusion(layout(30, 8, 3), "cone", Schedule("euler", 3), window_velocity, keyed_noise).state()
    with pytest.raises(UserError) as caught:
        Fusion(layout(30, 8, 3), "cone", Schedule("euler", 4), window_velocity, keyed_noise, resume=state)
    assert str(caught.value) == "the generation to resume has steps 3, this one 4: use the same settings"

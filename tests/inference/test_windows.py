"""Windows and segments: every number is counted latent by latent, for all small layouts."""

from __future__ import annotations

import pytest
import torch

from catalogs.errors import UserError
from inference.windows import Layout, layout

LAYOUTS = [
    (latents, length, overlap)
    for length in (1, 2, 4, 5, 8, 9)
    for overlap in (0, *range(2, length // 2 + 1))
    for latents in range(1, 30)
]


def covers(made: Layout) -> list[tuple[int, ...]]:
    """The windows over each latent, counted one by one."""
    return [tuple(w.index for w in made.windows if w.start <= at < w.stop) for at in range(made.latents)]


def test_one_or_two_windows_meet_at_every_latent_and_never_three() -> None:
    for numbers in LAYOUTS:
        assert {len(over) for over in covers(layout(*numbers))} <= {1, 2}, numbers


def test_windows_begin_every_stride_and_only_the_last_is_short_and_brings_something_new() -> None:
    for latents, length, overlap in LAYOUTS:
        windows = layout(latents, length, overlap).windows
        assert [w.start for w in windows] == [k * (length - overlap) for k in range(len(windows))]
        assert all(len(w) == length for w in windows[:-1])
        assert windows[-1].stop == latents
        assert len(windows[-1]) > (overlap if len(windows) > 1 else 0)


def test_a_segment_is_a_longest_run_of_latents_under_the_same_windows() -> None:
    for numbers in LAYOUTS:
        made = layout(*numbers)
        over = covers(made)
        starts = [at for at in range(made.latents) if at == 0 or over[at] != over[at - 1]]
        assert [segment.start for segment in made.segments] == starts
        assert [segment.stop for segment in made.segments] == [*starts[1:], made.latents]
        assert [segment.windows for segment in made.segments] == [over[at] for at in starts]
        assert [segment.index for segment in made.segments] == list(range(len(starts)))


def test_a_window_is_made_of_its_segments() -> None:
    for numbers in LAYOUTS:
        made = layout(*numbers)
        for window in made.windows:
            segments = made.segments_of(window)
            latents = [at for segment in segments for at in range(segment.start, segment.stop)]
            assert latents == list(range(window.start, window.stop))


def test_weights_sum_to_exactly_one_at_every_latent() -> None:
    for numbers in [*LAYOUTS, (100, 40, 17), (100, 40, 20), (300, 101, 50)]:
        made = layout(*numbers)
        total = torch.zeros(made.latents)
        for window in made.windows:
            total[window.start : window.stop] += made.weights(window)
        assert torch.equal(total, torch.ones(made.latents)), numbers


def test_the_ramp_is_closed_so_slot_0_of_a_later_window_counts_nothing() -> None:
    made = layout(37, 21, 5)
    ramp = [0, 0.25, 0.5, 0.75, 1]  # (i - 1) / (o - 1)
    first, second = made.windows
    assert made.weights(first).tolist() == [1] * 16 + ramp[::-1]
    assert made.weights(second).tolist() == ramp + [1] * 16


def test_a_video_shorter_than_a_window_is_one_window() -> None:
    made = layout(3, 21, 5)
    assert [(w.start, w.stop) for w in made.windows] == [(0, 3)]
    assert made.weights(made.windows[0]).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("numbers", "line"),
    [
        (
            (50, 21, 11),
            "windows of 21 latents cannot overlap by 11, as more than two windows would meet: use 0 or 2 to 10",
        ),
        (
            (50, 21, 1),
            "windows of 21 latents cannot overlap by 1, as a ramp over 1 latent has no slope: use 0 or 2 to 10",
        ),
        ((50, 21, -1), "windows of 21 latents cannot overlap by -1, as an overlap is not negative: use 0 or 2 to 10"),
        ((50, 3, 2), "windows of 3 latents cannot overlap by 2, as more than two windows would meet: use 0"),
        ((0, 21, 5), "0 latents are no video: give at least one latent"),
        ((50, 0, 0), "a window of 0 latents sees nothing: give at least one latent"),
    ],
)
def test_numbers_that_make_no_layout_are_refused_in_one_line(numbers: tuple[int, int, int], line: str) -> None:
    with pytest.raises(UserError) as caught:
        layout(*numbers)
    assert str(caught.value) == line

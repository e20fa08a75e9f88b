"""Processes that share out windows make the video of one process, bit for bit, and can be stopped and exchanged."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.fusion import Fusion, fuse
from inference.parallel.group import Group
from inference.parallel.ticks import ticks as ticks_of
from inference.parallel.windows import SharedFusion
from inference.schedules import Schedule
from inference.windows import Layout, layout
from tests.support.fusing import SHAPE, keyed_noise, whole, window_velocity
from tests.support.inference_processes import (
    RESUMED,
    SCHEDULES,
    SIZES,
    STOPPED,
    fusion_of,
    load_state,
    sample_in_groups_of_2_3_and_4,
    save_state,
    start,
)

LATENT_BYTES = 4 * SHAPE[0] * SHAPE[1] * SHAPE[2]
Size = tuple[int, int, int, int]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what groups of 2, 3 and 4 processes made."""
    folder = tmp_path_factory.mktemp("processes")
    alone = Fusion(layout(*RESUMED[:3]), "cone", Schedule("unipc", RESUMED[3], 2.0), window_velocity, keyed_noise)
    for _ in range(9):
        alone.advance()
    torch.save([latents for _, latents in alone.finished()], folder / "before-1.pt")
    save_state(alone.state(), folder / "state-1.pt")
    start(sample_in_groups_of_2_3_and_4, folder, 4)
    return folder


def made_by(folder: Path, world: int, size: Size, schedule: str, rank: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / f"{world}-{'-'.join(map(str, size))}-{schedule}-{rank}.pt")
    return found


def alone(size: Size, schedule: str) -> torch.Tensor:
    parts = fuse(layout(*size[:3]), "sweep", Schedule(schedule, size[3], 2.0), window_velocity, keyed_noise)
    return whole(parts)


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_many_processes_make_the_video_of_one_bit_for_bit(done: Path, world: int, size: Size, schedule: str) -> None:
    segments = made_by(done, world, size, schedule)["segments"]
    assert [index for index, _ in segments] == list(range(len(layout(*size[:3]).segments))), "in temporal order"
    assert torch.equal(torch.cat([latents for _, latents in segments], 2), alone(size, schedule))
    for rank in range(1, world):
        assert made_by(done, world, size, schedule, rank)["segments"] == [], "only the first process hands out"


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_they_exchange_the_overlaps_once_a_step_and_finished_latents_once(done: Path, world: int, size: Size) -> None:
    made = layout(*size[:3])
    shared = sum(len(segment) for segment in made.segments if len(segment.windows) == 2)
    others = sum(len(segment) for segment in made.segments if 0 not in [window % world for window in segment.windows])
    sent = sum(made_by(done, world, size, "euler", rank)["sent"] for rank in range(world))
    assert sent == LATENT_BYTES * (2 * shared * size[3] + others)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_a_process_has_its_share_of_the_latents_in_memory(done: Path, world: int) -> None:
    """Its own windows among those that are under way at once, and what it has not handed out yet."""
    size = SIZES[0]
    made = layout(*size[:3])
    for rank in range(world):
        assert made_by(done, world, size, "unipc", rank)["most"] <= _most(made, size[3], world, rank)


def _most(made: Layout, steps: int, world: int, rank: int) -> int:
    """Count, without the class, the latents of segments that are begun and not over."""
    at = [0] * len(made.windows)
    most = 0
    for tick in ticks_of(list(at), steps, world):
        touched = set()
        for step, window in tick:
            at[window] = step + 1
        for segment in made.segments:
            is_mine = rank in [window % world for window in segment.windows] or rank == 0
            if is_mine and any(at[k] for k in segment.windows) and not all(at[k] == steps for k in segment.windows):
                touched.add(segment)
        just_over = sum(len(s) for s in made.segments if any(w == k for _, w in tick for k in s.windows))
        most = max(most, sum(map(len, touched)) + just_over)
    return most


@pytest.mark.parametrize(("before", "after"), [(4, 4), (4, 3), (4, 2), (3, 3), (3, 2), (2, 2)])
@pytest.mark.parametrize("ticks", STOPPED)
def test_as_many_processes_or_fewer_go_on_where_some_stopped(done: Path, before: int, after: int, ticks: int) -> None:
    parts = torch.load(done / f"before-{before}-{ticks}.pt") + torch.load(done / f"after-{before}-{ticks}-{after}.pt")
    assert torch.equal(torch.cat(parts, 2), alone(RESUMED, "unipc"))


@pytest.mark.parametrize("after", [2, 3, 4])
def test_many_go_on_with_what_one_process_began(done: Path, after: int) -> None:
    parts = torch.load(done / "before-1.pt") + torch.load(done / f"after-1-{after}.pt")
    assert torch.equal(torch.cat(parts, 2), alone(RESUMED, "unipc"))


@pytest.mark.parametrize("before", [2, 3, 4])
@pytest.mark.parametrize("ticks", STOPPED)
def test_one_process_goes_on_where_many_stopped(done: Path, before: int, ticks: int) -> None:
    rest = fusion_of(RESUMED, "unipc", Group.alone(), resume=load_state(done / f"state-{before}-{ticks}.pt"))
    parts = torch.load(done / f"before-{before}-{ticks}.pt") + [latents for _, latents in rest.run()]
    assert torch.equal(torch.cat(parts, 2), alone(RESUMED, "unipc"))


@pytest.mark.parametrize("order", ["sweep", "waves", "cone"])
def test_a_group_of_one_is_a_fusion_whose_state_both_can_read(order: str) -> None:
    made, schedule = layout(*RESUMED[:3]), Schedule("unipc", RESUMED[3])
    straight = whole(fuse(made, order, schedule, window_velocity, keyed_noise))
    for killed in range(0, len(made.windows) * schedule.steps, 5):
        from_fusion = Fusion(made, order, schedule, window_velocity, keyed_noise)

        def shared(**more: Any) -> SharedFusion:
            return SharedFusion(made, order, schedule, window_velocity, keyed_noise, Group.alone(), **more)

        ours = shared()
        before: list[torch.Tensor] = []
        for _ in range(killed):
            from_fusion.advance()
            ours.advance()
            before += [latents for _, latents in from_fusion.finished()]
            list(ours.finished())
        for state in (ours.state(), from_fusion.state()):
            rest = shared(resume=state)
            assert rest.evaluated == killed
            assert torch.equal(torch.cat([*before, *(it for _, it in rest.run())], 2), straight)
        rest_of_fusion = Fusion(made, order, schedule, window_velocity, keyed_noise, resume=ours.state())
        assert torch.equal(torch.cat([*before, *(it for _, it in rest_of_fusion.run())], 2), straight)


def test_sizes_are_what_they_are_said_to_be() -> None:
    counts = [len(layout(*size[:3]).windows) for size in SIZES]
    assert min(counts) < 4 < max(counts)
    assert any(len(made.windows[-1]) < made.length for made in (layout(*size[:3]) for size in SIZES))
    assert any(size[2] == 0 for size in SIZES)
    assert len(list(itertools.product(SIZES, SCHEDULES))) == 8

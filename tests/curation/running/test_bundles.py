"""Bundles have their usual size where clips cost something, and are larger where they do not."""

import numpy as np
import pyarrow as pa

from catalogs.layout import Shard
from catalogs.whereabouts import SPAN_COLUMNS
from curation.running.bundles import BundleSize, bundles
from curation.running.units import Bundle, Tasks, Unit
from runner.pace import Pace

SIZE = BundleSize(usual=4, most=40, seconds=10.0)


def unit(clips: int) -> Unit:
    """Make a unit of clips that are told apart by where they begin."""
    numbers = np.arange(clips)
    columns = {name: pa.array([f"{name}{i}" for i in numbers]) for name in SPAN_COLUMNS}
    columns |= {name: pa.array(numbers.astype(float)) for name in ("start_s", "end_s")}
    columns |= {name: pa.array(numbers) for name in ("start_pts", "end_pts")}
    columns["time_base"] = pa.array(["1/25"] * clips)
    columns["moved_to"] = pa.nulls(clips, pa.string())
    columns["is_replaced"] = pa.array([False] * clips)
    columns["stamp"] = pa.nulls(clips, pa.uint64())
    return Unit(Shard("clips/a.parquet"), Tasks(pa.table(columns)))


def pace_of(item_s: float, units: int = 8) -> Pace:
    pace = Pace()
    for _ in range(units):
        pace.note(4, 4 * item_s)
    return pace


def test_a_bundle_is_usual_until_enough_is_known() -> None:
    assert SIZE.at(Pace()) == 4
    assert SIZE.at(pace_of(0.001, units=7)) == 4


def test_cheap_clips_come_in_large_bundles_and_dear_ones_in_usual_ones() -> None:
    assert SIZE.at(pace_of(0.001)) == 40
    assert SIZE.at(pace_of(0.0)) == 40
    assert SIZE.at(pace_of(0.5)) == 20
    assert SIZE.at(pace_of(60.0)) == 4


def test_one_slow_unit_does_not_change_the_pace() -> None:
    pace = pace_of(0.5, units=20)
    pace.note(4, 4000.0)  # it loaded a model first
    assert pace.item_s == 0.5


def starts(bundle: Bundle) -> list[list[int]]:
    """Return where the clips of each unit of a bundle begin."""
    return [[int(task.span.start_s) for task in unit.tasks] for unit in bundle.units]


def test_bundles_hold_every_clip_once_and_grow_when_the_pace_is_known() -> None:
    pace = Pace()
    parts = bundles([unit(10), unit(90)], SIZE, pace)
    first = [next(parts) for _ in range(4)]
    assert [len(part) for part in first] == [4, 4, 2, 4]
    for _ in range(8):
        pace.note(100, 1.0)
    rest = list(parts)
    assert [len(part) for part in rest] == [40, 40, 6]
    held = [start for part in [*first, *rest] for unit_starts in starts(part) for start in unit_starts]
    assert held == [*range(10), *range(90)]


def test_small_units_come_together_and_each_is_cut_from_its_own_beginning() -> None:
    found = list(bundles([unit(1), unit(2), unit(3), unit(9), unit(1)], SIZE, Pace()))
    assert [starts(bundle) for bundle in found] == [
        [[0], [0, 1]],
        [[0, 1, 2]],
        [[0, 1, 2, 3]],
        [[4, 5, 6, 7]],
        [[8], [0]],
    ]


def test_a_bundle_is_halved_down_to_one_clip() -> None:
    bundle = Bundle((unit(3), unit(2)))
    assert [starts(half) for half in bundle.halves()] == [[[0, 1, 2]], [[0, 1]]]
    assert [starts(half) for half in bundle.halves()[0].halves()] == [[[0]], [[1, 2]]]
    assert [part.is_again for part in bundle.again().units] == [True, True]

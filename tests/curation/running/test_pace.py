"""How large units are made: their usual size where clips cost something, larger where they do not."""

import numpy as np
import pyarrow as pa

from catalogs.layout import Shard
from curation.running.pace import Pace, UnitSize, portions
from curation.units import SPAN_COLUMNS, Tasks, Unit

SIZE = UnitSize(usual=4, most=40, seconds=10.0)


def unit(clips: int) -> Unit:
    """A unit of clips that are told apart by where they begin."""
    numbers = np.arange(clips)
    columns = {name: pa.array([f"{name}{i}" for i in numbers]) for name in SPAN_COLUMNS}
    columns |= {name: pa.array(numbers.astype(float)) for name in ("start_s", "end_s")}
    columns |= {name: pa.array(numbers) for name in ("start_pts", "end_pts")}
    columns["time_base"] = pa.array(["1/25"] * clips)
    columns["moved_to"] = pa.nulls(clips, pa.string())
    columns["is_replaced"] = pa.array([False] * clips)
    return Unit(Shard("clips/a.parquet"), Tasks(pa.table(columns)))


def pace_of(item_s: float, units: int = 8) -> Pace:
    pace = Pace()
    for _ in range(units):
        pace.note(4, 4 * item_s)
    return pace


def test_a_unit_is_usual_until_enough_is_known() -> None:
    assert SIZE.at(Pace()) == 4
    assert SIZE.at(pace_of(0.001, units=7)) == 4


def test_cheap_clips_come_in_large_units_and_dear_ones_in_usual_ones() -> None:
    assert SIZE.at(pace_of(0.001)) == 40
    assert SIZE.at(pace_of(0.0)) == 40
    assert SIZE.at(pace_of(0.5)) == 20
    assert SIZE.at(pace_of(60.0)) == 4


def test_one_slow_unit_does_not_change_the_pace() -> None:
    pace = pace_of(0.5, units=20)
    pace.note(4, 4000.0)  # it loaded a model first
    assert pace.item_s == 0.5


def test_portions_hold_every_clip_once_and_grow_when_the_pace_is_known() -> None:
    pace = Pace()
    parts = portions([unit(10), unit(90)], SIZE, pace)
    first = [next(parts) for _ in range(4)]
    assert [len(part) for part in first] == [4, 4, 2, 4]
    for _ in range(8):
        pace.note(100, 1.0)
    rest = list(parts)
    assert [len(part) for part in rest] == [40, 40, 6]
    starts = [task.span.start_s for part in [*first, *rest] for task in part.tasks]
    assert starts == [*range(10), *range(90)]

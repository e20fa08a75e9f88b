"""SQL over a catalog and Python over one clip say the same of where a clip stops.

This holds for any policy, any failures and any missing models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs import schema
from catalogs.errors import ErrorCode, is_owed_again
from catalogs.media import MediaConfig
from curation.deciding.bound import BoundStage, Funnel, resolve
from curation.deciding.policy import Policy, Rule, StagePolicy
from curation.deciding.rules import Decider, define_rules
from curation.deciding.stops import (
    is_owed,
    is_owed_sql,
    outcome_of,
    outcome_sql,
    reason_sql,
    stop_of,
    stop_sql,
    wide_name,
    within_reach,
)
from tests.support.fakes import FakeConfig, fake_stage

MEASURING = ("first", "second", "third")


@dataclass(frozen=True)
class Measured:
    number: float | None
    status: str


@dataclass(frozen=True)
class Failed:
    code: ErrorCode
    attempt: int


Result = Measured | Failed | None
Clip = Mapping[str, Result]

NUMBERS = st.sampled_from([None, -1.0, 0.0, 1.0, 2.0, float("nan")])
RESULTS = st.one_of(
    st.none(),
    st.builds(Measured, NUMBERS, st.sampled_from(["ok", "not_applicable", "unavailable"])),
    st.builds(Failed, st.sampled_from(list(ErrorCode)), st.integers(1, 4)),
)
CLIPS = st.fixed_dictionaries({**dict.fromkeys(MEASURING, RESULTS), "duration_s": st.sampled_from([1.0, 5.0])})
RULE_SETS = st.lists(
    st.sampled_from(["number < 1", "number >= 0", "number IS NULL", "abs(number) <= 1", "status = 'ok'"]), max_size=2
)


@st.composite
def funnels(draw: st.DrawFn) -> Funnel:
    """Draw funnels of scene_split and three stages, with any rules; some lack their model, or that of a column."""
    length = draw(st.sampled_from([(), (Rule("length", "duration_s > 3", ("duration_s",)),)]))
    stages = [StagePolicy(fake_stage("scene_split"), length, FakeConfig())]
    for name in MEASURING:
        rules = tuple(
            Rule(f"rule_{number}", sql, ("status" if "status" in sql else "number",))
            for number, sql in enumerate(draw(RULE_SETS))
        )
        on_unavailable = draw(st.sampled_from(["pass", "drop"]))
        stages.append(StagePolicy(fake_stage(name), rules, FakeConfig(), on_unavailable))
    funnel = resolve(Policy("random", "lite", MediaConfig(), tuple(stages), "stages: []"))
    lacking = [draw(st.sampled_from([{}, {"missing": ("weights",)}, {"unavailable_columns": {"number": "weights"}}]))
               for _ in MEASURING]  # fmt: skip
    bound = (replace(stage, **what) for stage, what in zip(funnel.measuring, lacking, strict=True))
    return Funnel(funnel.policy, (funnel.split, *bound))


def wide_table(funnel: Funnel, clips: list[Clip]) -> pa.Table:
    """Make what catalogs/wide.py makes of the clips: a row each, the stages' columns under the wide table's names."""
    rows = []
    for number, clip in enumerate(clips):
        row = {"row": number, "duration_s": clip["duration_s"]}
        for bound in funnel.measuring:
            name, result = partial(wide_name, bound), clip[bound.name]
            if isinstance(result, Measured):
                row |= {name("number"): result.number, name("status"): result.status}
            elif isinstance(result, Failed):
                row |= {name("error_code"): result.code.value, name("attempt"): result.attempt}
        rows.append(row)
    texts = [wide_name(bound, n) for bound in funnel.measuring for n in ("status", "status_detail", "error_code")]
    fields = [("row", pa.int64()), *((name, schema.CLIPS.field(name).type) for name in schema.CLIPS.names)]
    fields += [(name, pa.string()) for name in texts]
    fields += [(wide_name(bound, "detail"), pa.string()) for bound in funnel.measuring]
    fields += [(wide_name(bound, "number"), pa.float64()) for bound in funnel.measuring]
    fields += [(wide_name(bound, "attempt"), pa.int32()) for bound in funnel.measuring]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def asked(funnel: Funnel, clips: list[Clip], *sql: str) -> list[tuple]:
    """Evaluate SQL expressions; return a tuple per clip."""
    with duckdb.connect() as connection:
        define_rules(connection, [bound for bound in funnel.stages if bound.is_available])
        connection.register("clips", wide_table(funnel, clips))
        return connection.execute(f"SELECT {', '.join(sql)} FROM clips ORDER BY row").fetchall()


def outcomes_of(funnel: Funnel, clip: Clip, retried: frozenset[str] | None) -> dict[str, bool]:
    """Return what a worker knows of a clip: the outcomes of the stages that have dealt with it."""
    decider = Decider()
    row = {"duration_s": clip["duration_s"]}
    found = {funnel.split.name: decider.keeps(funnel.split, row)}
    for bound in funnel.measuring:
        result = clip[bound.name]
        if not bound.is_available or result is None:
            continue
        if isinstance(result, Measured):
            row = {"number": result.number, "status": result.status, "status_detail": None}
            found[bound.name] = decider.keeps(bound, row)
        elif retried is None or not (result.code.value in retried or is_owed_again(result.code, result.attempt)):
            found[bound.name] = False
    return found


@settings(max_examples=150, deadline=None)
@given(funnels(), st.lists(CLIPS, min_size=1, max_size=8))
def test_a_clip_stops_where_a_worker_would_stop_it(funnel: Funnel, clips: list[Clip]) -> None:
    reasons = f"[{', '.join(map(reason_sql, funnel.stages))}]"
    stop = stop_sql(funnel.stages)
    for clip, (number, reason) in zip(clips, asked(funnel, clips, stop, f"{reasons}[{stop}]"), strict=True):
        outcomes = outcomes_of(funnel, clip, retried=None)
        bound = stop_of(funnel.stages, outcomes)
        assert (funnel.stages[number - 1] if number else None) == bound
        if bound is not None:
            assert (reason is None) == (outcome_of(bound, outcomes) is None), "only what is pending has no reason"


@settings(max_examples=150, deadline=None)
@given(
    funnels(),
    st.lists(CLIPS, min_size=1, max_size=8),
    st.none() | st.frozensets(st.sampled_from(MEASURING)),
    st.frozensets(st.sampled_from([code.value for code in ErrorCode]), max_size=3),
)
def test_a_clip_is_owed_what_a_worker_would_measure(
    funnel: Funnel, clips: list[Clip], only: frozenset[str] | None, retried: frozenset[str]
) -> None:
    sql = is_owed_sql(funnel.stages, only, lambda bound: outcome_sql(bound, retried))
    expected = [is_owed(funnel.stages, outcomes_of(funnel, clip, retried), only) for clip in clips]
    assert [owed for (owed,) in asked(funnel, clips, sql)] == expected


def test_nothing_lies_behind_a_stage_that_drops_all() -> None:
    stages = [StagePolicy(fake_stage(name), (), FakeConfig(), "drop") for name in MEASURING]
    split = StagePolicy(fake_stage("scene_split"), (), FakeConfig())
    funnel = resolve(Policy("p", "lite", MediaConfig(), (split, *stages), ""))
    first, second, third = funnel.measuring
    lacking = replace(second, missing=("weights",))
    assert list(within_reach([first, lacking, third])) == [first]
    assert list(within_reach([first, _passing(lacking), third])) == [first, third]
    assert stop_of([first, lacking, third], {"first": True}) is lacking
    assert not is_owed([first, lacking, third], {"first": True}), "nothing can be measured there"


def _passing(bound: BoundStage) -> BoundStage:
    return replace(bound, policy=replace(bound.policy, on_unavailable="pass"))

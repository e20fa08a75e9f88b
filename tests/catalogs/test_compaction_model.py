"""Whatever is done to a catalog in whatever order, its views and what is owed agree with a plain dict."""

import random
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from catalogs import layout
from catalogs.catalog import Catalog
from catalogs.verify import verify
from curation.deciding.counts import count_funnel
from curation.deciding.verdicts import open_views
from curation.running.owed_clips import owed_units
from tests.support.compaction_model import Failed, Model
from tests.support.fakes import fake_funnel

FUNNEL = fake_funnel(first="number < 6", second="number < 6")


@pytest.mark.parametrize("seed", range(8))
def test_views_and_what_is_owed_say_what_was_done(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "JOINED_AT_ONCE", 2)
    catalog = Catalog.open_or_create(str(tmp_path / "cat"))
    model = Model(catalog, FUNNEL, random.Random(seed))
    done = []
    for _ in range(14):
        done.append(model.step())
        check_views(model, f"seed {seed}: {done}")
        check_owed(model, f"seed {seed}: {done}")
    check_verification(model)


def check_views(model: Model, history: str) -> None:
    views = open_views(model.catalog, model.funnel)
    assert pairs(views, "SELECT clip_id, source_id FROM clips") == sorted(model.clips.items()), history
    for stage, outcomes in model.outcomes.items():
        measured = sorted((clip, found) for clip, found in outcomes.items() if isinstance(found, float))
        assert pairs(views, f"SELECT clip_id, number FROM {stage}") == measured, history
        failed = sorted((clip, f.code, f.attempt) for clip, f in outcomes.items() if isinstance(f, Failed))
        sql = f"SELECT id, error_code, attempt FROM failures WHERE stage = '{stage}'"
        assert pairs(views, sql) == failed, history
    verdicts = sorted((clip, *expected_verdict(model, clip)) for clip in model.clips)
    found = pairs(views, "SELECT clip_id, verdict, coalesce(drop_stage, pending_stage), drop_rule FROM verdicts")
    assert found == verdicts, history
    kept = sorted((clip, model.outcomes["first"][clip]) for clip, verdict, *_ in verdicts if verdict == "keep")
    assert pairs(views, "SELECT clip_id, number FROM curated") == kept, history
    counted = count_funnel(model.catalog, model.funnel)
    stopped = Counter(found[2:] for found in verdicts if found[2] is not None)
    for line in counted.stages:
        told = Counter({rule: amount.clips for rule, amount in line.dropped.items()})
        told += Counter({"failed": line.failed.clips, None: line.pending.clips})
        assert told == Counter({rule: n for (stage, rule), n in stopped.items() if stage == line.stage}), history
    assert counted.stages[-1].passed.clips == len(kept), history
    assert [*counted.failures] == pairs(views, "SELECT stage, error_code, count(*) FROM failures GROUP BY ALL"), history


def check_owed(model: Model, history: str) -> None:
    units = list(owed_units(model.catalog, model.funnel, 3))
    assert all(len(unit) <= 3 for unit in units)
    tasks = [(task.span.clip_id, dict(task.done), dict(task.attempts)) for unit in units for task in unit.tasks]
    expected = [(clip, *owed) for clip in model.clips if (owed := expected_task(model, clip))]
    assert sorted(tasks, key=lambda task: task[0]) == sorted(expected, key=lambda task: task[0]), history
    assert set(model.catalog.cut_sources(model.funnel.split.digest).to_pylist()) == set(model.clips.values()), history


def check_verification(model: Model) -> None:
    found = verify(model.catalog)
    assert {problem.kind for problem in found.problems} <= {"no_source"}  # the model has clips only
    assert found.clips == len(model.clips)
    for bound in model.funnel.measuring:
        outcomes = list(model.outcomes[bound.name].values())
        key = f"{bound.name}@{bound.digest}"
        assert found.measured[key] == sum(isinstance(outcome, float) for outcome in outcomes)
        assert found.failed[key] == sum(isinstance(outcome, Failed) for outcome in outcomes)


def expected_verdict(model: Model, clip: str) -> tuple[str, str | None, str | None]:
    for stage, outcomes in model.outcomes.items():
        found = outcomes.get(clip)
        if found is None:
            return "pending", stage, None
        if isinstance(found, Failed):
            return "drop", stage, "failed"
        if found >= 6:
            return "drop", stage, "rule"
    return "keep", None, None


def expected_task(model: Model, clip: str) -> tuple[dict[str, bool], dict[str, int]] | None:
    """Return what has been settled and what has failed so far; None if nothing is owed."""
    found = {stage: outcomes[clip] for stage, outcomes in model.outcomes.items() if clip in outcomes}
    done, attempts = {}, {}
    for stage, outcome in found.items():
        if isinstance(outcome, float):
            done[stage] = outcome < 6
            continue
        attempts[stage] = outcome.attempt
        if outcome.code == "corrupt" or outcome.attempt >= 3:
            done[stage] = False
    reached = [done.get(stage) for stage in model.outcomes]
    is_owed = reached[0] is None or (reached[0] and reached[1] is None)
    return (done, attempts) if is_owed else None


def pairs(views: duckdb.DuckDBPyConnection, sql: str) -> list[tuple]:
    return sorted(views.execute(sql).fetchall())

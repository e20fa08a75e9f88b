"""A population is the clips that the verdicts name, however the catalog lies, in however many steps it is walked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from catalogs import layout, schema
from catalogs.catalog import Catalog
from catalogs.compact import compact
from curation.annotation.population import Population
from curation.annotation.records import Side
from curation.deciding.bound import Funnel
from curation.deciding.verdicts import open_views
from tests.support.hand_written import POLICY, funnel, write_catalog

FUNNEL = funnel()
STAGES = [bound.name for bound in FUNNEL.stages]
LACKING = {
    answer: funnel(POLICY.replace("- stage: face_count", f"- stage: face_count\n    on_unavailable: {answer}"))
    for answer in ("pass", "drop")
}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return write_catalog(str(tmp_path / "cat"), FUNNEL)


def without_weights(funnel: Funnel) -> Funnel:
    """Return the funnel as it is on a machine where the model of face_count is missing."""
    stages = [replace(bound, missing=("weights",)) if bound.name == "face_count" else bound for bound in funnel.stages]
    return Funnel(funnel.policy, tuple(stages))


def fail(catalog: Catalog, stage: str, clip_ids: list[str]) -> None:
    """Add failures on clips, beside whatever was measured on them."""
    (shard,) = catalog.clip_shards(FUNNEL.split.digest)
    row = {"stage": stage, "fingerprint": FUNNEL.digests[stage], "error_code": "corrupt", "detail": "", "attempt": 1}
    when = {"failed_at": datetime(2026, 1, 1, tzinfo=timezone.utc)}
    rows = pa.Table.from_pylist([{"id": clip, **row, **when} for clip in clip_ids], schema.FAILURES)
    catalog.add_failures(stage, FUNNEL.digests[stage], shard.stem, rows)


def walked(catalog: Catalog, funnel: Funnel, stage: str, side: Side) -> dict[str, str | None]:
    """Return the clips of a population, with the rule that dropped each."""
    found = Population(catalog, funnel, funnel.stage(stage), side, ("source", "clip_id"))  # type: ignore[arg-type]
    return dict(found.connection.execute("SELECT clip_id, drop_rule FROM population").fetchall())


def by_verdict(catalog: Catalog, funnel: Funnel, stage: str, side: Side) -> dict[str, str | None]:
    """Return the clips of a population, with the rule that dropped each, by the verdicts of the whole funnel."""
    rows = open_views(catalog, funnel).execute("SELECT clip_id, drop_rule, drop_stage, pending_stage FROM verdicts")
    before = [bound.name for bound in funnel.stages]
    before = before[: before.index(stage) + 1]
    found = {}
    for clip_id, rule, dropped, pending in rows.fetchall():
        if side == "kept" and not {dropped, pending} & set(before):
            found[clip_id] = None
        if side == "dropped" and dropped == stage and rule not in ("failed", "unavailable"):
            found[clip_id] = rule
    return found


@pytest.mark.parametrize("side", ["kept", "dropped"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_population_is_what_the_verdicts_say(catalog: Catalog, stage: str, side: Side) -> None:
    ids = sorted(walked(catalog, FUNNEL, "scene_split", "kept"))
    fail(catalog, "audio_quality", ids[:200])  # some of them are measured, some were never reached
    expected = by_verdict(catalog, FUNNEL, stage, side)
    assert walked(catalog, FUNNEL, stage, side) == expected
    assert bool(expected) == ((stage, side) != ("scene_split", "dropped"))
    compact(catalog)
    assert walked(catalog, FUNNEL, stage, side) == expected


@pytest.mark.parametrize("answer", ["pass", "drop"])
def test_a_stage_without_its_model_keeps_all_or_none(catalog: Catalog, answer: str) -> None:
    lacking = without_weights(LACKING[answer])
    for side in ("kept", "dropped"):
        assert walked(catalog, lacking, "face_count", side) == by_verdict(catalog, lacking, "face_count", side)  # type: ignore[arg-type]
    assert len(walked(catalog, lacking, "face_count", "kept")) == (400 if answer == "pass" else 0)


def test_in_however_many_steps_it_is_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = write_catalog(str(tmp_path / "cat"), FUNNEL, backwards=True)  # two shards
    expected = walked(catalog, FUNNEL, "audio_quality", "kept")
    whole = Population(catalog, FUNNEL, FUNNEL.stages[-1], "kept", ())
    monkeypatch.setattr(layout, "JOINED_AT_ONCE", 1)
    assert walked(catalog, FUNNEL, "audio_quality", "kept") == expected
    stepwise = Population(catalog, FUNNEL, FUNNEL.stages[-1], "kept", ())
    some = sorted(expected)[::7]
    assert stepwise.clips(some) == whole.clips(some)
    assert stepwise.measured(some) == whole.measured(some)
    assert stepwise.measured(some).keys() == set(some)


def test_an_empty_catalog_has_an_empty_population(tmp_path: Path) -> None:
    assert Population(Catalog.open_or_create(str(tmp_path)), FUNNEL, FUNNEL.stages[-1], "kept", ("band",)).size == 0

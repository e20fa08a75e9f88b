"""A whole run on Ray, with fake scorers, measures what is owed, keeps what it should, and survives crashes."""

from dataclasses import replace
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from catalogs.errors import ErrorCode, UserError
from catalogs.media import MediaLimits
from catalogs.runs import latest_run
from curation.deciding.bound import BoundStage, resolve
from curation.deciding.counts import count_funnel
from curation.deciding.policy import parse_policy
from curation.deciding.verdicts import open_views
from curation.running import phases
from curation.running.fused import fused_resources
from stages.base import Resources
from tests.support.fake_runs import QUICK, add, calls_since, names, run
from tests.support.fakes import fake_funnel
from tests.support.run_files import failed, measured

pytestmark = pytest.mark.cluster


def test_every_clip_is_measured_once_and_a_second_run_does_nothing(calls: Path, catalog: Catalog, pool: Path) -> None:
    for name in ("4.mp4", "3.mp4", "7.mp4"):
        add(pool, name)
    before = names(calls)
    summary = run(catalog, fake_funnel(), pool)
    assert summary.status == "done"
    assert calls_since(calls, before) == {"FakeScorer": 14, "SecondScorer": 14}
    before = names(calls)
    again = run(catalog, fake_funnel(), pool)
    assert not again.worked
    assert not calls_since(calls, before)
    rows = open_views(catalog, fake_funnel())
    # straight from the part files: not one row twice
    parts = [catalog.store.read_table(n) for n in catalog.measurement_parts("first", fake_funnel().digests["first"])]
    ids = [i for part in parts for i in part["clip_id"].to_pylist()]
    assert len(ids) == len(set(ids)) == 14
    assert rows.execute("SELECT count(*) FROM curated").fetchone() == (14,)


def test_a_clip_stops_at_its_first_failing_rule(calls: Path, catalog: Catalog, pool: Path) -> None:
    add(pool, "10.mp4")
    before = names(calls)
    funnel = fake_funnel(first="number < 4")
    run(catalog, funnel, pool)
    assert calls_since(calls, before) == {"FakeScorer": 10, "SecondScorer": 4}
    split, first, second = count_funnel(catalog, funnel).stages
    assert (split.entered.clips, split.passed.clips) == (10, 10)
    assert (first.entered.clips, first.passed.clips, first.dropped["rule"].clips) == (10, 4, 6)
    assert (second.entered.clips, second.passed.clips, second.pending.clips) == (4, 4, 0)


def test_a_new_threshold_measures_only_the_newly_admitted(calls: Path, catalog: Catalog, pool: Path) -> None:
    add(pool, "10.mp4")
    run(catalog, fake_funnel(first="number < 4"), pool)
    before = names(calls)
    looser = fake_funnel(first="number < 7")
    run(catalog, looser, pool)
    assert calls_since(calls, before) == {"SecondScorer": 3}
    before = names(calls)
    stricter = fake_funnel(first="number < 2")
    assert not run(catalog, stricter, pool).worked
    assert not calls_since(calls, before)
    assert open_views(catalog, stricter).execute("SELECT count(*) FROM curated").fetchone() == (2,)


def test_a_changed_config_measures_anew_beside_the_old(calls: Path, catalog: Catalog, pool: Path) -> None:
    add(pool, "3.mp4")
    run(catalog, fake_funnel(), pool)
    before = names(calls)
    doubled = fake_funnel(factor=2.0)
    run(catalog, doubled, pool)
    assert calls_since(calls, before) == {"FakeScorer": 3}
    query = "SELECT max(number) FROM first"
    assert open_views(catalog, doubled).execute(query).fetchone() == (4.0,)
    assert open_views(catalog, fake_funnel()).execute(query).fetchone() == (2.0,)


def test_failures_are_rows_and_nothing_else_is_lost(calls: Path, catalog: Catalog, pool: Path) -> None:
    for name in ("3_boom.mp4", "5.mp4", "bad.mp4"):
        add(pool, name)
    (pool / "text.mp4").write_text("no video")
    funnel = fake_funnel()
    summary = run(catalog, funnel, pool)
    assert summary.status == "done"
    assert "made to break" in summary.bugs[0]
    views = open_views(catalog, funnel)
    assert count_funnel(catalog, funnel).failures == [
        ("first", "internal", 1),
        ("ingest", "not_media", 1),
        ("scene_split", "corrupt", 1),
    ]
    assert views.execute("SELECT count(*) FROM curated").fetchone() == (7,)
    assert views.execute("SELECT drop_rule, drop_value FROM verdicts WHERE verdict = 'drop'").fetchone() == (
        "failed",
        "internal: RuntimeError: made to break",
    )
    assert not run(catalog, funnel, pool).worked


def test_a_clip_that_kills_its_worker_costs_one_clip(calls: Path, catalog: Catalog, pool: Path) -> None:
    for name in ("4_die.mp4", "5.mp4"):
        add(pool, name)
    funnel = fake_funnel()
    summary = run(catalog, funnel, pool)
    views = open_views(catalog, funnel)
    assert count_funnel(catalog, funnel).failures == [("first", ErrorCode.CRASHED.value, 1)]
    assert views.execute("SELECT count(*) FROM curated").fetchone() == (8,)
    measure = summary.phases["measure"]
    assert (measure.items, failed(measure)) == (9, {("first", "crashed"): 1})


def test_a_death_in_the_second_stage_keeps_what_the_first_measured(calls: Path, catalog: Catalog, pool: Path) -> None:
    add(pool, "3_fatal_second.mp4")
    funnel = fake_funnel()
    summary = run(catalog, funnel, pool)
    views = open_views(catalog, funnel)
    assert count_funnel(catalog, funnel).failures == [("second", ErrorCode.CRASHED.value, 1)]
    assert views.execute("SELECT count(*) FROM first").fetchone() == (3,)
    measure = summary.phases["measure"]
    assert (measure.items, measured(measure)) == (3, {"first": 3, "second": 2})


def test_a_clip_that_hangs_is_ended_and_costs_one_clip(calls: Path, catalog: Catalog, pool: Path) -> None:
    add(pool, "3_hang.mp4")
    funnel = fake_funnel()
    before = names(calls)
    summary = run(catalog, funnel, pool, replace(QUICK, limits=MediaLimits(max_seconds=0.5)))
    assert calls_since(calls, before) == {"FakeScorer": 3, "SecondScorer": 2}, "nothing is waited for twice"
    measure = summary.phases["measure"]
    assert (measure.items, measured(measure), failed(measure)) == (
        3,
        {"first": 2, "second": 2},
        {("first", "crashed"): 1},
    )
    views = open_views(catalog, funnel)
    assert count_funnel(catalog, funnel).failures == [("first", "crashed", 1)]
    assert views.execute("SELECT count(*) FROM curated").fetchone() == (2,)


def test_a_source_that_takes_for_ever_costs_one_source(calls: Path, catalog: Catalog, pool: Path) -> None:
    for name in ("2_a.mp4", "2_b.mp4", "2_stuck.mp4", "2_c.mp4", "2_d.mp4"):
        add(pool, name)
    funnel = fake_funnel()
    summary = run(catalog, funnel, pool, replace(QUICK, limits=MediaLimits(max_seconds=0.5)))
    assert (summary.phases["scene_split"].items, failed(summary.phases["scene_split"])) == (
        5,
        {("scene_split", "crashed"): 1},
    )
    views = open_views(catalog, funnel)
    assert count_funnel(catalog, funnel).failures == [("scene_split", "crashed", 1)]
    assert views.execute("SELECT count(*) FROM curated").fetchone() == (8,)


def test_nothing_to_measure_counts_as_no(calls: Path, catalog: Catalog, pool: Path) -> None:
    add(pool, "2_none.mp4")
    funnel = fake_funnel(first="number >= 0")
    run(catalog, funnel, pool)
    rows = open_views(catalog, funnel).execute("SELECT verdict, drop_rule, drop_value FROM verdicts").fetchall()
    assert rows == [("drop", "rule", "number=null, nothing there")] * 2


@pytest.mark.parametrize(("answer", "kept"), [("pass", 3), ("drop", 0)])
def test_a_missing_model_is_answered_by_the_policy(
    calls: Path, catalog: Catalog, pool: Path, answer: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FUNNEL_WEIGHTS", raising=False)
    monkeypatch.setenv("FUNNEL_CACHE", str(pool / ".nothing"))
    add(pool, "3.mp4")
    before = names(calls)
    funnel = fake_funnel(first="number > 5", on_unavailable=answer, weights=("whisper_tiny",))
    summary = run(catalog, funnel, pool)
    assert summary.unavailable == {"first": ["whisper_tiny"]}
    assert calls_since(calls, before) == ({"SecondScorer": 3} if kept else {})
    views = open_views(catalog, funnel)
    assert views.execute("SELECT count(*) FROM curated").fetchone() == (kept,)
    assert count_funnel(catalog, funnel).stages[1].unmeasured.clips == 3


def test_a_moved_file_keeps_its_measurements(calls: Path, catalog: Catalog, pool: Path) -> None:
    add(pool, "3.mp4")
    run(catalog, fake_funnel(), pool)
    (pool / "moved").mkdir()
    (pool / "3.mp4").rename(pool / "moved" / "3.mp4")
    before = names(calls)
    run(catalog, fake_funnel(), pool)
    assert not calls_since(calls, before)


def test_only_the_named_stages_run(calls: Path, catalog: Catalog, pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(pool, "4.mp4")
    funnel = fake_funnel(first="number < 2")
    paid_for = []  # a worker's memory and share of a GPU are those of these stages

    def fused(stages: tuple[BoundStage, ...], gpus: float) -> Resources:
        paid_for.append([bound.name for bound in stages])
        return fused_resources(stages, gpus)

    monkeypatch.setattr(phases, "fused_resources", fused)
    run(catalog, funnel, pool, only=frozenset({"scene_split"}))
    before = names(calls)
    run(catalog, funnel, only=frozenset({"second"}))  # every clip would need `first` before
    assert not calls_since(calls, before)
    run(catalog, funnel, only=frozenset({"first"}))
    assert calls_since(calls, before) == {"FakeScorer": 4}
    run(catalog, funnel, only=frozenset({"second"}))
    assert calls_since(calls, before) == {"FakeScorer": 4, "SecondScorer": 2}
    assert paid_for == [["first"], ["second"]]


def test_a_catalog_that_cannot_be_written_stops_the_run_with_one_line(
    calls: Path, catalog: Catalog, pool: Path
) -> None:
    add(pool, "4.mp4")
    funnel = fake_funnel()
    run(catalog, funnel, pool, only=frozenset({"scene_split"}))
    folder = Path(catalog.store.path("measurements/first")) / f"fp={funnel.digests['first']}"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text("in the way")  # works for root as well, unlike permissions
    with pytest.raises((UserError, OSError)):
        run(catalog, funnel)
    folder.unlink()
    run(catalog, funnel)
    assert open_views(catalog, funnel).execute("SELECT count(*) FROM curated").fetchone() == (4,)


def test_every_run_leaves_a_record(calls: Path, catalog: Catalog, pool: Path) -> None:
    add(pool, "2.mp4")
    summary = run(catalog, fake_funnel(), pool)
    stored = latest_run(catalog)
    assert stored is not None
    assert stored.run_id == summary.run_id
    assert stored.status == "done"
    assert measured(stored.phases["measure"]) == {"first": 2, "second": 2}
    assert stored.fingerprints == fake_funnel().digests


def test_a_catalog_reads_the_same_where_other_weights_are_installed(
    calls: Path, catalog: Catalog, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curation.deciding.recorded import funnel_of

    add(pool, "2.mp4")
    text = "stages: [person_count, language]"
    funnel = resolve(parse_policy(text, "p.yaml"))
    run(catalog, funnel, pool)
    monkeypatch.setattr("stages.base.registry.sha256", lambda name: "another copy")
    assert resolve(parse_policy(text, "p.yaml")).digests != funnel.digests
    assert funnel_of(catalog, None).digests == funnel.digests
    assert funnel_of(catalog, None).stages[2].unavailable_columns == funnel.stages[2].unavailable_columns


def test_weights_that_do_not_load_stop_the_run_with_one_line_and_blame_no_clip(
    calls: Path, catalog: Catalog, pool: Path
) -> None:
    add(pool, "2.mp4")
    funnel = fake_funnel(factor=-1.0)
    with pytest.raises(UserError, match="do not fit its network"):
        run(catalog, funnel, pool)
    assert count_funnel(catalog, funnel).failures == []


def test_a_weights_file_with_the_wrong_hash_is_said_before_anything_runs(
    catalog: Catalog, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(pool, "2.mp4")
    (pool / ".weights").mkdir()
    (pool / ".weights" / "tiny.pt").write_bytes(b"half a download")
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(pool / ".weights"))
    with pytest.raises(UserError, match="wrong sha256"):
        run(catalog, fake_funnel(weights=("whisper_tiny",)), pool)
    assert latest_run(catalog) is None

"""Clips come together for a stage that measures several at once, and it shows in nothing but the time it takes."""

import json
import logging
import threading
import time
from dataclasses import replace
from itertools import islice

import pytest

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.layout import Shard
from catalogs.media import MediaConfig, MediaLimits
from catalogs.storage_errors import StorageError
from catalogs.store import Store
from curation.deciding.bound import resolve
from curation.deciding.policy import Policy, Rule, StagePolicy
from curation.running import clip_worker
from curation.running.clip_worker import ClipWorker
from curation.running.units import Bundle, ClipTask, Unit
from runner.logs import JsonLines
from runner.watchdog import Watchdog
from stages.caption import STAGE
from stages.captions import skycaptioner
from stages.captions.skycaptioner import SkyCaptionerConfig, SkyCaptionerScorer
from tests.support.chat_server import chat_server, failing, saying, together
from tests.support.fakes import FakeConfig, FakeScorer, Number, SecondScorer, fake_stage
from tests.support.grey_clips import asked_about, captioning, grey_span

CLIPS = 12


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grey")
    tasks = tuple(ClipTask(grey_span(folder, number), {}) for number in range(CLIPS))
    return Unit(Shard("clips/part-0-0.parquet"), tasks)


@pytest.fixture(autouse=True)
def _local_web(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def funnel_for(server, concurrency=4):
    """Make a funnel of a plain stage, captions (number 2 is dropped) and a plain stage."""

    def fake(name, *scorer):
        stage = fake_stage(name, *scorer)
        return StagePolicy(replace(stage, backends={"reference": stage.backends["lite"]}), (), FakeConfig())

    config = SkyCaptionerConfig(
        endpoint=server.url, model="sky", frames=2, timeout_s=5.0, attempts=2, concurrency=concurrency
    )
    caption = StagePolicy(STAGE, (Rule("not_two", "caption <> 'Clip 2.'", ("caption",)),), config)
    stages = (fake("scene_split"), fake("first"), caption, fake("second", "SecondScorer"))
    return resolve(Policy("fake", "reference", MediaConfig(), stages, "stages: []"))


def worker_for(catalog, funnel):
    return ClipWorker(str(catalog.store.url), funnel, MediaLimits())


def committed(catalog, funnel):
    """Read what is committed, by stage: rows, and failures without their time, sorted by clip."""
    found = {}
    for bound in funnel.measuring:
        parts = [catalog.store.read_table(name) for name in catalog.measurement_parts(bound.name, bound.digest)]
        rows = [row for part in parts for row in part.to_pylist()]
        failures = catalog.failures(bound.name, bound.digest).drop_columns(["failed_at", "traceback"]).to_pylist()
        found[bound.name] = (sorted(rows, key=lambda row: row["clip_id"]), sorted(failures, key=lambda row: row["id"]))
    return found


def measured(catalog, funnel, stage):
    return {row["clip_id"] for row in committed(catalog, funnel)[stage][0]}


@pytest.mark.parametrize("factor", [1, 8], ids=["batches within the unit", "one batch at its end"])
def test_rows_and_counts_are_those_of_one_after_the_other(tmp_path, unit, monkeypatch, factor):
    monkeypatch.setattr(clip_worker, "BATCH_FACTOR", factor)
    outcomes = []
    for concurrency in (1, 4):
        catalog = Catalog.open_or_create(str(tmp_path / f"cat{concurrency}"))
        with chat_server(captioning({5: saying("Sorry.")})) as server:
            funnel = funnel_for(server, concurrency)
            tally = worker_for(catalog, funnel).run(Bundle((unit,)), threading.Event())
        assert set(tally.seconds) == {"first", "caption", "second"}
        assert tally.decode_seconds["caption"] > 0
        counts = (tally.items, round(tally.video_seconds, 6), tally.measured, tally.kept, tally.failed)
        outcomes.append((committed(catalog, funnel), counts))
    one_by_one, together_ = outcomes
    assert together_ == one_by_one
    rows, failures = together_[0]["caption"]
    assert (len(rows), [row["id"] for row in failures]) == (CLIPS - 1, ["clip05"])
    assert len(together_[0]["second"][0]) == CLIPS - 2


def test_the_server_sees_them_together(catalog, unit):
    with chat_server(together(4, captioning())) as server:
        worker_for(catalog, funnel_for(server)).run(Bundle((unit,)), threading.Event())
    assert server.most_at_once == 4


def test_batches_begin_before_the_unit_ends(catalog, unit, monkeypatch):
    monkeypatch.setattr(clip_worker, "BATCH_FACTOR", 1)
    opened = []
    begin = ClipWorker._begin
    monkeypatch.setattr(ClipWorker, "_begin", lambda self, task, work: opened.append(task) or begin(self, task, work))
    seen = []

    def reply(request):
        seen.append(len(opened))
        captioning()(request)

    with chat_server(reply) as server:
        worker_for(catalog, funnel_for(server)).run(Bundle((unit,)), threading.Event())
    assert seen[0] == 4


def test_a_drain_leaves_what_has_not_begun_owed(catalog, unit):
    stop = threading.Event()

    def reply(request):
        if asked_about(request.asked) == 3:
            stop.set()
        captioning()(request)

    with chat_server(reply) as server:
        funnel = funnel_for(server)
        tally = worker_for(catalog, funnel).run(Bundle((unit,)), stop)
        done = measured(catalog, funnel, "caption")
        assert {"clip00", "clip01", "clip02", "clip03"} <= done
        assert len(done) < CLIPS
        assert committed(catalog, funnel)["caption"][1] == []
        assert measured(catalog, funnel, "second") == set()
        assert tally.items == 1  # number 2 is dropped; to the others something is owed

        asked = len(server.asked)
        worker_for(catalog, funnel).run(Bundle((unit,)), threading.Event())
    assert len(server.asked) - asked == CLIPS - len(done)
    assert len(measured(catalog, funnel, "caption")) == CLIPS
    assert len(measured(catalog, funnel, "second")) == CLIPS - 1


def test_a_model_that_is_gone_stops_the_run_and_keeps_what_was_measured(catalog, unit):
    with chat_server(failing(404, "no such model")) as server:
        funnel = funnel_for(server)
        with pytest.raises(UserError, match="no such model"):
            worker_for(catalog, funnel).run(Bundle((unit,)), threading.Event())
    assert len(server.asked) <= 4
    assert len(measured(catalog, funnel, "first")) == CLIPS
    assert not measured(catalog, funnel, "caption")


def test_a_bundle_is_committed_unit_by_unit_and_counted_together(catalog, unit):
    with chat_server(captioning()) as server:
        funnel = funnel_for(server)
        tally = worker_for(catalog, funnel).run(Bundle(unit.halves()), threading.Event())
    parts = catalog.measurement_parts("second", funnel.digests["second"])
    assert sorted(catalog.store.read_table(name).num_rows for name in parts) == [CLIPS // 2 - 1, CLIPS // 2]
    assert (tally.items, tally.measured["first"], tally.kept["caption"]) == (CLIPS, CLIPS, CLIPS - 1)


def test_what_stops_a_run_leaves_the_worker_at_rest(catalog, unit, monkeypatch):
    """Nothing hangs any more: a deadline left behind would end the process while it waits for its next unit."""
    said = []

    def gone(self, clip):
        said.append(json.loads(JsonLines().format(logging.makeLogRecord({}))))
        if clip.span.clip_id == "clip07":
            raise UserError("the disk is gone")
        return Number(number=0.0)

    monkeypatch.setattr(FakeScorer, "score", gone)
    with chat_server(captioning()) as server:
        funnel = funnel_for(server)
        worker = worker_for(catalog, funnel)
        with pytest.raises(UserError, match="the disk is gone"):
            worker.run(Bundle(unit.halves()), threading.Event())
    assert worker._watchdog.deadline is None
    assert measured(catalog, funnel, "first") == {f"clip{i:02}" for i in range(7)}
    assert [about["clip_id"] for about in said if about["stage"] == "first"] == [f"clip{i:02}" for i in range(8)]


def test_a_bug_fails_its_clip_alone(catalog, unit, monkeypatch):
    prose = skycaptioner.prose
    monkeypatch.setattr(skycaptioner, "prose", lambda said: 1 / 0 if said.environment == "Clip 7" else prose(said))
    with chat_server(captioning()) as server:
        funnel = funnel_for(server)
        tally = worker_for(catalog, funnel).run(Bundle((unit,)), threading.Event())
    rows, (failure,) = committed(catalog, funnel)["caption"]
    assert len(rows) == CLIPS - 1
    assert (failure["id"], failure["error_code"]) == ("clip07", "internal")
    assert "ZeroDivisionError" in tally.bugs[0]


def test_a_batch_that_hangs_loses_nothing_and_convicts_nobody(catalog, unit, monkeypatch):
    with chat_server(captioning()) as server:
        funnel = funnel_for(server)
        hang_after(3, funnel, catalog, unit, monkeypatch)
    found = committed(catalog, funnel)
    assert [len(rows) for rows, _ in found.values()] == [CLIPS, 3, 0]
    assert all(failures == [] for _, failures in found.values())


def test_a_clip_that_hangs_in_a_batch_of_its_own_is_convicted(catalog, unit, monkeypatch):
    with chat_server(captioning()) as server:
        funnel = funnel_for(server)
        hang_after(0, funnel, catalog, Unit(unit.shard, unit.tasks[:1]), monkeypatch)
    (failure,) = committed(catalog, funnel)["caption"][1]
    assert (failure["id"], failure["error_code"]) == ("clip00", "crashed")


def test_what_a_single_clip_has_passed_is_committed_before_the_next_stage(catalog, unit, monkeypatch):
    """If the next stage kills the process, the one before, which takes several clips at once, is not to blame."""
    before = {}

    def note(self, clip):
        before.update({stage: len(rows) for stage, (rows, _) in committed(catalog, funnel).items()})
        return Number(number=0.0)

    monkeypatch.setattr(SecondScorer, "score", note)
    with chat_server(captioning()) as server:
        funnel = funnel_for(server)
        worker_for(catalog, funnel).run(Bundle((unit.part(0, 1),)), threading.Event())
    assert before == {"first": 1, "caption": 1, "second": 0}


def test_what_a_refused_commit_has_left_is_counted_by_the_next_try(catalog, unit, monkeypatch):
    write = Store.write_table

    def refuse(self, name, table):
        if "/second/" in name:
            raise StorageError("slow down")
        write(self, name, table)

    with chat_server(captioning()) as server:
        worker = worker_for(catalog, funnel_for(server))
        monkeypatch.setattr(Store, "write_table", refuse)
        with pytest.raises(StorageError):
            worker.run(Bundle((unit,)), threading.Event())
        monkeypatch.setattr(Store, "write_table", write)
        again = worker.run(Bundle((unit.again(),)), threading.Event())
    assert (again.items, again.measured, again.kept) == (
        CLIPS,
        {"first": CLIPS, "caption": CLIPS, "second": CLIPS - 1},
        {"first": CLIPS, "caption": CLIPS - 1, "second": CLIPS - 1},
    )


def test_what_another_driver_has_measured_is_not_counted(catalog, unit):
    with chat_server(captioning()) as server:
        worker = worker_for(catalog, funnel_for(server))
        worker.run(Bundle((unit,)), threading.Event())
        assert worker.run(Bundle((unit,)), threading.Event()).items == 0


def hang_after(finished, funnel, catalog, unit, monkeypatch):
    """Work on a unit whose captioner hangs after so many clips, until the watchdog has spoken and ends the process."""
    score_many = SkyCaptionerScorer.score_many

    def hanging(self, clips):
        yield from islice(score_many(self, clips), finished)
        worker._last_words()
        raise KeyboardInterrupt

    monkeypatch.setattr(SkyCaptionerScorer, "score_many", hanging)
    worker = worker_for(catalog, funnel)
    with pytest.raises(KeyboardInterrupt):
        worker.run(Bundle((unit,)), threading.Event())


def test_the_watchdog_is_as_patient_as_the_captioner(catalog, unit, monkeypatch):
    limits = set()

    def note(self, at):
        limits.add(at and round(at - time.monotonic()))
        vars(self)["deadline"] = at

    noted = property(lambda self: vars(self)["deadline"], note)
    monkeypatch.setattr(Watchdog, "deadline", noted, raising=False)
    with chat_server(captioning()) as server:
        worker_for(catalog, funnel_for(server)).run(Bundle((unit,)), threading.Event())
    decoding_s = 3 * MediaLimits().max_seconds
    assert limits == {None, decoding_s, decoding_s + 2 * (2 * 5 + 30)}  # two questions of two attempts and a wait


def test_a_clip_whose_file_was_replaced_is_not_measured_in_the_new_one(catalog, unit):
    replaced = Unit(unit.shard, (unit.tasks[0]._replace(is_replaced=True), unit.tasks[1]))
    with chat_server(captioning()) as server:
        funnel = funnel_for(server)
        worker_for(catalog, funnel).run(Bundle((replaced,)), threading.Event())
    rows, (failure,) = committed(catalog, funnel)["first"]
    assert [row["clip_id"] for row in rows] == [unit.tasks[1].span.clip_id]
    assert (failure["id"], failure["error_code"]) == (unit.tasks[0].span.clip_id, "changed")

"""What a phase did adds up over passes, and a run that can only fail is stopped."""

from collections import Counter
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.runs import RunRecord, latest_run
from curation.running.count import PhaseCount
from curation.running.journal import Journal
from runner.progress import NoProgress
from runner.tally import Failure, Tally


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    catalog = Catalog.open_or_create(str(tmp_path / "cat"))
    return Journal(catalog, RunRecord("r", None, "p", "", "lite", {}, "2026-01-01T00:00:00+00:00", "0"))


def test_tallies_add_up() -> None:
    corrupt = Failure("a", "corrupt")
    tally = Tally(2, 3.0, Counter(a=2), Counter(a=1), wait_seconds=1.0, peak_memory_mb=50.0)
    tally.add(Tally(1, 1.5, Counter(a=1), Counter(a=1), Counter({corrupt: 1}), peak_memory_mb=40.0))
    summed = Tally(3, 4.5, Counter(a=3), Counter(a=2), Counter({corrupt: 1}), wait_seconds=1.0, peak_memory_mb=50.0)
    assert tally == summed


def failure(code: str, attempt: int) -> dict:
    return {"stage": "a", "error_code": code, "attempt": attempt, "traceback": None}


def test_what_is_tried_again_counts_once(journal: Journal) -> None:
    first, second = Tally(10, measured=Counter(a=6)), Tally(2, measured=Counter(a=2))
    first.note_failures([failure("unreachable", 1), failure("unreachable", 2), failure("unreachable", 3)])
    first.note_failures([failure("corrupt", 1)])
    count = PhaseCount("measure", NoProgress(), journal)
    with count.passing(10):
        count.add(10, first)
    assert journal.record.failure_rate == 0.4
    assert count.tally.passing == {Failure("a", "unreachable"): 2}, "the third try was its last"
    with count.passing(2):
        count.add(2, second)
    assert journal.record.failure_rate == 0.2
    assert journal.record.phases["measure"].items == 10
    assert not count.tally.passing


@pytest.mark.parametrize("code", ["internal", "unreachable"])
def test_a_stage_that_only_fails_stops_the_run(journal: Journal, code: str) -> None:
    count = PhaseCount("measure", NoProgress(), journal)
    bugs = ["Traceback of it"] if code == "internal" else []
    with count.passing(None):
        count.add(199, Tally(199, failed=Counter({Failure("sync", code): 199})))
        with pytest.raises(UserError, match=f"sync failed on 200 clips .{code}.*--stage sync --code {code}"):
            count.add(1, Tally(1, failed=Counter({Failure("sync", code): 1}), bugs=bugs))


@pytest.mark.parametrize("tally", [
    Tally(300, failed=Counter({Failure("sync", "corrupt"): 300})),
    Tally(300, measured=Counter(sync=1), failed=Counter({Failure("sync", "internal"): 299})),
], ids=["the media are to blame", "some are measured"])  # fmt: skip
def test_other_failures_do_not(journal: Journal, tally: Tally) -> None:
    count = PhaseCount("measure", NoProgress(), journal)
    with count.passing(None):
        count.add(300, tally)


def test_a_driver_that_is_killed_leaves_a_trace(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    count = PhaseCount("measure", NoProgress(), journal)
    monkeypatch.setattr("curation.running.journal._EVERY_S", 0.0)
    with count.passing(None):
        count.add(5, Tally(5, measured=Counter(a=5)))
        stored = latest_run(journal._catalog)
    assert stored is not None
    assert (stored.status, stored.phases["measure"].items) == ("running", 5)

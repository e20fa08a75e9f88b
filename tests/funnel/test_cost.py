"""What a funnel costs, against sums done by hand."""

import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from catalogs import schema
from catalogs.catalog import Catalog
from curation.deciding.bound import Funnel
from curation.deciding.policy import load_policy
from curation.report.cost import MeasuredSeconds, measured_costs
from funnel.main import main
from tests.support.hand_written import add_measured, funnel, write_catalog
from tests.support.run_files import write_run_file

POLICY = """\
name: costed
stages:
  - stage: scene_split
    keep: {early: "start_s < 15"}
  - stage: face_count
    keep: {face_size: "face_height_px_median >= 96"}
  - stage: audio_quality
  - stage: sync
  - stage: caption
"""


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Asks = Callable[..., Answer]  #: options of `funnel cost` -> exit code, stdout, stderr
AsksForTable = Callable[..., dict[str, list[str]]]  #: options -> cells by their row's first


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Asks:
    """``answer(*options)`` types `funnel cost`, in this process: to start it anew each time would take a minute."""

    def ask(*words: str) -> Answer:
        with pytest.raises(SystemExit) as end:
            main(["cost", *words])
        return Answer(int(end.value.code or 0), *capsys.readouterr())

    return ask


@pytest.fixture
def cost(answer: Asks) -> AsksForTable:
    """Cells of the printed table by stage; what stands below it under ``below``."""

    def ask(*words: str) -> dict[str, list[str]]:
        code, out, _ = answer(*words)
        assert code == 0
        table, _, below = out.partition("\n\n")
        rows = [re.split(" {2,}", line.strip()) for line in table.splitlines()[1:]]
        return {cells[0]: cells[1:] for cells in rows} | {"below": [below.strip()]}

    return ask


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a catalog: 400 clips of 3 s from 40 sources of 30 s, a source of 400 s that could not be cut, and one of
    1,000 s that nobody has tried. Half of the clips begin before 15 s (200), of these 140 have a face of 96 px, of
    these 105 pass sync and 35 fail there. Every stage was a run of its own; caption has had none.
    """
    tested = funnel(POLICY)
    url = str(tmp_path_factory.mktemp("pilot") / "catalog")
    catalog = write_catalog(url, tested)
    catalog.add_sources(pa.Table.from_pylist([_source("s-broken", 400.0), _source("s-new", 1000.0)], schema.SOURCES))
    _add_failures(catalog, tested, "scene_split", ["s-broken"], "part-sources")
    (shard,) = catalog.clip_shards(tested.split.digest)
    ids = np.array(catalog.clips(shard, ["clip_id"])["clip_id"].to_pylist())
    number = np.arange(400)
    reached = ids[(number % 10 < 5) & (number % 4 != 0)]
    is_failed = np.arange(len(reached)) % 4 == 0
    add_measured(catalog, tested, "sync", shard, reached[~is_failed], {})
    _add_failures(catalog, tested, "sync", reached[is_failed].tolist(), shard.stem)
    _write_runs(catalog, tested)
    return url


def _source(name: str, duration_s: float) -> dict[str, Any]:
    row = {"source_id": name, "path": f"/nowhere/{name}.mp4", "dataset": "second", "duration_s": duration_s}
    return dict.fromkeys(schema.SOURCES.names) | row | {"status": "ok", "ingested_at": datetime.now(timezone.utc)}


def _add_failures(catalog: Catalog, tested: Funnel, stage: str, ids: list[str], stem: str) -> None:
    same = {"stage": stage, "fingerprint": tested.digests[stage], "error_code": "corrupt", "detail": "", "attempt": 1}
    rows = [{"id": clip, **same, "traceback": None, "failed_at": datetime.now(timezone.utc)} for clip in ids]
    catalog.add_failures(stage, tested.digests[stage], stem, pa.Table.from_pylist(rows, schema.FAILURES))


def _write_runs(catalog: Catalog, tested: Funnel) -> None:
    def write(number: int, stage: str, rows: int, seconds: float, **changes: Any) -> None:
        figures = {"clips": rows, "clip_seconds": 3.0 * rows, "measured": {stage: rows}, "kept": {stage: rows}}
        figures |= {"failed": {}, "seconds": {stage: seconds}, "decode_seconds": {stage: seconds / 2}}
        phase = "scene_split" if stage == "scene_split" else "measure"
        same = {"policy_text": POLICY, "fingerprints": tested.digests, "phases": {phase: figures}}
        write_run_file(catalog, str(number), **same | changes)

    write(0, "face_count", 200, 9999.0, fingerprints=tested.digests | {"face_count": "of an older version"})
    write(1, "scene_split", 400, 100.0)
    write(2, "face_count", 150, 30.0)
    write(3, "face_count", 50, 20.0)  # what an interrupted run had left
    write(4, "audio_quality", 100, 10.0)
    write(5, "sync", 105, 35.0)
    write(6, "caption", 0, 0.0, phases={})  # the newest owed nothing


def test_runs_of_ones_own_give_costs_and_shares(pilot: str, cost: AsksForTable) -> None:
    """Seconds per hour: 100 s for the 1,600 s of sources that were tried; 50 s for 200 clips; 10 s for 100; 35 s for
    the 140 clips that reached sync."""
    table = cost(pilot, "--hours", "1600", "--price", "2")
    assert table == {
        "scene_split": ["1,600", "100.0", "200.00", "50%"],
        "face_count": ["600", "50.0", "100.00", "25%"],  # of 1,600 s came 1,200 s of clips; half of them begin early
        "audio_quality": ["420", "14.0", "28.00", "7%"],
        "sync": ["420", "35.0", "70.00", "18%"],
        "caption": ["315", "unknown"],
        "all; 315 hours kept": ["1,600", "199.0", "398.00"],
        "below": ["Not in the sum, because no run measured it under its present fingerprint: caption"],
    }


def test_a_share_of_ones_own_goes_before_the_recorded_one(pilot: str, cost: AsksForTable) -> None:
    words = ("--kept", "face_count=0.1", "--kept", "caption=0.5")
    table = cost(pilot, "--hours", "1600", *words)
    assert [table[stage][0] for stage in ("face_count", "sync", "caption")] == ["600", "60", "45"]
    assert table["sync"][1] == "5.0"
    assert "all; 22 hours kept" in table


def test_shares_are_those_of_the_last_policy(pilot: str, cost: AsksForTable) -> None:
    """Clips that a looser rule lets through wait for the next stage: nobody knows yet what it keeps of them."""
    catalog = Catalog.open(pilot)
    looser = POLICY.replace(">= 96", ">= 10")
    write_run_file(catalog, "7", policy_text=looser, fingerprints=funnel(POLICY).digests, phases={})
    try:
        table = cost(pilot, "--hours", "1600")
    finally:
        catalog.store.remove("runs/7.json")
    assert [table[stage][0] for stage in ("audio_quality", "sync", "caption")] == ["600", "600", "450"]


def test_a_stage_sees_what_those_before_it_kept(cost: AsksForTable) -> None:
    everything, half = cost("--hours", "1000"), cost("--hours", "1000", "--kept", "person_count=0.5")
    assert half["person_count"] == [*everything["person_count"][:3], half["person_count"][3]]
    assert half["sync"][0] == "500"
    assert abs(2 * float(half["sync"][1]) - float(everything["sync"][1])) < 0.2
    assert "all; 500 hours kept" in half


@pytest.mark.parametrize(("words", "said"), [
    (["--kept", "sync=40"], "the share of sync is a number from 0 to 1"),
    (["--kept", "sync=-0.1"], "the share of sync is a number from 0 to 1"),
    (["--kept", "sync=nan"], "the share of sync is a number from 0 to 1"),
    (["--kept", "sync=half"], "the share of sync is a number from 0 to 1"),
    (["--kept", "sync"], "the share of sync is a number from 0 to 1"),
    (["--kept", "lips=0.5"], "'lips' is not a stage; stages are scene_split, "),
    (["--hours", "-1"], "--hours: -1 is not a number of 0 or more"),
    (["--price", "-0.5"], "--price: -0.5 is not a number of 0 or more"),
    (["--price", "nan"], "--price: nan is not a number of 0 or more"),
    (["--price", "inf"], "--price: inf is not a number of 0 or more"),
    (["--policy", "lite"], "--policy needs CATALOG"),
    (["no/such/catalog"], "no catalog at no/such/catalog"),
])  # fmt: skip
def test_a_mistake_is_one_line(words: list[str], said: str, answer: Asks) -> None:
    code, out, err = answer(*words)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert said in line


def test_a_share_of_a_stage_that_the_runs_do_not_have_is_refused(pilot: str, answer: Asks) -> None:
    code, _, err = answer(pilot, "--kept", "speakers=0.5")
    assert code == 2
    assert "speakers: that stage is not in this funnel, which has scene_split, face_count, audio_quality," in err


def test_a_catalog_without_a_run_that_measured_says_so(tmp_path: Path, answer: Asks) -> None:
    url = str(tmp_path / "catalog")
    write_catalog(url, funnel(POLICY), clips=10)
    code, _, err = answer(url)
    assert code == 2
    assert f"no run on {url} measured anything under the present fingerprints" in err


def test_the_price_is_of_a_core_where_we_measured_and_of_a_worker_where_you_did(pilot: str, answer: Asks) -> None:
    assert answer().out.split()[3] == "core-hours"
    assert answer(pilot).out.split()[3] == "worker-hours"


def test_another_policy_has_other_shares(pilot: str, tmp_path: Path, cost: AsksForTable) -> None:
    looser = tmp_path / "looser.yaml"
    looser.write_text(POLICY.replace(">= 96", ">= 10"))
    table = cost(pilot, "--hours", "1600", "--policy", str(looser))
    assert [table[stage][0] for stage in ("audio_quality", "sync")] == ["600", "600"]


def test_every_stage_of_the_lite_funnel_has_a_measured_cost() -> None:
    measured = MeasuredSeconds.read()
    policy = load_policy("measure_all")
    assert [cost.stage for cost in measured_costs()] == [entry.stage.name for entry in policy.stages]
    assert all(seconds > 0 for seconds in (*measured.views.values(), *measured.stages.values()))


def test_decoding_is_paid_once_by_the_first_stage_that_asks_for_it() -> None:
    measured, costs = MeasuredSeconds.read(), {cost.stage: cost.seconds for cost in measured_costs()}
    decoding = {stage: round(seconds - measured.stages[stage]) for stage, seconds in costs.items() if seconds}
    paid = {stage: seconds for stage, seconds in decoding.items() if seconds}
    assert paid == {"person_count": measured.views["dense"], "language": measured.views["sound"]}

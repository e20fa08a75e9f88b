"""What a funnel costs, against sums done by hand."""

import subprocess
import sys
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
from scripts.cost_model import main
from tests.support.deploy_paths import ROOT
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


Asks = Callable[..., Answer]  #: command line -> exit code, stdout, stderr
AsksForTable = Callable[..., dict[str, list[str]]]  #: command line -> cells by their row's first


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Asks:
    """The script in this process: starting it anew each time would take a minute in all."""

    def ask(*words: str) -> Answer:
        code = main(words)
        return Answer(code, *capsys.readouterr())

    return ask


@pytest.fixture
def cost_model(answer: Asks) -> AsksForTable:
    """Cells of the printed table by stage; what stands below it under ``below``."""

    def ask(*words: str) -> dict[str, list[str]]:
        code, out, err = answer(*words)
        assert (code, err) == (0, "")
        table, _, below = out.partition("\n\n")
        rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()[2:]]
        return {cells[0]: cells[1:] for cells in rows} | {"below": [below.strip()]}

    return ask


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a catalog: 400 clips of 3 s from 40 sources of 30 s, a source of 400 s that could not be cut, and one of
    1,000 s that nobody has tried. Half of the clips begin before 15 s (200), of these 140 have a face of 96 px, of
    these 105 pass sync and 35 fail there. Every stage was a run of its own; caption has had none.
    """
    plan = funnel(POLICY)
    url = str(tmp_path_factory.mktemp("pilot") / "catalog")
    catalog = write_catalog(url, plan)
    catalog.add_sources(pa.Table.from_pylist([_source("s-broken", 400.0), _source("s-new", 1000.0)], schema.SOURCES))
    _add_failures(catalog, plan, "scene_split", ["s-broken"], "part-sources")
    (shard,) = catalog.clip_shards(plan.split.digest)
    ids = np.array(catalog.clips(shard, ["clip_id"])["clip_id"].to_pylist())
    number = np.arange(400)
    reached = ids[(number % 10 < 5) & (number % 4 != 0)]
    is_failed = np.arange(len(reached)) % 4 == 0
    add_measured(catalog, plan, "sync", shard, reached[~is_failed], {})
    _add_failures(catalog, plan, "sync", reached[is_failed].tolist(), shard.stem)
    _write_runs(catalog, plan)
    return url


def _source(name: str, duration_s: float) -> dict[str, Any]:
    row = {"source_id": name, "path": f"/nowhere/{name}.mp4", "dataset": "second", "duration_s": duration_s}
    return dict.fromkeys(schema.SOURCES.names) | row | {"status": "ok", "ingested_at": datetime.now(timezone.utc)}


def _add_failures(catalog: Catalog, plan: Funnel, stage: str, ids: list[str], stem: str) -> None:
    same = {"stage": stage, "fingerprint": plan.digests[stage], "error_code": "corrupt", "detail": "", "attempt": 1}
    rows = [{"id": one, **same, "traceback": None, "failed_at": datetime.now(timezone.utc)} for one in ids]
    catalog.add_failures(stage, plan.digests[stage], stem, pa.Table.from_pylist(rows, schema.FAILURES))


def _write_runs(catalog: Catalog, plan: Funnel) -> None:
    def write(number: int, stage: str, rows: int, seconds: float, **changes: Any) -> None:
        figures = {"clips": rows, "clip_seconds": 3.0 * rows, "measured": {stage: rows}, "kept": {stage: rows}}
        figures |= {"failed": {}, "seconds": {stage: seconds}, "decode_seconds": {stage: seconds / 2}}
        phase = "scene_split" if stage == "scene_split" else "measure"
        same = {"policy_text": POLICY, "fingerprints": plan.digests, "phases": {phase: figures}}
        write_run_file(catalog, str(number), **same | changes)

    write(0, "face_count", 200, 9999.0, fingerprints=plan.digests | {"face_count": "of an older version"})
    write(1, "scene_split", 400, 100.0)
    write(2, "face_count", 150, 30.0)
    write(3, "face_count", 50, 20.0)  # what an interrupted run had left
    write(4, "audio_quality", 100, 10.0)
    write(5, "sync", 105, 35.0)
    write(6, "caption", 0, 0.0, phases={})  # the newest owed nothing


def test_runs_of_ones_own_give_costs_and_shares(pilot: str, cost_model: AsksForTable) -> None:
    """Seconds per hour: 100 s for the 1,600 s of sources that were tried; 50 s for 200 clips; 10 s for 100; 35 s for
    the 140 clips that reached sync."""
    table = cost_model("--run", pilot, "--hours", "1600", "--price", "2")
    assert table == {
        "scene_split": ["1,600", "100.0", "200.00", "50%"],
        "face_count": ["600", "50.0", "100.00", "25%"],  # of 1,600 s came 1,200 s of clips; half of them begin early
        "audio_quality": ["420", "14.0", "28.00", "7%"],
        "sync": ["420", "35.0", "70.00", "18%"],
        "caption": ["315", "unknown", "", ""],
        "all; 315 hours kept": ["1,600", "199.0", "398.00", ""],
        "below": ["Not in the sum, as no run measured it under its present fingerprint: caption"],
    }


def test_a_share_of_ones_own_goes_before_the_recorded_one(pilot: str, cost_model: AsksForTable) -> None:
    words = ("--kept", "face_count=0.1", "--kept", "caption=0.5")
    table = cost_model("--run", pilot, "--hours", "1600", *words)
    assert [table[stage][0] for stage in ("face_count", "sync", "caption")] == ["600", "60", "45"]
    assert table["sync"][1] == "5.0"
    assert "all; 22 hours kept" in table


def test_shares_are_those_of_the_last_policy(pilot: str, cost_model: AsksForTable) -> None:
    """Clips that a looser rule lets through wait for the next stage: nobody knows yet what it keeps of them."""
    catalog = Catalog.open(pilot)
    looser = POLICY.replace(">= 96", ">= 10")
    write_run_file(catalog, "7", policy_text=looser, fingerprints=funnel(POLICY).digests, phases={})
    try:
        table = cost_model("--run", pilot, "--hours", "1600")
    finally:
        catalog.store.remove("runs/7.json")
    assert [table[stage][0] for stage in ("audio_quality", "sync", "caption")] == ["600", "600", "450"]


def test_a_stage_sees_what_those_before_it_kept(cost_model: AsksForTable) -> None:
    everything, half = cost_model("--hours", "1000"), cost_model("--hours", "1000", "--kept", "person_count=0.5")
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
    (["--kept", "lips=0.5"], "'lips' is no stage; stages are scene_split, "),
    (["--hours", "-1"], "--hours: '-1' is not a number of 0 or more"),
    (["--hours", "many"], "--hours: 'many' is not a number of 0 or more"),
    (["--price", "-0.5"], "--price: '-0.5' is not a number of 0 or more"),
    (["--price", "nan"], "--price: 'nan' is not a number of 0 or more"),
    (["--price", "inf"], "--price: 'inf' is not a number of 0 or more"),
    (["--hour", "1", "--cheap"], "unrecognized arguments: --cheap"),
    (["--run", "no/such/catalog"], "no catalog at no/such/catalog"),
])  # fmt: skip
def test_a_mistake_is_one_line(words: list[str], said: str, answer: Asks) -> None:
    assert said in the_line(answer(*words))


def the_line(answer: Answer) -> str:
    """What a mistake is answered with."""
    assert (answer.code, answer.out) == (2, "")
    (line,) = answer.err.splitlines()
    return line


def test_a_share_of_a_stage_that_the_runs_do_not_have_is_refused(pilot: str, answer: Asks) -> None:
    line = the_line(answer("--run", pilot, "--kept", "speakers=0.5"))
    assert "speakers: that stage is not in this funnel, which has scene_split, face_count, audio_quality," in line


def test_a_catalog_without_a_run_that_measured_says_so(tmp_path: Path, answer: Asks) -> None:
    url = str(tmp_path / "catalog")
    write_catalog(url, funnel(POLICY), clips=10)
    assert f"no run on {url} measured anything under the present fingerprints" in the_line(answer("--run", url))


def test_the_script_ends_with_the_exit_code() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "cost_model.py"), "--run", "no/such/catalog"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "no catalog at no/such/catalog" in the_line(Answer(done.returncode, done.stdout, done.stderr))

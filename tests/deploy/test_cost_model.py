"""What a funnel costs, against sums done by hand."""

import re
import subprocess
import sys
from pathlib import Path

from catalogs.catalog import Catalog
from tests.curation.test_history import MEASURE, summary
from tests.deploy.paths import ROOT


def cost_model(*words: str) -> dict[str, list[str]]:
    """Cells of the printed table by stage."""
    command = [sys.executable, str(ROOT / "scripts" / "cost_model.py"), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in done.stdout.splitlines()[2:]]
    return {cells[0]: cells[1:] for cells in rows}


def test_a_run_of_ones_own_gives_costs_and_shares(tmp_path: Path) -> None:
    """MEASURE: 10 clips of 2 hours; face_count saw 9 (30 s, 4 kept), sync 4 (8 s, none kept)."""
    url = str(tmp_path / "cat")
    catalog = Catalog.open_or_create(url)
    catalog.write_run("1", summary("1"))
    catalog.write_run("2", summary("2", phases={}))  # the newest owed nothing
    table = cost_model("--run", url, "--hours", "1800", "--price", "2")
    face_hours = 1800 * (30 / (2 * 9 / 10)) / 3600
    sync_in = 1800 * 4 / 9
    sync_hours = sync_in * (8 / (2 * 4 / 10)) / 3600
    assert table["face_count"][:3] == ["1,800", f"{face_hours:.1f}", f"{2 * face_hours:.2f}"]
    assert table["sync"][:3] == [f"{sync_in:,.0f}", f"{sync_hours:.1f}", f"{2 * sync_hours:.2f}"]
    assert table["all; 0 hours kept"][1] == f"{face_hours + sync_hours:.1f}"
    assert MEASURE["clip_seconds"] == 7200


def test_a_stage_sees_what_those_before_it_kept() -> None:
    everything, half = cost_model("--hours", "1000"), cost_model("--hours", "1000", "--kept", "person_count=0.5")
    assert half["person_count"] == [*everything["person_count"][:3], half["person_count"][3]]
    assert half["sync"][0] == "500"
    assert abs(2 * float(half["sync"][1]) - float(everything["sync"][1])) < 0.2
    assert "all; 500 hours kept" in half

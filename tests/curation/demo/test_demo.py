"""The demo of the README works: every verdict must match its truth, with nothing but what the packages ship."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from curation.demo.check import Check, check_verdicts
from curation.demo.spec import Truth


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_verdict_of_the_demo_matches_its_truth(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "FUNNEL_WEIGHTS"} | {"FUNNEL_CACHE": str(tmp_path / "c")}
    command = [sys.executable, "-m", "funnel", "demo", "--pool", str(tmp_path / "pool")]
    command += ["--catalog", str(tmp_path / "catalog")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=850)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "18 of 18 verdicts match the truth" in done.stdout
    assert "XX" not in done.stdout
    assert f"funnel sample {tmp_path / 'catalog'} --stage face_count --n 20" in done.stdout


def test_a_wrong_verdict_is_seen() -> None:
    import duckdb

    connection = duckdb.connect()
    connection.execute("CREATE TABLE sources AS SELECT 's1' source_id, '/x/a.mp4' path, 'ok' status, NULL error_code")
    connection.execute("CREATE TABLE clips AS SELECT 'c1' clip_id, 's1' source_id")
    connection.execute(
        "CREATE TABLE verdicts AS "
        "SELECT 'c1' clip_id, 'drop' verdict, 'sync' drop_stage, 'r' drop_rule, 'v=1' drop_value"
    )
    connection.execute("CREATE TABLE failures (id VARCHAR, error_code VARCHAR)")
    truths = [Truth("a.mp4", "a", verdict="keep"), Truth("gone.mp4", "gone", verdict="drop", drop_stage="sync")]
    wrong, missing = check_verdicts(connection, truths)
    assert wrong == Check("a.mp4", "good", "keep", "drop at sync", "r: v=1")
    assert not wrong.agrees
    assert (missing.found, missing.agrees) == ("nothing", False)

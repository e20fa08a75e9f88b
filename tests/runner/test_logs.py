"""Log lines carry what they are about, and a reader of JSON lines meets nothing else."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from catalogs.errors import UserError
from runner import logs


@pytest.fixture(autouse=True)
def _logging_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {package: logging.getLogger(package).level for package in logs.OUR_PACKAGES}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for package, was in levels.items():
        logging.getLogger(package).setLevel(was)


def test_a_record_carries_what_is_worked_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.write_logs("json", "run-1")
    log = logging.getLogger("curation.running.quarantine")
    with logs.about(clip_id="c1"), logs.about(stage="sync"):
        log.info("measured %d", 3)
    log.warning("outside")
    inside, outside = map(json.loads, capsys.readouterr().err.splitlines())
    assert inside.pop("time").endswith("+00:00")
    assert inside == {
        "level": "info",
        "logger": "curation.running.quarantine",
        "message": "measured 3",
        "run_id": "run-1",
        "clip_id": "c1",
        "stage": "sync",
    }
    assert "clip_id" not in outside


def test_what_changes_often_is_asked_when_a_record_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.write_logs("json")
    now = {"clip_id": "c1"}
    with logs.about(lambda: now, stage="sync"):
        logging.getLogger("stages").info("one")
        now = {"clip_id": "c2"}
        logging.getLogger("stages").info("two")
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(record["clip_id"], record["stage"]) for record in found] == [("c1", "sync"), ("c2", "sync")]


def test_a_traceback_and_odd_text_stay_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.write_logs("json")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("stages").exception('说"话')
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == '说"话'
    assert "ValueError: two\nlines" in json.loads(line)["traceback"]


def test_plain_lines_name_the_clip_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.write_logs("plain", "run-1")
    with logs.about(clip_id="c1"):
        logging.getLogger("runner.pool").error("gone")
    assert capsys.readouterr().err.endswith("ERROR runner.pool: gone [run_id=run-1 clip_id=c1]\n")


def test_other_libraries_speak_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.write_logs("json")
    logging.getLogger("botocore").info("chatter")
    logging.getLogger("botocore").warning("slow down")
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["slow down"]


def test_a_format_that_does_not_exist_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.VARIABLE, "xml")
    with pytest.raises(UserError, match="FUNNEL_LOG=xml"):
        logs.log_format()


@pytest.mark.parametrize(("form", "shown"), [("json", "no catalog at"), ("xml", "FUNNEL_LOG=xml")])
def test_the_command_line_follows_the_environment(form: str, shown: str) -> None:
    command = [sys.executable, "-m", "funnel", "runs", "/nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {logs.VARIABLE: form})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert shown in (json.loads(line)["message"] if form == "json" else line)

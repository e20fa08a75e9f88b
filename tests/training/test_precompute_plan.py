"""A precompute is planned before anything is written: mistakes are one line, and the cut of the work is fixed."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogs.errors import UserError
from tests.support.precomputing import OPTIONS, arguments, program, request
from tests.support.talking_snapshot import Talking
from training.precompute import precompute
from training.precompute_plan import make_plan


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--snapshot", "v2"], "no snapshot 'v2' in this catalog (there are: v1)"),
        (["--captions", "said"], "snapshot v1 lacks the column said (it has: clip_id"),
        (["--height", "100"], "height 100: pictures are multiples of 16 pixels, e.g. 96"),
        (["--window-frames", "80"], "window_frames 80: a video has 4 k + 1 pictures, e.g. 81"),
        (["--window-frames", "401"], "no clip of snapshot v1 can be encoded: of 11, 11 too_short"),
        (["--codec", "/nowhere"], "codec: /nowhere holds no codec"),
        (["--text", "/nowhere"], "text encoder: /nowhere has no folder text_encoder"),
        (["--audio", "ears"], "audio encoder 'ears': choose one of auto, whisper, log_mel"),
        (["--dtype", "int8"], "dtype 'int8' is none of bfloat16, float16, float32"),
        (["--crop", "left"], "crop is centre or fit"),
        (["--catalog", "/nowhere"], "/nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    talking: Talking, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "latents"
    assert program(*arguments(talking, folder), *words) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("funnel:")]
    assert len(errors) == 1
    assert said in errors[0]
    assert not folder.exists()


def test_a_folder_of_something_else_is_left_alone(talking: Talking, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="is not empty and holds no latents; give an empty or new folder"):
        make_plan(request(talking, tmp_path))
    with pytest.raises(UserError, match="is a file, or lies below one"):
        make_plan(request(talking, tmp_path / "thesis.tex" / "latents"))


def test_two_runs_do_not_write_into_one_folder(talking: Talking, codec: Path, tmp_path: Path) -> None:
    import fcntl

    plan = make_plan(request(talking, tmp_path / "latents", codec=codec))
    plan.request.folder.mkdir()
    with open(plan.request.folder / ".lock", "wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another precompute works on"):
            precompute(plan, OPTIONS)


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    talking: Talking, codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(request(talking, tmp_path / "latents", codec=codec))
    monkeypatch.setattr("training.forecast.clip_bytes", lambda *_: 10**15)
    with pytest.raises(UserError, match=r"still need 10\.2 PB"):
        precompute(plan, OPTIONS)
    assert [path.name for path in plan.request.folder.iterdir()] == [".lock"]


def test_a_forecast_says_size_and_time_and_writes_nothing(
    talking: Talking, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "latents"
    assert program(*arguments(talking, folder), "--forecast") == 0
    said = capsys.readouterr().out
    assert "snapshot v1: 10 clips to encode" in said
    assert "left out: 1 too_short" in said
    assert "MB still to write" in said
    assert "for 10 clips on 1 worker like this one" in said
    assert not folder.exists()


def test_the_work_is_cut_by_the_snapshot_alone(talking: Talking, codec: Path, tmp_path: Path) -> None:
    plan = make_plan(request(talking, tmp_path / "latents", codec=codec))
    whole = list(plan.cut(10**9))
    assert [len(unit) for unit in whole] == [4, 4, 2]
    assert [task for unit in whole for task in unit] == list(plan.tasks)
    owed = plan.tasks[3:6]
    assert list(plan.units(owed, 10**9)) == [plan.tasks[3:4], plan.tasks[4:6]]
    assert [len(unit) for unit in plan.cut(1)] == [4, 4, 2], "a shard is never too small"

"""A portrait and a voice become a film, whole, in place and in bounded memory; a killed generation goes on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from catalogs.errors import UserError
from catalogs.media.film import write_film
from inference.calibrate import calibrate
from inference.pipeline import Pipeline
from inference.request import Progress, Request, Stopped
from tests.support.films import RATE, pictures, write_sound
from tests.support.house import ROOT
from tests.support.latent_models import tiny_model_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one layer that has learnt nothing, a picture, and two sounds, the second of which goes on longer."""
    made = tmp_path_factory.mktemp("generation")
    tiny_model_folder(fps=25.0, window_latents=5).save(made / "model")
    random = np.random.default_rng(0)
    cv2.imwrite(str(made / "face.png"), random.integers(0, 256, (64, 96, 3), np.uint8))
    sound = (0.3 * np.sin(np.arange(5 * RATE) * 0.05) * random.random(5 * RATE)).astype(np.float32)
    for name, seconds in (("short", 2.32), ("long", 5.0)):
        write_sound(made / f"{name}.wav", sound[: round(seconds * RATE)])
    return made


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    return Pipeline.load(folder / "model", device="cpu")


def request(folder: Path, sound: str = "short", **changes: Any) -> Request:
    values: dict[str, Any] = {"steps": 3, "audio_scale": "1.5", "force": True}
    return Request(image=folder / "face.png", audio=folder / f"{sound}.wav", **{**values, **changes})


@pytest.fixture(scope="module")
def short(pipeline: Pipeline, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("short") / "film.mp4"
    pipeline.generate(request(folder), out)
    return out


def test_a_film_is_as_long_as_its_sound_and_nothing_else_stays(
    pipeline: Pipeline, folder: Path, tmp_path: Path
) -> None:
    told: list[Progress] = []
    result = pipeline.generate(request(folder), tmp_path / "film.mp4", told.append)
    assert (result.frames, result.fps) == (round(2.32 * 25), 25)
    assert pictures(result.path).shape == (58, 32, 48, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    assert result.calls == 2 * told[-1].total == 2 * 3 * len(range(0, 16 - 2, 3)), "two branches, three steps, windows"
    done = [now.done for now in told if now.phase == "sampling"]
    assert done == list(range(1, told[-1].total + 1))
    assert told[-1].frames_written == 58
    assert any(now.frames_written for now in told[:-1]), "pictures are written while others are sampled"


@pytest.mark.parametrize("order", ["sweep", "waves"])
def test_every_order_makes_the_same_film(
    pipeline: Pipeline, folder: Path, short: Path, tmp_path: Path, order: str
) -> None:
    pipeline.generate(request(folder, order=order), tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes() == short.read_bytes()


def test_a_longer_sound_leaves_the_beginning_as_it_was(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    """Windows of 5 latents every 3, three steps: a change reaches two windows back."""
    whole = pipeline.generate(request(folder, "long"), tmp_path / "long.mp4").path
    seconds = pipeline.generate(request(folder, "long", seconds=2.32), tmp_path / "cut.mp4").path
    same = 1 + 4 * 5
    assert np.array_equal(pictures(whole)[:same], pictures(seconds)[:same])
    assert len(pictures(seconds)) == 58


def test_a_stopped_generation_goes_on_to_the_same_bytes(
    pipeline: Pipeline, folder: Path, short: Path, tmp_path: Path
) -> None:
    out, sessions = tmp_path / "film.mp4", 0
    for allowed in (1, 4, 3, 1000):
        evaluations = iter(range(allowed))
        sessions += 1
        try:
            pipeline.generate(request(folder), out, stop=lambda left=evaluations: next(left, None) is None)
        except Stopped:
            assert not out.exists()
            continue
        break
    assert sessions == 4
    assert out.read_bytes() == short.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_cache_is_gone_on_with(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    from inference.caches.coefficients import Coefficients

    def made(out: Path, allowed: int) -> bytes:
        evaluations = iter(range(allowed))
        prepared = pipeline.prepare(request(folder, steps=6))
        cache = _every_second_step(Coefficients("plain", (1.0,), "test"))
        from inference.steps import plan_steps

        plan = prepared.plan
        steps = plan_steps(pipeline.model.transformer, plan.schedule.levels, plan.guidance, cache=cache)
        prepared = replace(prepared, plan=replace(plan, cache=cache, steps=steps))
        assert plan.calls > prepared.plan.calls
        try:
            pipeline.generate_prepared(prepared, out, stop=lambda: next(evaluations, None) is None)
        except Stopped:
            pipeline.generate_prepared(prepared, out)
        return out.read_bytes()

    assert made(tmp_path / "whole.mp4", 1000) == made(tmp_path / "stopped.mp4", 9)


def _every_second_step(coefficients: Any) -> Any:
    from inference.caches.teacache import TeaCache

    return TeaCache(coefficients, alpha=2.0, last=0)


def test_a_killed_generation_goes_on_to_the_same_bytes(folder: Path, short: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import torch; torch.set_num_threads(1)\n"
        "from inference.pipeline import Pipeline; from inference.request import Request\n"
        "folder, out = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "request = Request(image=folder / 'face.png', audio=folder / 'short.wav', steps=3, audio_scale='1.5', "
        "force=True)\n"
        "import time\n"
        "def slowly(now):\n"
        "    print(now.done, flush=True); time.sleep(0.2)\n"
        "Pipeline.load(folder / 'model', device='cpu').generate(request, out, slowly, state_every_s=0.3)\n"
    )
    out = tmp_path / "film.mp4"
    words = [sys.executable, "-c", script, str(folder), str(out)]
    killed = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    while int(killed.stdout.readline() or 99) < 9:
        pass
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not out.exists()
    assert (tmp_path / "film.mp4.partial" / "state.safetensors").exists()
    again = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert int(again.stdout.split()[1]) > 1, "it goes on from its state"
    assert out.read_bytes() == short.read_bytes()


def test_another_request_is_not_gone_on_with(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "film.mp4"
    with pytest.raises(Stopped):
        pipeline.generate(request(folder), out, stop=lambda: True)
    with pytest.raises(UserError, match=r"seed was 0, and is 1.*give the same arguments to go on, or remove"):
        pipeline.generate(request(folder, seed=1), out)
    with pytest.raises(UserError, match=r"files\.audio was"):
        pipeline.generate(request(folder, "long"), out)
    cv2.imwrite(str(tmp_path / "other.png"), np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(UserError, match=r"files\.image was|seen was"):
        pipeline.generate(replace(request(folder), image=tmp_path / "other.png"), out)
    state = tmp_path / "film.mp4.partial" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(UserError, match=r"state\.safetensors is damaged"):
        pipeline.generate(request(folder), out)


def test_what_a_full_disk_left_at_the_start_is_no_hindrance(
    pipeline: Pipeline, folder: Path, short: Path, tmp_path: Path
) -> None:
    (tmp_path / "film.mp4.partial").mkdir()
    (tmp_path / "film.mp4.partial" / "work.part").write_text("{")
    pipeline.generate(request(folder), tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes() == short.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize("join", ["none", "chain"])
def test_a_join_for_comparison_is_stopped_too(pipeline: Pipeline, folder: Path, tmp_path: Path, join: str) -> None:
    evaluations = iter(range(3))
    with pytest.raises(Stopped):
        pipeline.generate(
            request(folder, join=join), tmp_path / "film.mp4", stop=lambda: next(evaluations, None) is None
        )
    assert not (tmp_path / "film.mp4").exists()


def test_two_processes_do_not_make_one_film(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    def second(now: Progress) -> None:
        if now.phase == "sampling":
            with pytest.raises(UserError, match="another process works on"):
                pipeline.generate(request(folder), tmp_path / "film.mp4")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.generate(request(folder), tmp_path / "film.mp4", second)


def test_joins_for_comparison_make_films_too(pipeline: Pipeline, folder: Path, short: Path, tmp_path: Path) -> None:
    for join in ("none", "overwrite", "chain", "paper"):
        result = pipeline.generate(request(folder, join=join), tmp_path / f"{join}.mp4")
        assert result.frames == 58
        assert result.path.read_bytes() != short.read_bytes(), join


def test_pictures_are_made_larger_when_asked(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    pipeline.generate(request(folder, scale=2, seconds=0.5), tmp_path / "film.mp4")
    assert pictures(tmp_path / "film.mp4").shape[1:3] == (64, 96)


def test_a_preview_is_the_first_window(pipeline: Pipeline, folder: Path) -> None:
    preview = pipeline.first_window(request(folder))
    assert pipeline.prepare(preview).plan.frames == 17
    assert len(pipeline.prepare(preview).plan.layout.windows) == 1


def test_a_forecast_counts_what_will_be_done(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    prepared = pipeline.prepare(request(folder))
    told = pipeline.forecast(prepared)
    result = pipeline.generate_prepared(prepared, tmp_path / "film.mp4")
    assert told.calls == result.calls
    assert told.evaluations == prepared.plan.evaluations
    assert told.total_s is not None
    assert 0 < (told.first_s or 0) < told.total_s
    assert told.memory["latents"] == prepared.plan.residency.latents * 24 * 4 * 6 * 4


def test_a_cache_is_calibrated_and_saves_calls(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder / "model", model)
    calibrated = Pipeline.load(model, device="cpu")
    fit = calibrate(calibrated, request(folder), [6, 12])
    assert fit.points == 5 + 11
    made = calibrated.generate(request(folder, steps=6, cache=1.0, seconds=0.6), tmp_path / "film.mp4")
    whole = calibrated.generate(request(folder, steps=6, seconds=0.6), tmp_path / "whole.mp4")
    assert made.calls < whole.calls
    assert made.facts["computed"][0]
    assert made.facts["computed"][-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"order": "spiral"}, "no order 'spiral'"),
        ({"join": "glue"}, "no join 'glue'"),
        ({"overlap": 3}, "overlap"),
        ({"scheduler": "heun"}, "needs two evaluations"),
        ({"audio_scale": "much"}, "no guidance scale"),
        ({"cache": 0.3}, "no coefficients for this model"),
        ({"lipsync": True}, "without a source video"),
        ({"hybrid_steps": 1}, "without a source video"),
        ({"seconds": 0}, "give more than 0"),
        ({"colour": 2}, "colour strength"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    pipeline: Pipeline, folder: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        pipeline.generate(request(folder, **changes), tmp_path / "film.mp4")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model folder"):
        Pipeline.load(tmp_path, device="cpu")


def test_a_film_of_sound_without_pictures_is_not_needed_for_its_sound(
    pipeline: Pipeline, folder: Path, tmp_path: Path
) -> None:
    """A film may lend its sound."""
    write_film(tmp_path / "in.mp4", [np.zeros((32, 32, 3), np.uint8)] * 25, np.full(RATE, 0.1, np.float32), 25)
    result = pipeline.generate(replace(request(folder), audio=tmp_path / "in.mp4"), tmp_path / "film.mp4")
    assert result.frames == 25

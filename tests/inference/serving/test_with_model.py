"""A model makes the films: what a client sends is spoken, and an interrupted job goes on to the same bytes."""

from __future__ import annotations

import wave
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from inference.request import Progress, Result
from inference.serving.generator import ModelGenerator, Work
from inference.serving.jobs import Jobs, Limits
from inference.serving.options import Options
from inference.serving.records import JobFolder
from tests.inference.serving.conftest import wait_for
from tests.support.latent_models import tiny_model_folder

ASKED = Options(steps=2, audio_scale=1.5, force=True, seed=5)


class Slowed(ModelGenerator):
    """Waits after the first evaluation until it is stopped, unless ``ended``."""

    ended = False

    def generate(self, work: Work, out: Path, progress: Callable[[Progress], None], stop: Callable[[], bool]) -> Result:
        def tell(now: Progress) -> None:
            progress(now)
            if now.done and not self.ended:
                wait_for(stop)

        return super().generate(work, out, tell, stop)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Slowed:
    folder = tmp_path_factory.mktemp("model")
    tiny_model_folder(fps=25.0, window_latents=5).save(folder / "tiny")
    return Slowed(folder / "tiny", device="cpu")


def portrait() -> bytes:
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", picture)[1])


def voice(seconds: float) -> bytes:
    sound, file = np.random.default_rng(1).normal(0, 4000, round(seconds * 16_000)), BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((1, 2, 16_000, 0, "NONE", ""))
        written.writeframes(sound.astype("<i2").tobytes())
    return file.getvalue()


def submit(jobs: Jobs, sound: bytes = voice(0.6), options: Options = ASKED) -> str:
    with jobs.uploading() as (job_id, folder):
        (folder / "portrait").write_bytes(portrait())
        (folder / "sound").write_bytes(sound)
        return jobs.submit(job_id, options).record.id


def test_an_interrupted_job_goes_on_to_the_same_film(model: Slowed, tmp_path: Path) -> None:
    assert model.about == {"name": "tiny", "preset": "tiny", "fps": 25.0, "width": 48, "height": 32}
    jobs = Jobs(JobFolder(tmp_path), model, Limits())
    jobs.start()
    interrupted = submit(jobs)
    wait_for(lambda: (now := jobs.get(interrupted).progress) and now.done)
    jobs.close(60)
    model.ended = True
    assert not (tmp_path / "jobs" / interrupted / "film.mp4").exists()

    jobs = Jobs(JobFolder(tmp_path), model, Limits())
    assert jobs.get(interrupted).record.state == "interrupted"
    jobs.start()
    jobs.again(interrupted)
    whole = submit(jobs)
    for job_id in (interrupted, whole):
        wait_for(lambda job_id=job_id: jobs.get(job_id).record.state not in ("waiting", "running"))
        assert jobs.get(job_id).record.error == ""
        wait_for(lambda job_id=job_id: len(list((tmp_path / "jobs" / job_id).iterdir())) == 2)
    assert jobs.film(interrupted).read_bytes() == jobs.film(whole).read_bytes()
    with av.open(str(jobs.film(whole))) as container:
        assert sum(1 for _ in container.decode(video=0)) == 15

    for sound, options, said in (
        (b"no sound at all", ASKED, "sound"),
        (voice(0.6), Options(face=9, steps=2), "face"),
    ):
        failed = submit(jobs, sound, options)
        wait_for(lambda failed=failed: jobs.get(failed).record.state == "failed")
        error = jobs.get(failed).record.error
        assert said in error
        assert "/" not in error
        assert "--" not in error
    jobs.close(60)

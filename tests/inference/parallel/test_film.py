"""One film by many processes: the bytes of one process, also when it was stopped and others go on with it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from catalogs.errors import UserError
from inference.parallel.group import Group
from inference.pipeline import Pipeline
from inference.request import Progress, Request, Stopped
from tests.support.films import RATE, write_sound
from tests.support.inference_processes import among, start
from tests.support.latent_models import tiny_model_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a picture and a sound, and the films that groups of processes made of them."""
    made = tmp_path_factory.mktemp("films")
    tiny_model_folder(fps=25.0, window_latents=5).save(made / "model")
    random = np.random.default_rng(0)
    cv2.imwrite(str(made / "face.png"), random.integers(0, 256, (64, 96, 3), np.uint8))
    write_sound(made / "said.wav", (0.3 * random.random(round(2.32 * RATE))).astype(np.float32))
    start(make_films, made, 4)
    return made


def make_films(rank: int, folder: Path) -> None:
    """Two processes make a film; two begin another, and three go on; 2 x 2 make a third (windows x sequence)."""
    for world, sequence, name, allowed in ((4, 2, "both", 99), (2, 1, "two", 99), (2, 1, "any", 4), (3, 1, "any", 99)):
        if rank < world:
            with among(rank, world, folder, f"meet-{world}-{name}", sequence) as group:
                make(folder, name, group, allowed)


def make(folder: Path, name: str, group: Group, allowed: int = 99) -> list[Progress]:
    """Make a film, or what ``allowed`` ticks make of it; the last process stops, and so all do."""
    pipeline = Pipeline.load(folder / "model", device="cpu", group=group)
    request = Request(
        image=folder / "face.png", audio=folder / "said.wav", steps=3, audio_scale="1.5", force=True, cache=0.0
    )
    ticks, told = iter(range(allowed)), list[Progress]()

    def stop() -> bool:
        return group.rank == group.world - 1 and next(ticks, None) is None

    try:
        result = pipeline.generate(request, folder / f"{name}.mp4", told.append, stop)
    except Stopped:
        assert allowed < 99
    else:
        assert result.frames == (58 if group.is_first else 0)
        assert told[-1].done == told[-1].total or not group.is_first
    return told


@pytest.mark.parametrize("name", ["two", "any"])
def test_windows_over_processes_make_the_same_film(folder: Path, name: str) -> None:
    make(folder, "one", Group.alone())
    assert (folder / f"{name}.mp4").read_bytes() == (folder / "one.mp4").read_bytes()
    assert not (folder / f"{name}.mp4.partial").exists()


def test_both_ways_together_make_a_film_too(folder: Path) -> None:
    assert (folder / "both.mp4").stat().st_size > 1000


def test_joins_for_comparison_are_refused_in_many_processes(folder: Path) -> None:
    many = Pipeline.load(folder / "model", device="cpu")
    many.group = Group(0, 2, many.device)
    with pytest.raises(UserError, match="join 'chain' is for comparison, and runs in one process"):
        many.prepare(Request(image=folder / "face.png", audio=folder / "said.wav", join="chain"))

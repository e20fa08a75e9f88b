"""A video's lips are changed: the model is told of its surroundings, and pixels beside the mouth stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from catalogs.errors import UserError
from curation.demo.motion import Pose
from curation.demo.portrait import Portrait, PortraitView
from inference.generation import Generation
from inference.pipeline import Pipeline
from inference.request import Request
from inference.told import source_latents
from model.conditioning import fold_hole
from tests.support.films import pictures, write_sound
from tests.support.latent_models import tiny_model_folder
from tests.support.written_media import write_video

SECONDS = 0.84  # 21 pictures: six latents


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt nothing, a video of a speaking face, and a sound."""
    made = tmp_path_factory.mktemp("editing")
    tiny_model_folder(window_latents=4, height=96, width=96).save(made / "model")
    person = Portrait(PortraitView(320, 320, "close_up"))
    frames = [person.frame(Pose(opening=0.5 + 0.5 * np.sin(number), shift_x=0.2 * number)) for number in range(24)]
    write_video(made / "video.mp4", frames, fps=25)
    sound = np.random.default_rng(0).normal(size=round(SECONDS * 16_000)) * 0.1
    write_sound(made / "voice.wav", sound.astype(np.float32))
    return made


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    return Pipeline.load(folder / "model", device="cpu")


def request(folder: Path, **changes: object) -> Request:
    values: dict[str, object] = {"video": folder / "video.mp4", "steps": 2, "audio_scale": "0"}
    return Request(audio=folder / "voice.wav", **{**values, **changes})  # type: ignore[arg-type]


def test_the_model_is_told_what_training_told_it(pipeline: Pipeline, folder: Path) -> None:
    """Grey in the hole, encoded as a whole."""
    prepared = pipeline.prepare(request(folder))
    assert prepared.source is not None
    assert (prepared.plan.frames, prepared.plan.layout.latents) == (21, 6)
    whole = torch.from_numpy(prepared.source.cut(prepared.source.pictures(0, 21))).permute(3, 0, 1, 2)[None]
    hole = torch.from_numpy(prepared.source.hole(0, 21))
    expected = pipeline.model.codec.encode((whole.float() / 127.5 - 1) * (1 - hole))
    latents, folded = source_latents(pipeline.model.codec, prepared.source, 6)
    assert torch.allclose(latents, expected, atol=1e-4)
    assert torch.equal(folded, fold_hole(hole))
    track = pipeline.track(prepared)
    assert track.video is not None
    assert torch.equal(track.video, latents)


def test_without_a_portrait_the_videos_first_picture_is_the_reference(pipeline: Pipeline, folder: Path) -> None:
    prepared = pipeline.prepare(request(folder))
    assert prepared.source is not None
    np.testing.assert_array_equal(prepared.portrait.picture, prepared.source.cut(prepared.source.pictures(0, 1))[0])
    both = pipeline.prepare(request(folder, image=folder / "video.mp4"))
    assert "the portrait is not used" in both.notes[0]
    np.testing.assert_array_equal(both.portrait.picture, prepared.portrait.picture)
    with pytest.raises(UserError, match="--face chooses in a portrait"):
        pipeline.prepare(request(folder, face=2))
    with pytest.raises(UserError, match="nobody is to speak: give a portrait with --image, or a video"):
        pipeline.prepare(request(folder, video=None))


def test_lip_sync_keeps_the_video_but_for_its_mouth(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    """Bit by bit, in the pictures that are given to the film's encoder."""
    prepared = pipeline.prepare(request(folder, lipsync=True))
    assert prepared.source is not None
    generation = Generation(pipeline, prepared, tmp_path / "film.mp4", lambda now: None, lambda: False, 30.0)
    painted = torch.randn(1, 24, 6, 12, 12, generator=torch.Generator().manual_seed(0))
    made = np.concatenate(list(generation._pictures(iter(painted.split(1, dim=2)))))
    there = prepared.source.pictures(0, 21)
    assert made.shape == there.shape == (21, 320, 320, 3), "at its own size"
    mouth = np.zeros((21, 320, 320), bool)
    for number, box in enumerate(prepared.source.boxes[prepared.source.order[:21]] * 320 / 96):
        (left, top), (right, bottom) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
        mouth[number, top:bottom, left:right] = True
    np.testing.assert_array_equal(made[~mouth], there[~mouth])
    assert np.abs(made[mouth].astype(int) - there[mouth]).mean() > 10, "noise is painted into the mouth"


def test_a_lip_synced_film_is_written_at_the_videos_size(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    result = pipeline.generate(request(folder, lipsync=True), tmp_path / "film.mp4")
    assert pictures(result.path).shape == (21, 320, 320, 3)


def test_all_is_painted_at_the_models_size_without_lip_sync(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    result = pipeline.generate(request(folder, hybrid_steps=1), tmp_path / "film.mp4")
    assert pictures(result.path).shape == (21, 96, 96, 3)
    other = pipeline.generate(request(folder, hybrid_steps=2), tmp_path / "other.mp4")
    assert other.path.read_bytes() != result.path.read_bytes(), "the second step saw the first picture only"


def test_hybrid_steps_are_not_more_than_all(pipeline: Pipeline, folder: Path) -> None:
    with pytest.raises(UserError, match="3 hybrid steps of 2 steps"):
        pipeline.prepare(request(folder, hybrid_steps=3))


def test_a_video_without_a_face_is_one_line(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "wall.mp4", [np.full((96, 96, 3), 90, np.uint8)] * 30, fps=25)
    with pytest.raises(UserError, match="no face is seen"):
        pipeline.prepare(request(folder, video=tmp_path / "wall.mp4"))

"""Captions say what was measured and nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.caption import MODEL, CaptionConfig, ComposedScorer
from stages.captions.compose import sentence, structural
from stages.captions.facts import Facts, light
from stages.captions.motion import camera_shifts
from stages.captions.structure import StructuralCaption, Subject
from tests.support import photo_clips as photos
from weights import registry

FULL = Facts(
    persons=1,
    framing="half_body",
    facing="front",
    place="centre",
    voice=True,
    mouth_moves=True,
    lively=False,
    camera="static",
    light="bright",
)


@pytest.fixture(scope="module")
def scorer() -> ComposedScorer:
    return ComposedScorer(CaptionConfig())


def test_all_facts_make_one_sentence() -> None:
    assert sentence(FULL) == (
        "A half-body shot of one person facing the camera, centred, speaking; static camera, bright lighting."
    )


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(), "A shot without a recognised person."),
        (Facts(persons=1, framing="close_up"), "A close-up of one person."),
        (Facts(persons=2, framing="half_body", facing="side"), "A half-body shot of two people."),
        (replace(FULL, mouth_moves=False, camera=None, light=None, facing=None),
         "A half-body shot of one person, centred, with a voice on the sound track."),
        (replace(FULL, voice=None, camera="moving", light="dim", lively=True),
         "A half-body shot of one person facing the camera, centred, moving about; moving camera, dim lighting."),
    ],
)  # fmt: skip
def test_what_is_unknown_is_not_said(facts: Facts, expected: str) -> None:
    assert sentence(facts) == expected


def test_structure_has_skycaptioner_keys_and_empty_strings_for_the_unknown() -> None:
    given = json.loads(structural(FULL).to_json())
    assert list(given) == [
        "subjects", "shot_type", "shot_angle", "shot_position", "camera_motion", "environment", "lighting"
    ]  # fmt: skip
    (subject,) = given["subjects"]
    assert subject == {
        "TYPES": {"type": "Human", "sub_type": ""},
        "appearance": "",
        "action": "speaking",
        "expression": "",
        "position": "centred",
        "is_main_subject": True,
    }
    assert (given["shot_type"], given["environment"], given["shot_angle"]) == ("medium_shot", "", "")


def test_structure_comes_back_from_its_json() -> None:
    caption = StructuralCaption(subjects=(Subject("Human", "Woman", is_main_subject=True),), lighting='"soft"')
    assert StructuralCaption.parse(caption.to_json()) == caption


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ({"subjects": {}}, "subjects must be a list"),
        ({"lighting": None}, "caption.lighting must be a string"),
        ({"subjects": [{"TYPES": "Human"}]}, r"subjects\[0\].TYPES must be an object"),
    ],
)
def test_a_broken_structure_is_refused_with_the_place(damage: dict, complaint: str) -> None:
    text = json.dumps(json.loads(StructuralCaption().to_json()) | damage)
    with pytest.raises(ValueError, match=complaint):
        StructuralCaption.parse(text)


def test_not_json_is_refused() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        StructuralCaption.parse("Sure! Here is the caption")
    with pytest.raises(ValueError, match="must be an object"):
        StructuralCaption.parse("[]")


def test_a_still_photo_without_sound(scorer: ComposedScorer, tmp_path: Path) -> None:
    row = scorer.score(photos.clip(tmp_path, (photos.astronaut(), 5)))
    assert row.caption_model == MODEL
    assert row.caption.startswith("A half-body shot of one person")
    assert "speaking" not in row.caption
    assert "voice" not in row.caption
    assert StructuralCaption.parse(row.caption_structural).subjects[0].is_main_subject


@pytest.mark.parametrize(("level", "word"), [(0, "dark"), (45, "dim"), (100, "even"), (200, "bright")])
def test_light_has_a_word(level: int, word: str) -> None:
    assert light(np.full((2, 40, 40, 3), level, np.uint8), CaptionConfig()) == word


def test_black_bars_do_not_darken() -> None:
    frames = np.zeros((2, 80, 40, 3), np.uint8)
    frames[:, 20:60] = 200
    assert light(frames, CaptionConfig()) == "bright"


def test_a_pan_is_a_moving_camera_and_a_still_scene_is_not(scorer: ComposedScorer, tmp_path: Path) -> None:
    scene = photos.beside(photos.coffee(), photos.cat())
    pan = [scene[:, 4 * i : 4 * i + 512] for i in range(5 * photos.FPS)]
    assert scorer.facts(photos.moving_clip(tmp_path, pan)).camera == "moving"
    assert scorer.facts(photos.clip(tmp_path, (scene, 5))).camera == "static"


def test_a_plain_background_says_nothing_about_the_camera(scorer: ComposedScorer, tmp_path: Path) -> None:
    assert scorer.facts(photos.clip(tmp_path, (np.full((256, 256, 3), 90, np.uint8), 5))).camera is None


def test_a_moving_person_is_not_a_moving_camera() -> None:
    scene = np.tile(photos.coffee(), (2, 1, 1, 1))
    scene[1, 100:400, 100:300] = photos.cat()[:300, :200]
    (shift,) = camera_shifts(scene, [np.asarray([[90, 90, 310, 410]], np.float32)] * 2)
    assert shift < 0.002


def test_optional_models_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = registry.find
    missing = ("face_mesh", "pose_detector", "pose_landmarks", "silero_vad")
    monkeypatch.setattr(registry, "find", lambda name: None if name in missing else found(name))
    row = ComposedScorer(CaptionConfig()).score(photos.clip(tmp_path, (photos.astronaut(), 3)))
    assert "one person" in row.caption


def test_a_talking_person_speaks_and_a_silent_one_does_not(scorer: ComposedScorer, media: Path) -> None:
    talking = scorer.score(photos.real_clip(media / "video" / "retalking_face4.mp4"))
    assert "speaking" in talking.caption
    smiling = scorer.score(photos.real_clip(media / "video" / "liveportrait_d19.mp4"))
    assert "speaking" not in smiling.caption

"""Every stage asks something of its own, and reasons can be stored and counted."""

from __future__ import annotations

import re

import pytest

from catalogs.errors import UserError
from curation.annotation.questions import check_reasons, question
from stages.declared import Question
from stages.listing import STAGES

GENERAL = "Does this clip belong in the training set, as far as {stage} is concerned?"
#: Keys that answers in people's catalogs may hold: a stage may add to them, and never takes one away.
STORED = {
    "scene_split": "hard_cut dissolve stray_frames no_motion cut_mid_word flash useful_length",
    "person_count": "more_persons no_person background_persons leaves not_real object_counted reflection counted_twice",
    "face_count": "more_faces no_face too_small turned_away covered other_person not_real "
    "picture_counted face_missed turn_misread identity_misread",
    "head_body": "too_close too_far body_hidden framing_changes pose_misread",
    "video_quality": "blurred compressed noisy light overlay bars shaky still soft_background dark_on_purpose",
    "language": "no_speech little_speech singing wrong_language mixed_languages speech_missed language_misheard",
    "audio_quality": "noise echo distorted muffled music drop_outs quiet_voice pauses",
    "speakers": "second_voice overlap off_screen_voice loud_music applause one_voice_split sound_counted",
    "sync": "sound_late sound_early other_voice off_screen_voice lips_hidden not_talking singing "
    "other_face quick_motion noise_misled",
    "caption": "invented missing wrong_person wrong_action wrong_shot bad_language",
}


@pytest.mark.parametrize("stage", STAGES.shipped)
def test_a_stage_asks_the_same_of_both_sides_and_offers_reasons(stage: str) -> None:
    kept, dropped = question(stage, "kept"), question(stage, "dropped")
    assert kept.text == dropped.text
    assert kept.text.endswith("?")
    assert (kept.text == GENERAL.format(stage=stage)) == (STAGES[stage].question == Question())
    assert (kept.reasons["bad"], kept.reasons["unsure"]) == (dropped.reasons["bad"], dropped.reasons["unsure"])
    assert not kept.reasons["good"]
    assert dropped.reasons["good"]
    for offered in dropped.reasons.values():
        keys = [reason.key for reason in offered]
        assert len(set(keys)) == len(keys)
        assert all(re.fullmatch("[a-z_]+", key) for key in keys)


@pytest.mark.parametrize("stage", STORED)
def test_reasons_that_answers_may_hold_are_still_known(stage: str) -> None:
    assert check_reasons(stage, "dropped", (*STORED[stage].split(), "other", "unusable", "borderline", "in_between"))


def test_a_stage_of_somebody_elses_asks_the_general_question() -> None:
    asked = question("smile", "kept")
    assert asked.text == GENERAL.format(stage="smile")
    assert [reason.key for reason in asked.all_reasons] == ["unusable", "other", "in_between"]


def test_only_listed_reasons_are_taken() -> None:
    assert check_reasons("sync", "kept", ("sound_late", "other")) == ("sound_late", "other")
    with pytest.raises(UserError, match="unknown reason 'noise' for a kept lot of sync; known: sound_late"):
        check_reasons("sync", "kept", ("noise",))
    with pytest.raises(UserError, match="unknown reason 'other_face'"):
        check_reasons("sync", "kept", ("other_face",))

"""Every stage asks something of its own, and reasons can be stored and counted."""

from __future__ import annotations

import re

import pytest

from catalogs.errors import UserError
from curation.annotation.questions import check_reasons, question
from stages.listing import STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_asks_the_same_of_both_sides_and_offers_reasons(stage: str) -> None:
    kept, dropped = question(stage, "kept"), question(stage, "dropped")
    assert kept.text == dropped.text
    assert kept.text.endswith("?")
    assert "training set, as far as" not in kept.text  # a question of its own, not the general one
    assert (kept.reasons["bad"], kept.reasons["unsure"]) == (dropped.reasons["bad"], dropped.reasons["unsure"])
    assert not kept.reasons["good"]
    assert dropped.reasons["good"]
    for offered in dropped.reasons.values():
        keys = [reason.key for reason in offered]
        assert len(set(keys)) == len(keys)
        assert all(re.fullmatch("[a-z_]+", key) for key in keys)


def test_a_stage_of_somebody_elses_asks_the_general_question() -> None:
    asked = question("smile", "kept")
    assert asked.text == "Does this clip belong in the training set, as far as smile is concerned?"
    assert [reason.key for reason in asked.all_reasons] == ["unusable", "other", "in_between"]


def test_only_listed_reasons_are_taken() -> None:
    assert check_reasons("sync", "kept", ("sound_late", "other")) == ("sound_late", "other")
    with pytest.raises(UserError, match="unknown reason 'noise' for a kept lot of sync; known: sound_late"):
        check_reasons("sync", "kept", ("noise",))
    with pytest.raises(UserError, match="unknown reason 'other_face'"):
        check_reasons("sync", "kept", ("other_face",))

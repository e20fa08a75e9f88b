"""What a run says about the licences that bind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.listing import STAGES
from weights import licences, registry

HERE = {"yolo_world_x", "insightface_detector", "insightface_identity", "syncnet_v2", "face_detector"}


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find", lambda name: Path(name) if name in HERE else None)


def test_packages_and_weights_are_named_by_licence() -> None:
    backends = [STAGES[name].backend("reference") for name in ("person_count", "face_count", "head_body")]
    assert licences.notices(backends) == [
        "this run uses, under AGPL-3.0: package ultralytics, weights yolo_world_x",
        "this run uses, under InsightFace-non-commercial: weights insightface_detector, weights insightface_identity",
    ]


def test_nothing_is_said_twice_and_nothing_of_licences_that_only_want_to_be_named() -> None:
    sync = STAGES["sync"].backend("reference")
    assert licences.notices([sync, sync]) == ["this run uses, under SyncNet-research-purposes: weights syncnet_v2"]
    assert licences.notices(stage.backend("lite") for stage in STAGES.values()) == []

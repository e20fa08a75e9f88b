"""A digest names numbers in people's catalogs, so no change to the code may change one unnoticed.

These were computed before the house was rearranged, with weights whose hash is a function of their name. A digest may
change together with the numbers that it names: a backend's version was raised, a config's default or its weights are
others. Then the old numbers stay in catalogs beside the new ones, and the value here is put right by hand.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogs.media import MediaConfig
from curation.deciding.bound import resolve
from curation.deciding.policy import load_policy
from stages.base import fingerprint
from stages.listing import STAGES
from weights import registry
from weights.declared import declared_weights

GOLDEN = {
    ("scene_split", "lite"): "d9649978ed76c4bd",
    ("scene_split", "reference"): "d9649978ed76c4bd",
    ("person_count", "lite"): "5e73e48aa9f3f764",
    ("person_count", "reference"): "ad0b9f33279f4921",
    ("face_count", "lite"): "9ec3eb54655fd400",
    ("face_count", "reference"): "b9b023460d95adc5",
    ("head_body", "lite"): "a4778cea57d63bc3",
    ("head_body", "reference"): "7bbd386c966eee67",
    ("video_quality", "lite"): "9c9be57a12efe177",
    ("video_quality", "reference"): "d1f932330d87ac0f",
    ("language", "lite"): "91834dc8ae94673d",
    ("language", "reference"): "b2cdb23ffdb05588",
    ("audio_quality", "lite"): "e4a215f784625b49",
    ("audio_quality", "reference"): "e4a215f784625b49",
    ("speakers", "lite"): "d471c940b41406ec",
    ("speakers", "reference"): "39d951781d40395a",
    ("sync", "lite"): "1f462d1b8b5ba04d",
    ("sync", "reference"): "f184f1317c0b5822",
    ("caption", "lite"): "f47589a0153f599b",
    ("caption", "reference"): "07787853c75a89c1",
}
#: Stages whose digest in the policy ``reference`` is another: it looks at larger pictures.
LARGER_PICTURES = {
    "person_count": "967dfa95ba282973",
    "face_count": "50fbcf4e9c45c6f3",
    "head_body": "3864c18e87c2cd8b",
    "sync": "ce4a452a52a0c281",
    "caption": "1e626d508abd77d5",
}


WHISPER_TINY = "ab523f775835c84f"  #: of language on machines that have whisper tiny only, as before whisper base came


def install(monkeypatch: pytest.MonkeyPatch, *absent: str) -> None:
    """Make an installation that has all weights but ``absent``."""
    there = {name for name in declared_weights() if name not in absent}
    monkeypatch.setattr(registry, "find", lambda name: Path(name) if name in there else None)
    monkeypatch.setattr(registry, "sha256", lambda name: f"the bytes of {name}" if name in there else None)


@pytest.fixture(autouse=True)
def _any_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights are there, and no file of this machine plays a part."""
    install(monkeypatch)


@pytest.mark.parametrize(("name", "profile"), GOLDEN)
def test_the_numbers_of_a_stage_keep_their_name(name: str, profile: str) -> None:
    stage = STAGES[name]
    backend, config = stage.backend(profile), stage.config_of(profile)()  # type: ignore[arg-type]
    assert fingerprint(stage, backend, config, MediaConfig()).digest == GOLDEN[name, profile]


@pytest.mark.parametrize(
    ("absent", "backend", "digest"),
    [
        ((), "whisper_base", GOLDEN["language", "lite"]),
        (("whisper_tiny",), "whisper_base", GOLDEN["language", "lite"]),
        (("whisper_base",), "whisper_tiny", WHISPER_TINY),
        (("whisper_base", "whisper_tiny"), "whisper_base", "d5947430f794d542"),
    ],
    ids=["both", "base", "tiny", "neither"],
)
def test_only_the_whisper_that_is_used_names_the_languages(
    absent: tuple[str, ...], backend: str, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, *absent)
    stage = STAGES["language"]
    used = stage.backend("lite")
    assert used.name == backend
    assert fingerprint(stage, used, stage.config(), MediaConfig()).digest == digest


@pytest.mark.parametrize("policy", ["lite", "measure_all", "reference"])
def test_the_shipped_policies_find_what_they_have_measured(policy: str) -> None:
    funnel = resolve(load_policy(policy))
    golden = {name: digest for (name, profile), digest in GOLDEN.items() if profile == funnel.policy.profile}
    golden |= LARGER_PICTURES if policy == "reference" else {}
    digests = {name: digest for name, digest in funnel.digests.items() if name in golden}
    assert digests == {name: golden[name] for name in digests}
    assert len(digests) >= 9

"""The policy that speaks for a catalog: the one that is named, that of the last run, or the default."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from curation.deciding.bound import Funnel
from curation.deciding.recorded import choose_policy, funnel_of, measured_elsewhere
from stages.base import MISSING
from tests.support.hand_written import funnel
from tests.support.run_files import write_run_file
from weights import registry

TEXT = "stages: [scene_split, {stage: face_count, keep: {one_face: face_count_max = 1}}]"  # does not say its name


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.open_or_create(str(tmp_path / "catalog"))


def write_run(catalog: Catalog, funnel: Funnel, run_id: str = "r1", profile: str = "lite") -> None:
    for bound in funnel.stages:
        catalog.describe_fingerprint(bound.name, bound.digest, asdict(bound.fingerprint))
    same = {"policy_text": TEXT, "policy": "mine", "profile": profile}
    write_run_file(catalog, run_id, fingerprints=funnel.digests, **same)


def of_another_version(funnel: Funnel) -> Funnel:
    """The funnel as a release measured it whose face_count was another one."""
    split, faces = funnel.stages
    return replace(funnel, stages=(split, replace(faces, fingerprint=replace(faces.fingerprint, version=99))))


def test_before_the_first_run_it_is_lite(catalog: Catalog) -> None:
    for chosen in (choose_policy(catalog, None), choose_policy(None, None)):
        assert (chosen.policy.name, chosen.policy.profile, chosen.run) == ("lite", "lite", None)


def test_without_a_name_it_is_that_of_the_last_run_with_its_name(catalog: Catalog) -> None:
    write_run_file(catalog, "r0")
    write_run(catalog, funnel(TEXT))
    chosen = choose_policy(catalog, None)
    assert chosen.run is not None
    assert (chosen.policy.name, chosen.run.run_id) == ("mine", "r1")
    assert [stage.stage.name for stage in chosen.policy.stages] == ["scene_split", "face_count"]


def test_a_named_one_goes_before_that_of_the_last_run(catalog: Catalog) -> None:
    write_run(catalog, funnel(TEXT))
    chosen = choose_policy(catalog, "measure_all")
    assert (chosen.policy.name, chosen.run) == ("measure_all", None)


def test_what_is_read_has_the_fingerprints_of_the_last_run_and_what_is_measured_those_of_this_installation(
    catalog: Catalog,
) -> None:
    here = funnel(TEXT)
    elsewhere = of_another_version(here)
    write_run(catalog, elsewhere)
    chosen = choose_policy(catalog, None)
    assert chosen.as_recorded(catalog).digests == funnel_of(catalog, None).digests == elsewhere.digests
    assert chosen.as_installed().digests == here.digests
    assert here.digests["face_count"] != elsewhere.digests["face_count"]


@pytest.mark.parametrize("missing", [False, True])
def test_what_a_stand_in_measured_is_read_as_its_own_where_the_better_model_is_installed(
    missing: bool, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    whispers = {"whisper_tiny"}
    find = registry.find

    def of_whispers(name: str) -> Path | None:
        return find(name) if not name.startswith("whisper") else Path(name) if name in whispers else None

    monkeypatch.setattr(registry, "find", of_whispers)
    monkeypatch.setattr(registry, "file_sha256", lambda path: "the bytes of whisper")
    split, language = funnel("stages: [scene_split, language]").stages
    assert language.backend.name == "whisper_tiny"
    if missing:
        weights = {**language.fingerprint.weights, "whisper_tiny": MISSING}
        language = replace(language, fingerprint=replace(language.fingerprint, weights=weights))
    measured = Funnel(funnel("stages: [scene_split, language]").policy, (split, language))
    for bound in measured.stages:
        catalog.describe_fingerprint(bound.name, bound.digest, asdict(bound.fingerprint))
    text = "stages: [scene_split, language]"
    write_run_file(catalog, "r1", fingerprints=measured.digests, policy_text=text, policy="mine", profile="lite")
    whispers.add("whisper_base")
    read = funnel_of(catalog, None).stages[1]
    assert (read.backend.name, read.digest) == ("whisper_tiny", language.digest)
    assert set(read.unavailable_columns.values()) == ({"whisper_tiny"} if missing else set())
    assert choose_policy(catalog, None).as_installed().stages[1].backend.name == "whisper_base"


def test_the_models_are_those_of_the_last_run_unless_others_are_named(catalog: Catalog) -> None:
    write_run(catalog, funnel(TEXT), profile="reference")
    assert choose_policy(catalog, None).policy.profile == "reference"
    assert choose_policy(catalog, None, "lite").policy.profile == "lite"


def test_a_policy_of_the_past_that_this_release_does_not_understand_is_named_by_its_run(catalog: Catalog) -> None:
    write_run_file(catalog, "r7", policy_text="stages: [lip_reading]")
    with pytest.raises(UserError, match="policy of run r7"):
        choose_policy(catalog, None)


def test_numbers_of_other_weights_or_code_are_named(catalog: Catalog) -> None:
    write_run(catalog, of_another_version(funnel(TEXT)))
    assert measured_elsewhere(funnel_of(catalog, None)) == ["face_count"]
    assert measured_elsewhere(funnel_of(catalog, "measure_all")) == []

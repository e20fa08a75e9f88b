"""The policy that speaks for a catalog: the one that is named, that of the last run, or the default."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from curation.deciding.bound import Funnel
from curation.deciding.recorded import choose_policy, funnel_of, measured_elsewhere
from tests.support.hand_written import funnel
from tests.support.run_files import write_run_file

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

"""Every stage of this package declares all that the rest of the house asks of it; nothing else has to be edited."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest

from catalogs.schema import meaning_of
from curation.deciding.policy import builtin_policies, load_policy
from stages.base import PROFILES, Measurement, Stage
from stages.declared import named
from stages.listing import STAGES
from weights.declared import declared_weights

ROOT = Path(__file__).parent.parent.parent
EVERY = [pytest.param(STAGES[name], id=name) for name in STAGES.shipped]


@pytest.mark.parametrize("stage", EVERY)
def test_a_stage_says_what_it_measures(stage: Stage) -> None:
    module = import_module(STAGES.module(stage.name))
    assert stage.summary
    assert "\n" not in stage.summary
    assert not stage.summary.endswith("."), "it stands in a table"
    assert module.__doc__, "docs/stages.md begins with the module's docstring"


@pytest.mark.parametrize("stage", EVERY)
def test_a_column_has_a_meaning_and_a_unit_if_it_has_one(stage: Stage) -> None:
    assert len(stage.columns)
    for field in stage.columns:
        meaning, unit = meaning_of(field)
        assert meaning, field.name
        assert not meaning.endswith("."), field.name
        assert unit == unit.strip(), field.name


def test_a_column_belongs_to_one_stage() -> None:
    """The view ``curated`` has them all side by side."""
    names = Counter(name for stage in STAGES.shipped if stage != "scene_split" for name in STAGES[stage].columns.names)
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("stage", EVERY)
def test_a_backend_can_be_found(stage: Stage) -> None:
    assert stage.backends.keys() <= set(PROFILES)
    for profile, backend in stage.backends.items():
        assert isinstance(named(backend.scorer), type), backend.scorer
        assert not backend.check or callable(named(backend.check)), backend.check
        assert {*backend.weights, *backend.optional_weights} <= declared_weights().keys()
        lost = {column for columns in backend.optional_weights.values() for column in columns}
        assert lost <= set(stage.columns.names)
        assert stage.config_of(profile)().numbers() is not None


@pytest.mark.parametrize("stage", [stage for stage in EVERY if stage.id != "scene_split"])
def test_a_scorer_returns_every_column(stage: Stage) -> None:
    for backend in stage.backends.values():
        scorer = named(backend.scorer)
        row = get_type_hints(scorer.score, vars(import_module(scorer.__module__)))["return"]
        assert issubclass(row, Measurement), backend.scorer
        assert set(stage.columns.names) <= {field.name for field in fields(row)}, backend.scorer


@pytest.mark.parametrize("stage", EVERY)
def test_annotators_can_be_asked_about_a_stage(stage: Stage) -> None:
    assert stage.question.text.endswith("?")
    for reasons in (stage.question.bad, stage.question.misled):
        assert all(re.fullmatch("[a-z_]+", key) and words for key, words in reasons.items())
    assert not stage.question.bad.keys() & stage.question.misled.keys()


@pytest.mark.parametrize("stage", EVERY)
def test_boxes_are_found_in_pictures_that_the_stage_looks_at(stage: Stage) -> None:
    kinds = [declared.kind for declared in stage.boxes]
    assert len(set(kinds)) == len(kinds)
    assert not kinds or stage.views & {"sample", "dense"}
    for declared in stage.boxes:
        assert callable(named(declared.finder).boxes)


@pytest.mark.parametrize("stage", EVERY)
def test_a_stage_looks_at_known_parts_of_a_clip(stage: Stage) -> None:
    assert stage.views <= {"sample", "dense", "sound"}
    assert stage.resources.memory_gb > 0


@pytest.mark.parametrize("stage", EVERY)
def test_a_stage_is_a_program_in_a_policy_with_a_test_and_a_page(stage: Stage) -> None:
    source = (ROOT / "stages" / f"{stage.name}.py").read_text("utf-8")
    assert 'if __name__ == "__main__":' in source
    assert "stage_main(STAGE.name)" in source
    policies = [name for name in builtin_policies() if stage.name in {s.stage.name for s in load_policy(name).stages}]
    assert policies, "name it in curation/policies/measure_all.yaml at least"
    assert (ROOT / "tests" / "stages" / f"test_{stage.name}.py").is_file()
    page = (ROOT / "docs" / "stages.md").read_text("utf-8")
    assert f"\n## {stage.name}\n" in page, "run python scripts/stage_docs.py"

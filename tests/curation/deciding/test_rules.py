"""One row is decided as a table of rows is, whatever its values."""

import random
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from catalogs import schema
from curation.deciding.bound import BoundStage, resolve
from curation.deciding.policy import Rule, builtin_policies, load_policy
from curation.deciding.rules import Decider, rule_inputs
from tests.support.fakes import fake_funnel

STAGES = {
    f"{name}: {bound.name}": replace(bound, missing=())
    for name in builtin_policies()
    for bound in resolve(load_policy(name)).measuring
    if bound.policy.rules
}


def numbers_of(bound: BoundStage) -> list[float]:
    """List the thresholds of a stage's rules, and what lies around them."""
    found = [float(text) for rule in bound.policy.rules for text in re.findall(r"-?\d+\.?\d*", rule.expression)]
    return [0.0, float("nan"), *(near for number in found for near in (number, number - 1e-9, number + 0.1, -number))]


def some_value(kind: pa.DataType, chance: random.Random, numbers: list[float]) -> Any:
    if chance.random() < 0.1:
        return None
    if pa.types.is_boolean(kind):
        return chance.random() < 0.5
    if pa.types.is_integer(kind):
        return chance.choice([0, 1, 1, 2, 60, 96, 1000])
    if pa.types.is_floating(kind):
        return chance.choice(numbers)
    if pa.types.is_list(kind):
        return [some_value(kind.value_type, chance, numbers) for _ in range(chance.randrange(3))]
    return chance.choice(["ok", "unavailable", "not_applicable", "en", "it's"])


@pytest.mark.parametrize("which", STAGES)
def test_one_row_is_decided_as_many_are(which: str) -> None:
    bound = STAGES[which]
    measured = schema.measurement_schema(bound.stage.columns)
    chance = random.Random(which)
    numbers = numbers_of(bound)
    rows = [{field.name: some_value(field.type, chance, numbers) for field in measured} for _ in range(500)]
    # Models answer with numpy's numbers as well as with Python's.
    rows += [{k: np.float32(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows[:50]]
    decider = Decider()
    table = pa.Table.from_pylist(rows, schema=measured)
    together = [decision.keep for decision in decider.decide(bound, table)]
    assert [decider.keeps(bound, row) for row in rows] == together
    assert len(set(together)) == 2
    assert [decision.keep for decision in decider.decide(bound, table)] == together  # one after the other is fine too


def judged(expression: str, *columns: str, **row: Any) -> bool:
    (bound,) = (found for found in fake_funnel().measuring if found.name == "first")
    bound = replace(bound, policy=replace(bound.policy, rules=(Rule("it", expression, columns),)))
    assert set(rule_inputs(bound)) >= set(columns)
    return Decider().keeps(bound, {"clip_id": "c1", "number": None, "status": "ok", "status_detail": None} | row)


def test_a_rule_may_ask_for_the_clip_and_null_is_no() -> None:
    assert judged("clip_id NOT IN ('c2', 'it''s')", "clip_id")
    assert not judged("clip_id = 'c2'", "clip_id")
    assert not judged("number < 5", "number")
    assert judged("number IS NULL OR number < 5", "number")
    assert judged("number < 5 -- a comment", "number", number=4.5)


def test_stages_do_not_mix() -> None:
    decider = Decider()
    stages: list[BoundStage] = [bound for bound in fake_funnel(first="number < 5", second="number > 5").measuring]
    row = {"clip_id": "c1", "number": 3.0, "status": "ok", "status_detail": None}
    for _ in range(2):
        assert [decider.keeps(bound, row) for bound in stages] == [True, False]

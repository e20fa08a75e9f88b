"""Move the number in a rule, and write the moved rule into the YAML of its policy, as a diff."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from catalogs.errors import UserError
from curation.deciding.policy import Rule
from curation.deciding.thresholds import Comparison, comparisons

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
_KEEPS = {">=": np.greater_equal, "<=": np.less_equal, ">": np.greater, "<": np.less}


@dataclass(frozen=True)
class Threshold:
    """A number in a rule that calibration may move: that of one of its comparisons."""

    rule: Rule
    index: int
    comparison: Comparison

    @property
    def number(self) -> float:
        return self.comparison.threshold

    def keeps(self, values: np.ndarray, number: float) -> np.ndarray:
        """Which values pass with another number; NaN never does."""
        return np.asarray(_KEEPS[self.comparison.operator](values, number))

    def is_stricter(self, number: float) -> bool:
        """Whether ``number`` keeps no more than the present one."""
        return number >= self.number if self.comparison.keeps_high else number <= self.number

    def moved(self, number: float) -> str:
        """The rule's expression with another number."""
        moved = _moved(self.rule.expression, self.index, number)
        assert moved is not None, "thresholds() names only those that can be moved"
        return moved


def thresholds(rule: Rule) -> list[Threshold]:
    """The numbers of a rule that can be moved: those of ``value >= number`` (or >, <=, <), alone or joined by ``and``;
    ``between`` has two. A number that is not written as one (``2 * 3``) cannot."""
    found = (Threshold(rule, index, one) for index, one in enumerate(comparisons(rule.expression)))
    return [one for one in found if one.comparison.operator in _KEEPS and _can_move(one)]


def _can_move(threshold: Threshold) -> bool:
    return _moved(threshold.rule.expression, threshold.index, threshold.number + 1) is not None


def _moved(expression: str, index: int, number: float) -> str | None:
    """The expression in which one comparison, and nothing else, has another number; None if there is none."""
    before = comparisons(expression)
    wanted = [_essence(one) for one in before]
    wanted[index] = (*wanted[index][:2], float(f"{number:.6g}"))
    for found in _NUMBER.finditer(expression):
        changed = f"{expression[: found.start()]}{number:.6g}{expression[found.end() :]}"
        if float(found[0]) == before[index].threshold and [_essence(one) for one in comparisons(changed)] == wanted:
            return changed
    return None


def _essence(comparison: Comparison) -> tuple[str, str, float]:
    return comparison.value, comparison.operator, comparison.threshold


def policy_with(text: str, stage: str, rule: str, expression: str) -> str:
    """Policy YAML with one rule's expression replaced; comments and everything else stay as they are."""
    node = _rule_node(yaml.compose(text, Loader=yaml.SafeLoader), stage, rule)
    quoted = "'" + expression.replace("'", "''") + "'" if node.style == "'" else json.dumps(expression)
    end = "\n" if node.style in ("|", ">") else ""
    return text[: node.start_mark.index] + quoted + end + text[node.end_mark.index :]


def policy_diff(before: str, after: str, name: str) -> str:
    """A unified diff for ``patch``."""
    lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), name, name)
    return "".join(lines)


def _rule_node(root: Any, stage: str, rule: str) -> Any:
    for entry in _value(root, "stages").value:
        if isinstance(entry, yaml.MappingNode) and _value(entry, "stage").value == stage:
            return _value(_value(entry, "keep"), rule)
    raise UserError(f"the policy has no stage {stage}")


def _value(mapping: Any, key: str) -> Any:
    return next(value for name, value in mapping.value if name.value == key)

"""A calibration proposes another number for a rule, and writes the changed rule into its policy's YAML, as a diff."""

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
    """Holds a number in a rule that calibration may change: that of one of the rule's comparisons."""

    rule: Rule
    index: int
    comparison: Comparison

    @property
    def number(self) -> float:
        return self.comparison.threshold

    def keeps(self, values: np.ndarray, number: float) -> np.ndarray:
        """Say which values pass with another number; NaN never does."""
        return np.asarray(_KEEPS[self.comparison.operator](values, number))

    def is_stricter(self, number: float) -> bool:
        """Say whether ``number`` keeps no more than the present one."""
        return number >= self.number if self.comparison.keeps_high else number <= self.number

    def expression_with(self, number: float) -> str:
        """Return the rule's expression with another number."""
        changed = _expression_with(self.rule.expression, self.index, number)
        assert changed is not None, "thresholds() names only those that can be changed"
        return changed


def thresholds(rule: Rule) -> list[Threshold]:
    """List the numbers of a rule that can be changed.

    They are those of ``value >= number`` (or >, <=, <), alone or joined by ``and``; ``between`` has two. A number that
    is not written as one (``2 * 3``) cannot be changed.
    """
    found = (Threshold(rule, index, comparison) for index, comparison in enumerate(comparisons(rule.expression)))
    return [threshold for threshold in found if threshold.comparison.operator in _KEEPS and _can_change(threshold)]


def _can_change(threshold: Threshold) -> bool:
    return _expression_with(threshold.rule.expression, threshold.index, threshold.number + 1) is not None


def _expression_with(expression: str, index: int, number: float) -> str | None:
    """Return the expression with another number in one comparison and nothing else changed; None if that fails."""
    before = comparisons(expression)
    wanted = [_essence(comparison) for comparison in before]
    wanted[index] = (*wanted[index][:2], float(f"{number:.6g}"))
    for found in _NUMBER.finditer(expression):
        changed = f"{expression[: found.start()]}{number:.6g}{expression[found.end() :]}"
        after = [_essence(comparison) for comparison in comparisons(changed)]
        if float(found[0]) == before[index].threshold and after == wanted:
            return changed
    return None


def _essence(comparison: Comparison) -> tuple[str, str, float]:
    return comparison.value, comparison.operator, comparison.threshold


def policy_with(text: str, stage: str, rule: str, expression: str) -> str:
    """Return the policy's YAML with another expression of one rule; comments and everything else stay unchanged."""
    node = _rule_node(yaml.compose(text, Loader=yaml.SafeLoader), stage, rule)
    quoted = "'" + expression.replace("'", "''") + "'" if node.style == "'" else json.dumps(expression)
    end = "\n" if node.style in ("|", ">") else ""
    return text[: node.start_mark.index] + quoted + end + text[node.end_mark.index :]


def policy_diff(before: str, after: str, name: str) -> str:
    """Return a unified diff for ``patch``."""
    lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), name, name)
    return "".join(lines)


def _rule_node(root: Any, stage: str, rule: str) -> Any:
    for entry in _value(root, "stages").value:
        if isinstance(entry, yaml.MappingNode) and _value(entry, "stage").value == stage:
            return _value(_value(entry, "keep"), rule)
    raise UserError(f"the policy has no stage {stage}")


def _value(mapping: Any, key: str) -> Any:
    return next(value for name, value in mapping.value if name.value == key)

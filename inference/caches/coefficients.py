"""This module knows how much the model's output changes when the gate's embedding does: polynomials, and where from.

A model folder may have its own, fitted to its own runs (``calibration.py``), in ``teacache.json``. Those that
TeaCache's authors published for Wan 2.1 I2V are here too; they belong to these models, at about 50 steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from catalogs.errors import UserError
from inference.caches.gate import GATES, Gate

FILE = "teacache.json"  #: name of the file in a model folder
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Coefficients:
    """Predicts the relative change of the model's output from that of the gate's embedding.

    Attributes:
        gate: the embedding that they were fitted for.
        values: of the polynomial, highest degree first.
        source: where they come from, in words.
        low: smallest change that was measured; what lies below counts as this.
        high: largest change that was measured; what lies above counts as this.

    Raises:
        UserError: no such gate, values that are no numbers, or no range.
    """

    gate: Gate
    values: tuple[float, ...]
    source: str
    low: float = 0.0
    high: float = math.inf

    def __post_init__(self) -> None:
        if self.gate not in GATES:
            raise UserError(f"coefficients for the gate {self.gate!r}: there are {', '.join(GATES)}")
        if not self.values or not all(math.isfinite(value) for value in (*self.values, self.low)):
            raise UserError(f"coefficients of {self.source}: {list(self.values)} are not all numbers")
        if not self.low <= self.high:
            raise UserError(
                f"coefficients of {self.source}: measured from {self.low} to {self.high}, which is no range"
            )

    def __call__(self, change: float) -> float:
        """The polynomial's absolute value is the predicted change of the output, 0 or more.

        The published polynomials fall below 0 where the embedding hardly changes (that of 480P below .05); taken as
        they are, a change would *lower* what has added up. The absolute value is taken.
        """
        at = min(max(change, self.low), self.high)
        total = 0.0
        for value in self.values:
            total = total * at + value
        return abs(total)


def _published(gate: Gate, size: str, *values: float) -> Coefficients:
    return Coefficients(gate, values, f"TeaCache4Wan2.1 (ali-vilab/TeaCache), Wan 2.1 I2V 14B {size}, {gate} embedding")


PUBLISHED: Mapping[str, Coefficients] = MappingProxyType(
    {
        "wan-i2v-480p": _published("plain", "480P", -302.331670, 223.948934, -52.5463970, 5.87348440, -0.201973289),
        "wan-i2v-720p": _published("plain", "720P", -114.36346466, 65.26524496, -18.82220707, 4.91518089, -0.23412683),
        "wan-i2v-480p-modulated": _published(
            "modulated", "480P", 2.57151496e05, -3.54229917e04, 1.40286849e03, -1.35890334e01, 1.32517977e-01
        ),
        "wan-i2v-720p-modulated": _published(
            "modulated", "720P", 8.10705460e03, 2.13393892e03, -3.72934672e02, 1.66203073e01, -4.17769401e-02
        ),
    }
)


def coefficients_for(folder: str | Path, name: str | None = None) -> Coefficients:
    """A model folder's own coefficients are taken, or published ones by their name.

    Args:
        folder: the model's.
        name: one of ``PUBLISHED``; None takes the folder's ``teacache.json``.

    Raises:
        UserError: no such name, the model has none of its own, or the file cannot be used.
    """
    if name is not None:
        if name not in PUBLISHED:
            raise UserError(f"no TeaCache coefficients named {name!r}: there are {', '.join(PUBLISHED)}")
        return PUBLISHED[name]
    path = Path(folder) / FILE
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder} has no {FILE}: calibrate the model's cache first, or name published coefficients of the model "
            f"that it began with ({', '.join(PUBLISHED)})"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): calibrate the model's cache again") from error
    return _of_json(path, content)


def write_coefficients(folder: str | Path, coefficients: Coefficients, **facts: Any) -> Path:
    """The function writes ``teacache.json`` into a model folder, whole or not at all.

    Args:
        folder: the model's.
        coefficients: its own.
        facts: what else is known of how they were made; JSON's own types.

    Returns:
        The file.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(folder) / FILE
    content = {
        "format_version": _FORMAT_VERSION,
        "gate": coefficients.gate,
        "coefficients": list(coefficients.values),
        "low": coefficients.low,
        "high": coefficients.high if math.isfinite(coefficients.high) else None,
        "source": coefficients.source,
        **facts,
    }
    partial = path.with_name(f".{FILE}.partial")
    try:
        partial.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written ({error.strerror})") from error
    return path


def _of_json(path: Path, content: Any) -> Coefficients:
    try:
        if content["format_version"] != _FORMAT_VERSION:
            raise UserError(f"{path} is of another release: calibrate the model's cache again")
        high = content["high"]
        return Coefficients(
            gate=content["gate"],
            values=tuple(float(value) for value in content["coefficients"]),
            source=str(content["source"]),
            low=float(content["low"]),
            high=math.inf if high is None else float(high),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}): calibrate the model's cache again") from error

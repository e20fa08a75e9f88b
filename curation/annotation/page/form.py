"""An answer that came from a browser is read here, and every part of it is checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from catalogs.errors import UserError
from catalogs.names import check_name
from curation.annotation.questions import AXES, LEVELS, check_reasons
from curation.annotation.records import MAX_NOTE, Answer, Lot, Mode, Verdict, whole_text

_KEYS = frozenset({"annotator", "number", "verdict", "reasons", "scores", "note", "seconds"})
_LONGEST_S = 86_400.0


def read_answer(document: Any, lot: Lot, clip_ids: Mapping[int, str]) -> Answer:
    """Read the answer in a JSON document.

    Args:
        document: parsed JSON: annotator, number, verdict, reasons, scores, note, seconds; all but the first two may be
            left out, and a document with neither verdict nor scores takes the earlier answer back.
        lot: the lot that is answered.
        clip_ids: item number -> clip.

    Raises:
        UserError: the document has anything that this lot does not ask for.
    """
    if not isinstance(document, dict) or not _KEYS.issuperset(document):
        raise UserError(f"an answer is a JSON object with the keys {', '.join(sorted(_KEYS))}")
    number = document.get("number")
    if type(number) is not int or number not in clip_ids:
        raise UserError(f"number must be that of an item of the lot, 1 to {len(clip_ids)}")
    verdict = document.get("verdict")
    if verdict is not None and (lot.mode != "verdict" or verdict not in get_args(Verdict)):
        raise UserError(f"verdict must be one of {', '.join(get_args(Verdict))}, and only in a lot of verdicts")
    return Answer(
        lot=lot.name,
        number=number,
        clip_id=clip_ids[number],
        annotator=check_name(_text(document, "annotator", 80), "annotator"),
        verdict=verdict,
        reasons=_reasons(document.get("reasons", []), lot),
        scores=_scores(document.get("scores", {}), lot.mode),
        note=_text(document, "note", MAX_NOTE),
        seconds=_seconds(document.get("seconds", 0.0)),
    )


def _text(document: Mapping[str, Any], key: str, longest: int) -> str:
    value = document.get(key, "")
    if not isinstance(value, str) or len(value) > longest:
        raise UserError(f"{key} must be text of at most {longest} characters")
    return whole_text(value)


def _reasons(given: Any, lot: Lot) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(reason, str) for reason in given):
        raise UserError("reasons must be a list of the stage's reasons")
    return check_reasons(lot.stage, lot.side, tuple(dict.fromkeys(given)))


def _scores(given: Any, mode: Mode) -> dict[str, int]:
    if given == {}:
        return {}
    axes, levels = {axis.key for axis in AXES}, LEVELS[mode]
    whole = isinstance(given, dict) and set(given) == axes
    if not whole or any(type(score) is not int or score not in levels for score in given.values()):
        wanted = f"each of {', '.join(sorted(axes))} from {levels[0]} to {levels[-1]}" if levels else "left out"
        raise UserError(f"scores must be {wanted} in a lot of mode {mode}")
    return given


def _seconds(given: Any) -> float:
    if type(given) not in (int, float) or not math.isfinite(given) or not 0 <= given <= _LONGEST_S:
        raise UserError(f"seconds must be a number from 0 to {_LONGEST_S:g}")
    return float(given)

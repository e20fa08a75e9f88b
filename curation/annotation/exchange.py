"""Lots and answers are exchanged with spreadsheets as CSV; answers from any tool are checked here.

Everything is checked before anything is stored: every answer must be about an item of the lot, with that item's clip,
by a named annotator, with verdicts, reasons and scores that the lot knows. Answers that the lot already has (same item,
annotator, verdict, reasons, scores and note) are left out, so that a file may be read again.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.names import check_name
from curation.annotation.questions import AXES, LEVELS, check_reasons
from curation.annotation.records import (
    MAX_NOTE,
    PLACE,
    Answer,
    Lot,
    Verdict,
    all_answers,
    current_answers,
    give,
    whole_text,
)

_ITEM_COLUMNS = ("number", "clip_id", "stratum", "weight", "source_id", "path", "start_s", "end_s", "drop_rule")
_ANSWER_COLUMNS = ("number", "clip_id", "annotator", "verdict", "reasons", "note", "seconds", "answered_at")
_REQUIRED = ("number", "clip_id", "annotator")


# --- out --------------------------------------------------------------------------------------------------------------


def items_csv(lot: Lot, items: pa.Table) -> str:
    """Write one line per item: which clip it is and where its file lies, without anything measured."""
    columns = (*_ITEM_COLUMNS, *(f"other_{name}" for name in PLACE if lot.mode == "pair"))
    return _csv(columns, ({name: row[name] for name in columns} for row in items.to_pylist()))


def answers_csv(catalog: Catalog, lot: Lot) -> str:
    """Write one line per current answer; :func:`read_answers_csv` reads it again."""
    columns = (*_ANSWER_COLUMNS, *_axes(lot))
    current = current_answers(all_answers(catalog, lot.name))
    answers = sorted(current, key=lambda answer: (answer.number, answer.annotator))
    return _csv(columns, (_answer_row(answer) for answer in answers))


def _answer_row(answer: Answer) -> dict[str, Any]:
    row = {name: getattr(answer, name) for name in _ANSWER_COLUMNS}
    return row | {"verdict": answer.verdict or "", "reasons": ";".join(answer.reasons)} | answer.scores


def _csv(columns: tuple[str, ...], rows: Iterator[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


# --- in ---------------------------------------------------------------------------------------------------------------


def read_answers_csv(lot: Lot, items: pa.Table, text: str) -> list[Answer]:
    """Read answers from CSV; raise UserError with the line that is wrong.

    The columns are number, clip_id, annotator, and verdict, reasons (``a;b``), note, seconds, or one column per axis.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        columns = reader.fieldnames or ()
        for name in _REQUIRED:
            if name not in columns:
                raise UserError(f"CSV without a column {name!r}; its columns are: {', '.join(columns) or 'none'}")
        unknown = [name for name in columns if name not in (*_ANSWER_COLUMNS, *_axes(lot))]
        if unknown:
            raise UserError(f"CSV with an unknown column {unknown[0]!r} for a lot in mode {lot.mode}")
        rows = [(f"line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise UserError(f"line {reader.line_num}: not CSV: {error}") from error
    return [checked_answer(lot, items, _csv_row(lot, row, where), where) for where, row in rows]


def checked_answer(lot: Lot, items: pa.Table, row: Mapping[str, Any], where: str) -> Answer:
    """Make an answer that the lot can take.

    Args:
        row: number, clip_id, annotator, verdict (empty: none), reasons, scores, note, seconds.
        where: line or task of the file, for the message.

    Raises:
        UserError: the lot cannot take it.
    """
    number = row["number"]
    if type(number) is not int or not 1 <= number <= len(items):
        raise UserError(f"{where}: no item {number!r}; lot {lot.name} has 1 to {len(items)}")
    clip_id = items["clip_id"][number - 1].as_py()
    if row["clip_id"] != clip_id:
        raise UserError(f"{where}: item {number} is clip {clip_id}, not {row['clip_id']!r}")
    verdict, scores = row["verdict"] or None, row["scores"]
    if lot.mode == "verdict" and verdict not in get_args(Verdict):
        raise UserError(f"{where}: verdict must be one of {', '.join(get_args(Verdict))}, got {row['verdict']!r}")
    allowed = LEVELS[lot.mode]
    if lot.mode != "verdict" and (not scores or verdict or any(value not in allowed for value in scores.values())):
        raise UserError(f"{where}: a lot in mode {lot.mode} takes scores of {', '.join(map(str, allowed))}, no verdict")
    if not math.isfinite(row["seconds"]):
        raise UserError(f"{where}: seconds must be a number, got {row['seconds']}")
    if len(row["note"]) > MAX_NOTE:
        raise UserError(f"{where}: a note of {len(row['note'])} characters; at most {MAX_NOTE}")
    try:
        check_name(row["annotator"], "annotator")
        reasons = check_reasons(lot.stage, lot.side, tuple(row["reasons"]))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return Answer(
        lot=lot.name,
        number=number,
        clip_id=clip_id,
        annotator=row["annotator"],
        verdict=verdict,
        reasons=reasons,
        scores=scores,
        note=whole_text(row["note"]),
        seconds=max(row["seconds"], 0.0),
    )


def store_answers(catalog: Catalog, lot: Lot, answers: list[Answer]) -> int:
    """Store the answers that the lot does not have yet; return how many they were."""
    have = {_essence(answer) for answer in current_answers(all_answers(catalog, lot.name))}
    new = [answer for answer in answers if _essence(answer) not in have]
    for answer in new:
        give(catalog, answer)
    return len(new)


def _csv_row(lot: Lot, row: Mapping[str | None, Any], where: str) -> dict[str, Any]:
    if None in row or any(value is None for value in row.values()):
        raise UserError(f"{where}: more or fewer cells than columns")
    try:
        return {
            **{name: row.get(name, "") for name in ("clip_id", "annotator", "verdict", "note")},
            "number": int(row["number"]),
            "reasons": [reason for reason in row.get("reasons", "").split(";") if reason],
            "seconds": float(row.get("seconds") or 0),
            "scores": {axis: int(row[axis]) for axis in _axes(lot) if row.get(axis)},
        }
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _axes(lot: Lot) -> tuple[str, ...]:
    return () if lot.mode == "verdict" else tuple(axis.key for axis in AXES)


def _essence(answer: Answer) -> tuple[Any, ...]:
    scores = tuple(sorted(answer.scores.items()))
    return answer.number, answer.annotator, answer.verdict, answer.reasons, scores, answer.note

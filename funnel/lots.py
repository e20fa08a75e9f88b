"""`funnel lots` lists the lots of a catalog, and how far their judging has come."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from funnel import console, options

if TYPE_CHECKING:
    from curation.annotation.records import Answer, Lot


def lots(
    catalog: options.Catalog,
    as_json: options.AsJson = False,
) -> None:
    """List the lots, and how far their judging has come."""
    from catalogs.catalog import Catalog
    from curation.annotation.records import all_answers, current_answers, lot_names, read_lot

    opened = Catalog.open(catalog)
    found = [(read_lot(opened, name)[0], current_answers(all_answers(opened, name))) for name in lot_names(opened)]
    found.sort(key=lambda entry: (entry[0].created, entry[0].name))
    if as_json:
        console.as_json([_as_json(lot, answers) for lot, answers in found])
    elif not found:
        console.line(f"no lot in {catalog} yet: `funnel sample {catalog} --stage STAGE --n 50` draws one")
    else:
        titles = ("lot", "stage", "side", "mode", "items", "answered", "verdicts or scores", "annotators")
        columns = [
            console.Column(title, name=title == "lot", align="right" if title in ("items", "answered") else "left")
            for title in titles
        ]
        console.table(columns, [_row(lot, answers) for lot, answers in found])


def _row(lot: Lot, answers: Sequence[Answer]) -> tuple[str, ...]:
    facts = _as_json(lot, answers)
    if lot.mode == "verdict":
        said = ", ".join(f"{count} {verdict}" for verdict, count in facts["verdicts"].items() if count)
    else:
        said = ", ".join(f"{axis} {scores['mean']:.2f}" for axis, scores in facts["scores"].items())
    answered = f"{facts['answered']} of {facts['wanted']}"
    return lot.name, lot.stage, lot.side, lot.mode, str(facts["items"]), answered, said, ", ".join(facts["annotators"])


def _as_json(lot: Lot, answers: Sequence[Answer]) -> dict[str, Any]:
    """Count answers (``answered`` of ``wanted``): a clip with more than it needs counts as often as it needs."""
    per_item: dict[int, int] = {}
    for answer in answers:
        per_item[answer.number] = per_item.get(answer.number, 0) + 1
    scores: dict[str, list[int]] = {}
    for answer in answers:
        for axis, score in answer.scores.items():
            scores.setdefault(axis, []).append(score)
    return {
        "lot": lot.name,
        "stage": lot.stage,
        "side": lot.side,
        "mode": lot.mode,
        "created": lot.created,
        "items": lot.size,
        "population": lot.population,
        "wanted": lot.size * lot.overlap,
        "answered": sum(min(count, lot.overlap) for count in per_item.values()),
        "annotators": sorted({answer.annotator for answer in answers}),
        "verdicts": {name: sum(answer.verdict == name for answer in answers) for name in ("good", "bad", "unsure")},
        "scores": {axis: _mean(values) for axis, values in sorted(scores.items())},
    }


def _mean(values: Sequence[int]) -> dict[str, float | None]:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return {"answers": len(values), "mean": statistics.fmean(values), "standard_error": error}

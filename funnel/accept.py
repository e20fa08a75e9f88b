"""`funnel accept` tells what a judged lot says about its stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from funnel import console, options
from funnel.exit_codes import ExitCode

if TYPE_CHECKING:
    from catalogs.catalog import Catalog
    from curation.annotation.gates import Gate
    from curation.annotation.records import Lot


def accept(
    catalog: options.Catalog,
    lot: options.Lot,
    max_bad_rate: options.MaxBadRate = 0.05,
    confidence: options.Confidence = 0.95,
    as_json: options.AsJson = False,
) -> None:
    """Judge a stage by its lot; exit code 4 unless it passes.

    The result is stored as the gate of the stage. A lot of dropped clips has no gate: it tells the false-drop rate.
    """
    from catalogs.catalog import Catalog
    from curation.annotation import gates
    from curation.annotation.plans import Promise
    from curation.annotation.records import read_lot

    Promise(max_bad_rate, confidence, acceptable_rate=0.0)  # says what is wrong with the figures
    opened = Catalog.open(catalog)
    found, items = read_lot(opened, lot)
    if found.side == "dropped":
        _show_false_drops(opened, found, items, confidence, as_json)
        return
    gate = gates.accept(opened, lot, max_bad_rate, confidence)
    if as_json:
        console.as_json(asdict(gate))
    else:
        _show(gate)
    if not gate.passed:
        raise typer.Exit(ExitCode.GATE_NOT_PASSED)


def _show(gate: Gate) -> None:
    from curation.annotation.gates import outcome_line

    console.line(f"{gate.stage}, lot {gate.lot}: {outcome_line(gate)}\n")
    rows = [
        ("judged", f"{gate.judged} of {gate.n}, of {gate.population} kept clips; by {_list(gate.annotators)}"),
        ("bad, unsure", f"{gate.bad}, {gate.unsure} (unsure counts as bad)"),
        ("bad-case rate", _rate(gate.estimate, gate.lower, gate.upper, gate.confidence)),
    ]
    if gate.false_drop_rate:
        low, high = gate.false_drop_rate["lower"], gate.false_drop_rate["upper"]
        false_drops = _rate(gate.false_drop_rate["estimate"], low, high, gate.confidence)
        rows.append(("false-drop rate", f"{false_drops} (lot {gate.false_drop_lot})"))
    else:
        rows.append(("false-drop rate", "unknown: no judged lot of dropped clips (`funnel sample … --dropped`)"))
    _table([*rows, *_said(gate.agreement, gate.reasons)])
    if gate.earlier_lots:
        console.paragraph(
            f"\n{gate.earlier_lots} other lot(s) were tried for this stage under the same rules. Each of them "
            f"had a risk of {1 - gate.confidence:.0%} to pass a stage that should fail."
        )


def _show_false_drops(catalog: Catalog, lot: Lot, items: Any, confidence: float, as_json: bool) -> None:
    from curation.annotation.gates import rate_of
    from curation.annotation.judgements import judge
    from curation.annotation.records import all_answers

    judgements = judge(lot, items, all_answers(catalog, lot.name))
    rate = rate_of(judgements, confidence)
    estimate = rate.estimate if judgements.judged else None
    agreement, counts = asdict(judgements.agreement), {"judged": judgements.judged, "n": len(items)}
    if as_json:
        bounds = {"estimate": estimate, "lower": rate.lower, "upper": rate.upper, "confidence": confidence}
        named = {"lot": lot.name, "stage": lot.stage, "population": lot.population, **counts}
        said = {"agreement": agreement, "reasons": judgements.reasons, "annotators": judgements.annotators}
        console.as_json({**named, "false_drop_rate": bounds, **said})
        return
    console.line(f"{lot.stage}, lot {lot.name} of dropped clips: no gate, but how many were good\n")
    by = _list(judgements.annotators)
    good, unsure = int(judgements.is_against().sum()), int(judgements.is_unsure().sum())
    rows = [
        ("judged", f"{judgements.judged} of {len(items)}, of {lot.population} dropped clips; by {by}"),
        ("good, unsure", f"{good}, {unsure} (unsure counts as good)"),
        ("false-drop rate", _rate(estimate, rate.lower, rate.upper, confidence)),
    ]
    _table([*rows, *_said(agreement, judgements.reasons)])


def _table(rows: list[tuple[str, str]]) -> None:
    console.table([console.Column("", name=True), console.Column("")], rows)


def _said(agreement: dict[str, Any], reasons: Mapping[str, int]) -> list[tuple[str, str]]:
    counted = ", ".join(f"{reason} {count}" for reason, count in reasons.items()) or "none given"
    return [("agreement", _agreement(agreement)), ("reasons", counted)]


def _rate(estimate: float | None, lower: float, upper: float, confidence: float) -> str:
    share = "unknown" if estimate is None else f"{estimate:.2%}"
    return f"{share}; at least {lower:.2%}, at most {upper:.2%}, each at {confidence:.0%} confidence"


def _agreement(found: dict[str, Any]) -> str:
    if not found["items"]:
        return "unknown: nothing was judged twice (`funnel sample … --overlap 2`)"
    measures = [f"{found['items']} clips judged by several, same verdict {found['same']:.0%}"]
    measures += [f"Cohen's kappa {found['kappa']:.2f}"] if found["kappa"] is not None else []
    measures += [f"Krippendorff's alpha {found['alpha']:.2f}"] if found["alpha"] is not None else []
    return ", ".join(measures)


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nobody"

"""`funnel calibrate` finds what a stage's threshold would have to be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from funnel import console, options

if TYPE_CHECKING:
    from curation.annotation.calibrate import Calibration
    from curation.annotation.estimates import Rate

_SHOWN = 12


def calibrate(
    catalog: options.Catalog,
    stage: options.Stage,
    max_bad_rate: options.MaxBadRate = 0.05,
    confidence: options.Confidence = 0.95,
    policy: options.Policy = None,
    write: Annotated[Path | None, typer.Option(help="Write the changed policy to this file.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Find better thresholds for a stage from its judged lots.

    It shows precision, recall and hours kept against each threshold of the stage, and proposes the threshold that keeps
    the most hours at no more than --max-bad-rate, as a diff to the policy. Nothing is changed unless --write names a
    file.
    """
    from catalogs.catalog import Catalog
    from curation.annotation.calibrate import calibrate as find
    from curation.annotation.plans import Promise
    from curation.annotation.proposals import policy_diff, policy_with
    from funnel.policies import funnel_to_read

    Promise(max_bad_rate, confidence, acceptable_rate=0.0)  # says what is wrong with the figures
    opened = Catalog.open(catalog)
    funnel = funnel_to_read(opened, policy)
    if write:
        _check_write(write, funnel.policy.text)
    labels, found = find(opened, funnel, stage, max_bad_rate, confidence)
    proposals = [threshold for threshold in found if threshold.proposed]
    best = max(proposals, key=_gain, default=None)
    changed, difference = funnel.policy.text, ""
    if best and best.proposed and best.proposed != best.current:
        rule = best.threshold.rule.name
        changed = policy_with(funnel.policy.text, stage, rule, best.threshold.expression_with(best.proposed.number))
        difference = policy_diff(funnel.policy.text, changed, f"{funnel.policy.name}.yaml")
    if as_json:
        console.as_json(
            {"lots": labels.lots, "thresholds": [_as_json(threshold) for threshold in found], "diff": difference}
        )
    else:
        console.line(f"{len(labels.verdicts)} judged clips of {stage}, lots {', '.join(labels.lots)}")
        if labels.other_lots:
            console.line(f"left out, drawn under other rules or models: {', '.join(labels.other_lots)}")
        if not labels.has_dropped:
            console.paragraph("No judged lot of dropped clips: recall is unknown, only stricter thresholds are tried.")
        for threshold in found:
            _show(threshold)
        _propose(best, difference, max_bad_rate)
    if write:
        write.write_text(changed, "utf-8")
        console.notice(f"wrote {write}" if difference else f"wrote {write}, unchanged")


def _gain(found: Calibration) -> tuple[float, bool]:
    """Order proposals by the hours that they keep; of equals the one that changes nothing comes first."""
    assert found.proposed is not None
    return found.proposed.hours, found.proposed == found.current


def _show(found: Calibration) -> None:
    """Print some of the points, and those that matter; of thresholds that keep the same clips, one."""
    named = {"now": found.current, "proposed": found.proposed}
    by_amount = {(point.clips, point.labelled): point for point in (*found.points, *filter(None, named.values()))}
    step = math.ceil(len(by_amount) / _SHOWN)
    rows = []
    for place, point in enumerate(sorted(by_amount.values(), key=lambda point: point.number)):
        notes = [name for name, chosen in named.items() if chosen == point]
        if notes or place % step == 0:
            cells = (f"{point.number:.6g}", f"{point.hours:.3g}", str(point.labelled))
            rows.append((*cells, _rate(point.bad_rate), _rate(point.recall), ", ".join(notes)))
    columns = [console.Column(title, align="right") for title in ("threshold", "hours", "labels", "bad rate", "recall")]
    console.line(f"\nrule {found.threshold.rule.name}: {found.threshold.comparison}")
    console.table([*columns, console.Column("")], rows)


def _propose(best: Calibration | None, difference: str, max_bad_rate: float) -> None:
    if best is None or best.proposed is None:
        console.paragraph(
            f"\nNo threshold is proven to keep at most {max_bad_rate:.1%} bad clips: judge more clips, "
            "or improve the stage."
        )
    elif not difference:
        console.paragraph("\nNo change: of all thresholds that pass, the present ones keep the most hours.")
    else:
        console.paragraph(
            "\nProposed change. It was chosen because its figures look good, so prove it with a new lot:\n"
        )
        console.line(difference.rstrip("\n"))


def _rate(rate: Rate | None) -> str:
    return (
        "unknown" if rate is None or not rate.effective else f"{rate.estimate:.1%} ({rate.lower:.1%}-{rate.upper:.1%})"
    )


def _check_write(target: Path, policy: str) -> None:
    """Check the file before minutes of work: raises UserError if it cannot be written, or is not the policy itself."""
    from catalogs.errors import UserError
    from curation.report.write import check_target

    check_target(target, "--write", "policy.yaml")
    if target.exists() and target.read_text("utf-8", errors="replace") != policy:
        raise UserError(
            f"{target} exists and is not the policy that is calibrated; it was not changed, name another file"
        )


def _as_json(found: Calibration) -> dict[str, Any]:
    points = [
        {
            "number": point.number,
            "clips": point.clips,
            "hours": point.hours,
            "labelled": point.labelled,
            "bad_rate": _rate_json(point.bad_rate),
            "recall": _rate_json(point.recall),
        }
        for point in found.points
    ]
    proposed = found.proposed.number if found.proposed else None
    rule = found.threshold.rule
    return {
        "rule": rule.name,
        "expression": rule.expression,
        "threshold": found.threshold.number,
        "proposed": proposed,
        "points": points,
    }


def _rate_json(rate: Rate | None) -> dict[str, float] | None:
    if rate is None or not rate.effective:
        return None
    return {"estimate": rate.estimate, "lower": rate.lower, "upper": rate.upper}

"""`funnel runs` shows what each run on a catalog did, and how fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from funnel import console, options

if TYPE_CHECKING:
    from catalogs.runs import PhaseRecord, RunRecord, StageFigures


def runs(
    catalog: options.Catalog,
    run_id: Annotated[str | None, typer.Argument(help="One run: its id, or an unambiguous beginning of it.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many runs are listed, newest first.")] = 20,
    as_json: options.AsJson = False,
) -> None:
    """List the runs on a catalog, or show one by phase and stage."""
    from catalogs.catalog import Catalog
    from catalogs.runs import run_named, run_records

    opened = Catalog.open(catalog)
    if run_id is not None:
        record = run_named(opened, run_id)
        console.as_json(_as_json(record)) if as_json else _show(record)
        return
    records = run_records(opened, limit)
    if as_json:
        console.as_json([_as_json(record) for record in records])
    elif records:
        _list(records)
    else:
        console.line(f"no run on {catalog} yet")


def _as_json(record: RunRecord) -> dict[str, Any]:
    run = ("run_id", "started", "seconds", "policy", "profile", "pool", "tool_version", "silent_seconds")
    phase = ("phase", "items", "hours", "failed", "wall_seconds", "wait_seconds", "peak_memory_mb")
    rates = ("items_per_second", "hours_per_second")
    stage = ("phase", "stage", "measured", "kept", "failed", "decode_seconds", "infer_seconds", "kept_ratio")
    return {
        **_picked(record, run),
        "status": record.shown_status,
        "phases": [_picked(found, (*phase, *rates)) for found in record.phases.values()],
        "stages": [_picked(found, stage) for found in _in_order(record.stages)],
    }


def _picked(value: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}


def _in_order(stages: Sequence[StageFigures]) -> list[StageFigures]:
    """Order figures phase by phase as they ran, the stages of each as in the default funnel."""
    from stages.listing import STAGES

    phases = list(dict.fromkeys(figures.phase for figures in stages))
    order = {stage: number for number, stage in enumerate(STAGES)}
    return sorted(
        stages, key=lambda figures: (phases.index(figures.phase), order.get(figures.stage, len(order)), figures.stage)
    )


def _list(records: list[RunRecord]) -> None:
    columns = _columns("run", "started", "wall", "status", "policy", "clips", "hours", "failed", "clips/s")
    rows = []
    for record in records:
        measure = record.measure
        work = (str(measure.items), f"{measure.hours:.2f}") if measure else ("", "")
        rate = _number(measure.items_per_second if measure else None)
        started = record.started[:19].replace("T", " ")
        wall = _duration(record.seconds)
        rows.append((record.run_id, started, wall, _status(record), record.policy, *work, str(record.failed), rate))
    console.table(columns, rows)


def _status(record: RunRecord) -> str:
    """Return the status; of a run that has not ended, also how old its last sign of life is."""
    silent_s = record.silent_seconds
    if silent_s is None:
        return record.shown_status
    if silent_s < 120:
        ago = f"{silent_s:.0f} s"
    else:
        ago = f"{silent_s / 60:.0f} min" if silent_s < 7200 else f"{silent_s / 3600:.0f} h"
    return f"{record.shown_status} (seen {ago} ago)"


def _show(record: RunRecord) -> None:
    console.line(
        f"run {record.run_id}: {_status(record)}, {_duration(record.seconds)} from {record.started}; "
        f"policy {record.policy} ({record.profile}), funnel {record.tool_version}"
        + (f", pool {record.pool}" if record.pool else "")
    )
    if not record.phases:
        console.line("nothing was owed")
        return
    console.line()
    _show_phases(list(record.phases.values()))
    console.line()
    _show_stages(_in_order(record.stages))


def _show_phases(phases: Sequence[PhaseRecord]) -> None:
    titles = ("phase", "items", "hours", "failed", "wall", "items/s", "hours/h", "waiting s", "peak MB")
    rows = [
        (
            phase.phase,
            str(phase.items),
            f"{phase.hours:.2f}",
            str(phase.failed),
            _duration(phase.wall_seconds),
            _number(phase.items_per_second),
            _number(phase.hours_per_second and phase.hours_per_second * 3600),
            _number(phase.wait_seconds),
            _number(phase.peak_memory_mb, 0),
        )
        for phase in phases
    ]
    console.table(_columns(*titles), rows)


def _show_stages(stages: Sequence[StageFigures]) -> None:
    titles = ("stage", "measured", "kept", "kept ratio", "decode s", "infer s", "failures")
    rows = [
        (
            stage.stage,
            str(stage.measured),
            "" if stage.kept is None else str(stage.kept),
            "" if stage.kept_ratio is None else f"{stage.kept_ratio:.0%}",
            _number(stage.decode_seconds),
            _number(stage.infer_seconds),
            ", ".join(f"{code} {count}" for code, count in stage.failed.items()),
        )
        for stage in stages
    ]
    console.table(_columns(*titles), rows)


_WORDS = frozenset({"run", "started", "status", "policy", "phase", "stage", "failures"})  # all else is numbers


def _columns(*titles: str) -> list[console.Column]:
    return [
        console.Column(title, name=title != "failures", align="left" if title in _WORDS else "right")
        for title in titles
    ]


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"

"""`funnel explain` shows everything known about one clip, and why it was kept or dropped."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from funnel import console, options


def explain(
    catalog: options.Catalog,
    clip_id: Annotated[str, typer.Argument(help="A clip id, or a beginning of one that is unambiguous.")],
    policy: options.Policy = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what is known about a clip, and why it was dropped."""
    from catalogs.catalog import Catalog
    from curation.deciding.explain import explain_clip
    from funnel.policies import funnel_to_read

    opened = Catalog.open(catalog)
    found = explain_clip(opened, funnel_to_read(opened, policy), clip_id)
    if as_json:
        console.as_json(found)
        return
    clip, file = found["clip"], found["file"]
    console.line(f"{clip['clip_id']}: {clip['start_s']:.2f} to {clip['end_s']:.2f} s of {file['path']}")
    if file["status"] != "ok":
        console.line(f"its file is {file['status']}: {file['detail']}")
    console.line(_sentence(found["verdict"]))
    for stage in found["stages"]:
        _show_stage(stage)


def _sentence(verdict: dict[str, Any]) -> str:
    if verdict["verdict"] == "keep":
        return "KEEP: it passed every rule"
    if verdict["verdict"] == "pending":
        return f"PENDING: {verdict['pending_stage']} has not measured it yet"
    return f"DROP by {verdict['drop_stage']}, rule {verdict['drop_rule']}: {verdict['drop_value']}"


def _show_stage(stage: dict[str, Any]) -> None:
    console.line(f"\n{stage['stage']} ({stage['backend']}, fp={stage['fingerprint']}): {stage['outcome']}")
    for rule in stage["rules"]:
        console.line(f"  rule {rule['name']}: {rule['expression']}")
    for name, value in stage["columns"].items():
        if value is not None:
            console.line(f"  {name} = {value:.4g}" if isinstance(value, float) else f"  {name} = {value}")
    for failure in stage["failures"]:
        console.line(f"  failed: {failure['error_code']}: {failure['detail']}")

"""This script writes docs/stages.md from what the stages declare: run it after changing a stage.

python scripts/stage_docs.py            # writes; `--check` only compares (a test does)
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path

from catalogs.schema import meaning_of
from curation.deciding.policy import Policy, load_policy
from stages.base import Backend, Stage, StageConfig
from stages.listing import STAGES
from weights.declared import declared_weights

TARGET = Path(__file__).parent.parent / "docs" / "stages.md"
INTRO = """# Stages

Made by `python scripts/stage_docs.py` from the stages' own declarations. Every measurement row also has `status`
(`ok`, `not_applicable`: the clip has nothing to measure, `unavailable`: a model is missing) and `status_detail`.
Costs are measured with the scripts of [benchmarks.md](benchmarks.md).
"""


def main() -> int:
    text = render()
    if "--check" in sys.argv:
        return 0 if TARGET.read_text("utf-8") == text else 1
    TARGET.write_text(text, "utf-8")
    print(f"wrote {TARGET}: {len(STAGES.shipped)} stages")
    return 0


def render() -> str:
    """Return the whole page."""
    policies = [load_policy(name) for name in ("lite", "reference")]
    parts = [INTRO, _overview()]
    parts += ["\n".join(_section(STAGES[name], policies)) for name in STAGES.shipped]
    return "\n".join(parts).rstrip() + "\n"


def _overview() -> str:
    lines = ["| stage | measures | lite | reference |", "|---|---|---|---|"]
    for name in STAGES.shipped:
        stage = STAGES[name]
        backends = [stage.backends[p].name if p in stage.backends else "-" for p in ("lite", "reference")]
        lines.append(f"| [{name}](#{name}) | {stage.summary} | {backends[0]} | {backends[1]} |")
    return "\n".join(lines) + "\n"


def _section(stage: Stage, policies: list[Policy]) -> Iterator[str]:
    yield f"## {stage.name}\n"
    yield inspect.cleandoc(import_module(STAGES.module(stage.name)).__doc__ or "") + "\n"
    yield "| column | unit | meaning |\n|---|---|---|"
    for field in stage.columns:
        meaning, unit = meaning_of(field)
        yield f"| {field.name} | {unit} | {_cell(meaning)} |"
    yield ""
    for policy in policies:
        for rule in (r for s in policy.stages if s.stage.name == stage.name for r in s.rules):
            yield f"- default rule ({policy.profile}) `{rule.name}`: `{rule.expression}`"
    for profile, backend in stage.backends.items():
        yield from _backend(profile, backend, stage.config_of(profile))
        if backend.stand_in:
            yield from _backend(f"{profile}, stands in for it", backend.stand_in, stage.config_of(profile))
    yield ""


def _backend(profile: str, backend: Backend, config: type[StageConfig]) -> Iterator[str]:
    cost = backend.cost or "cost not measured"
    yield f"- backend ({profile}) **{backend.name}**, version {backend.version}: {cost}"
    settings = [f"`{f.name}` = {getattr(config(), f.name)!r}" for f in fields(config)]
    yield f"  - config: {', '.join(settings) or 'none'}"
    for name in backend.all_weights:
        weights = declared_weights()[name]
        lost = backend.optional_weights.get(name)
        accept = f", to be accepted as {weights.accept}" if weights.accept else ""
        optional = f"; without it empty: {', '.join(lost)}" if lost else ""
        size = f"{weights.size_bytes / 1e6:.1f} MB"
        yield f"  - weights `{name}`: {weights.purpose}; {weights.licence}{accept}; {size}{optional}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())

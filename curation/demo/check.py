"""The funnel's verdicts on the demo pool are compared with the pool's truth."""

from __future__ import annotations

import json
import posixpath
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from curation.demo.pool import TRUTH_FILE
from curation.demo.spec import Truth


@dataclass(frozen=True)
class Check:
    """Holds what a source is, what the funnel should say about it, and what it said."""

    file: str
    note: str
    expected: str  #: ``keep``, or ``drop at <stage>``
    found: str  #: as ``expected``; ``mixed`` if its clips differ, ``pending`` if something was not measured
    detail: str  #: rule and value, for people

    @property
    def agrees(self) -> bool:
        return self.found == self.expected


def load_truth(folder: Path) -> list[Truth]:
    """Read the truth file of a demo pool."""
    rows = json.loads((folder / TRUTH_FILE).read_text("utf-8"))
    return [Truth(**row) for row in rows]


def check_verdicts(connection: duckdb.DuckDBPyConnection, truths: Sequence[Truth]) -> list[Check]:
    """Check each source; ``connection`` has the views of curation.deciding.verdicts.open_views."""
    found = _found(connection)
    return [
        Check(
            file=truth.file,
            note=truth.note or "good",
            expected="keep" if truth.verdict == "keep" else f"drop at {truth.drop_stage}",
            found=found.get(truth.file, ("nothing", ""))[0],
            detail=found.get(truth.file, ("", ""))[1],
        )
        for truth in truths
    ]


def _found(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, str]]:
    """Return file name -> (verdict, detail)."""
    answers: dict[str, list[tuple[str, str]]] = defaultdict(list)
    rows = connection.execute(
        "SELECT s.path, s.status, s.error_code, v.verdict, v.drop_stage, v.drop_rule, v.drop_value, f.error_code "
        "FROM sources s LEFT JOIN clips c USING (source_id) LEFT JOIN verdicts v USING (clip_id) "
        "LEFT JOIN failures f ON f.id = s.source_id"
    ).fetchall()
    for path, status, source_code, verdict, stage, rule, value, split_code in rows:
        name = posixpath.basename(path)
        if status == "failed":
            answers[name].append(("drop at ingest", source_code))
        elif split_code:
            answers[name].append(("drop at scene_split", split_code))
        elif verdict == "drop":
            answers[name].append((f"drop at {stage}", f"{rule}: {value}"))
        else:
            answers[name].append((verdict or "nothing", ""))
    return {name: _joined(found) for name, found in answers.items()}


def _joined(found: list[tuple[str, str]]) -> tuple[str, str]:
    verdicts = {verdict for verdict, _ in found}
    if len(verdicts) == 1:
        return found[0]
    return "mixed", "; ".join(f"{verdict} ({detail})" for verdict, detail in found)

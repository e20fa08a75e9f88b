"""This benchmark takes time and memory of work on catalogs of a million and of ten million clips, with nine stages.

    python -m benchmarks.catalog_scale [--clips 1000000 10000000] [--folder DIR]

Each catalog is made up (made_up_catalog.py) in a temporary folder that is removed at the end. Every measurement runs in
a process of its own, and its memory is that process's peak.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.made_up_catalog import lite_funnel, write_catalog
from catalogs.catalog import Catalog
from catalogs.compact import compact
from catalogs.query import run_query
from catalogs.verify import verify
from curation.annotation.lots import Draw, draw_lot
from curation.deciding.bound import BoundStage, Funnel
from curation.deciding.counts import count_funnel
from curation.deciding.policy import Rule
from curation.deciding.verdicts import open_views
from curation.report.data import collect
from curation.running.owed_clips import owed_units
from curation.running.owed_sources import owed_sources

QUERIES = {
    "query: kept clips by language": """
        SELECT language, count(*), sum(duration_s) / 3600 FROM curated GROUP BY ALL ORDER BY 2 DESC LIMIT 20""",
    "query: 10,000 best in sync, by hash": """
        SELECT clip_id, path, start_s, end_s, caption FROM curated WHERE sync_confidence > 0.5 AND duration_s > 5
        ORDER BY hash(clip_id) LIMIT 10000""",
    "query: three predicates": """
        SELECT count(*) FROM curated
        WHERE face_height_px_median > 200 AND dnsmos_ovrl > 2.5 AND abs(sync_offset_frames) <= 1""",
}


Step = Callable[[Catalog, Funnel], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, help="where the catalogs are made; default: the temporary folder")
    parser.add_argument("--step", nargs=2, metavar=("STEP", "CATALOG"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        print(json.dumps(asdict(_measured(*given.step))))
        return
    columns = [_measure_all(clips, given.folder) for clips in given.clips]
    _print(given.clips, columns)


@dataclass(frozen=True)
class Measured:
    """Holds wall time and the process's peak memory; ``start_mb`` is what Python and the libraries take of it."""

    seconds: float
    peak_mb: float
    start_mb: float
    answer: str


def _measure_all(clips: int, folder: Path | None) -> dict[str, Measured]:
    where = Path(tempfile.mkdtemp(prefix="catalog-scale-", dir=folder))
    try:
        began = time.monotonic()
        write_catalog(where / "catalog", clips)
        print(f"{clips} clips written in {time.monotonic() - began:.0f} s", flush=True)
        found = {}
        for step in STEPS:
            found[step] = _in_own_process(step, where / "catalog")
            print(f"{clips}: {step}: {found[step]}", flush=True)
        return found
    finally:
        shutil.rmtree(where)


def _in_own_process(step: str, catalog: Path) -> Measured:
    command = [sys.executable, "-m", "benchmarks.catalog_scale", "--step", step, str(catalog)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _measured(name: str, url: str) -> Measured:
    step, catalog, funnel = (
        STEPS[name],
        Catalog.open(url),
        lite_funnel(),
    )  # resolving hashes weights, which is not measured
    start = _peak_mb()
    began = time.monotonic()
    answer = step(catalog, funnel)
    return Measured(round(time.monotonic() - began, 2), round(_peak_mb()), round(start), str(answer)[:80])


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _compact(catalog: Catalog, _: Funnel) -> object:
    return compact(catalog)


def _sources(catalog: Catalog, funnel: Funnel) -> object:
    """List what scene_split owes: here every source is cut."""
    return len(owed_sources(catalog, funnel.split)[0])


def _owed_clips(catalog: Catalog, funnel: Funnel) -> object:
    return sum(len(unit) for unit in owed_units(catalog, funnel, 256))


def _owed_by_looser(catalog: Catalog, funnel: Funnel) -> object:
    """Count what is owed with a looser first rule: the clips that it dropped before are owed the next stages."""
    looser = (
        _with_rule(bound, "person_count_max <= 2") if bound.name == "person_count" else bound for bound in funnel.stages
    )
    return _owed_clips(catalog, Funnel(funnel.policy, tuple(looser)))


def _status(catalog: Catalog, funnel: Funnel) -> object:
    counts = count_funnel(catalog, funnel)
    return counts.stages[-1].passed.clips, len(counts.failures)


def _sample(catalog: Catalog, funnel: Funnel) -> object:
    """Draw a lot of 300, stratified by source and score band, of what the whole funnel keeps."""
    return draw_lot(catalog, funnel, Draw(funnel.stages[-1].name, n=300)).population


def _report(catalog: Catalog, funnel: Funnel) -> object:
    """Make everything that the report shows but pictures: there is no media."""
    found = collect(catalog, funnel, clips_per_sheet=0)
    return found.clips.clips, found.kept.clips


def _verify(catalog: Catalog, _: Funnel) -> object:
    found = verify(catalog)
    return found.clips, len(found.problems)


def _query(sql: str) -> Step:
    return lambda catalog, funnel: len(run_query(open_views(catalog, funnel), sql))


STEPS: dict[str, Step] = {
    "sources to cut, none, before": _sources,
    "owed clips, none, before": _owed_clips,
    "status, before": _status,
    "sample, before": _sample,
    "compact": _compact,
    "compact again": _compact,
    "owed clips, none": _owed_clips,
    "owed clips, a rule was loosened": _owed_by_looser,
    "status": _status,
    "sample": _sample,
    "report": _report,
    "verify": _verify,
} | {name: _query(sql) for name, sql in QUERIES.items()}


def _with_rule(bound: BoundStage, expression: str) -> BoundStage:
    (rule,) = bound.policy.rules
    return replace(bound, policy=replace(bound.policy, rules=(Rule(rule.name, expression, rule.columns),)))


def _print(sizes: list[int], columns: list[dict[str, Measured]]) -> None:
    print("| step | " + " | ".join(f"{size:,} clips" for size in sizes) + " | ratio of times |")
    print("|---" * (len(sizes) + 2) + "|")
    for step in STEPS:
        cells = [f"{found[step].seconds:.1f} s, {found[step].peak_mb:.0f} MB" for found in columns]
        ratio = columns[-1][step].seconds / max(columns[0][step].seconds, 0.01)
        print(f"| {step} | {' | '.join(cells)} | {ratio:.1f} |")


if __name__ == "__main__":
    main()

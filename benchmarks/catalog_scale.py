"""Catalogs of a million and of ten million clips, nine stages: time and memory of what is asked of them.

    python -m benchmarks.catalog_scale [--clips 1000000 10000000] [--folder DIR]

Each catalog is made up in a temporary folder (about 0.6 GB per million clips, removed at the end): random numbers in
the lite stages' own columns, through the lite policy's own rules, so that later stages have fewer rows, and one row in
a hundred a failure. Every measurement runs in a process of its own, and its memory is that process's peak.
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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.compact import compact
from catalogs.query import run_query
from catalogs.verify import verify
from curation.annotation.lots import Draw, draw_lot
from curation.counts import count_funnel
from curation.decide import Decider
from curation.plan import owed_units
from curation.policy import Rule, load_policy, parse_policy
from curation.resolve import FunnelPlan, StagePlan, resolve
from curation.verdicts import open_views

SHARD_CLIPS = 5_000
CLIPS_PER_SOURCE = 10
TEMPLATES = 8  # shards differ in their ids and share the numbers of so many
FAILED_SHARE = 0.01
COUNTS = {  # column -> share of 0, 1, 2 …
    "person_count_max": (0.05, 0.70, 0.15, 0.10),
    "face_count_max": (0.05, 0.90, 0.05),
    "speaker_count": (0.05, 0.85, 0.10),
    "sync_offset_frames": (0.5, 0.2, 0.1, 0.1, 0.1),
}
RANGES = {  # of columns that rules look at; the others lie between 0 and 1
    "duration_s": (2.5, 20.5),
    "face_visible_ratio": (0.75, 1),
    "face_height_px_median": (80, 600),
    "face_yaw_deg_abs_max": (0, 65),
    "face_pitch_deg_abs_max": (0, 46),
    "identity_similarity_min": (0.5, 1),
    "speech_ratio": (0.3, 1),
    "dnsmos_ovrl": (1.8, 4),
    "clipping_ratio": (0, 0.0105),
    "bandwidth_hz": (4_500, 20_000),
    "voice_to_background_db": (0, 30),
    "sync_confidence": (0.2, 1),
}
WORDS = {  # column -> values; the others are sentences
    "language": ("en", "de", "zh", "es", "fr", "ja"),
    "framing": ("head", "half_body", "full_body"),
    "sync_method": ("light_asd_lag", "mouth_mel"),
    "caption_model": ("facts",),
}
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


Step = Callable[[Catalog, FunnelPlan], object]


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
    """Wall time and the process's peak memory, of which ``start_mb`` is what Python and the libraries take."""

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
    step, catalog, funnel = STEPS[name], Catalog.open(url), _funnel()  # resolving hashes weights: not what is asked
    start = _peak_mb()
    began = time.monotonic()
    answer = step(catalog, funnel)
    return Measured(round(time.monotonic() - began, 2), round(_peak_mb()), round(start), str(answer)[:80])


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _compact(catalog: Catalog, _: FunnelPlan) -> object:
    return compact(catalog)


def _plan(catalog: Catalog, funnel: FunnelPlan) -> object:
    return sum(len(unit) for unit in owed_units(catalog, funnel, 256))


def _plan_looser(catalog: Catalog, funnel: FunnelPlan) -> object:
    """A looser rule of the first stage: the clips that it kept out are owed what comes next."""
    looser = (
        _with_rule(plan, "person_count_max <= 2") if plan.name == "person_count" else plan for plan in funnel.stages
    )
    return _plan(catalog, FunnelPlan(funnel.policy, tuple(looser)))


def _status(catalog: Catalog, funnel: FunnelPlan) -> object:
    counts = count_funnel(catalog, funnel)
    return counts.stages[-1].kept, len(counts.failures)


def _sample(catalog: Catalog, funnel: FunnelPlan) -> object:
    """A lot of 300, stratified by source and score band, of what the whole funnel keeps."""
    return draw_lot(catalog, funnel, Draw(funnel.stages[-1].name, n=300)).population


def _verify(catalog: Catalog, _: FunnelPlan) -> object:
    found = verify(catalog)
    return found.clips, len(found.problems)


def _query(sql: str) -> Step:
    return lambda catalog, funnel: len(run_query(open_views(catalog, funnel), sql))


STEPS: dict[str, Step] = {
    "plan, nothing owed, before": _plan,
    "status, before": _status,
    "sample, before": _sample,
    "compact": _compact,
    "compact again": _compact,
    "plan, nothing owed": _plan,
    "plan, a rule was loosened": _plan_looser,
    "status": _status,
    "sample": _sample,
    "verify": _verify,
} | {name: _query(sql) for name, sql in QUERIES.items()}


def _funnel() -> FunnelPlan:
    """The lite funnel with every stage there is, and every model counted as present: nothing is measured here."""
    document = yaml.safe_load(load_policy("lite").text)
    names = [entry["stage"] for entry in document["stages"]]
    document["stages"].insert(names.index("language"), {"stage": "video_quality"})
    funnel = resolve(parse_policy(yaml.safe_dump(document, sort_keys=False), "lite with every stage"))
    stages = tuple(replace(plan, missing=(), unavailable_columns={}) for plan in funnel.stages)
    return FunnelPlan(funnel.policy, stages)


def _with_rule(plan: StagePlan, expression: str) -> StagePlan:
    (rule,) = plan.policy.rules
    return replace(plan, policy=replace(plan.policy, rules=(Rule(rule.name, expression, rule.columns),)))


def write_catalog(folder: Path, clips: int) -> None:
    """As a run would leave it, clips parts of 5,000 with all that was measured on them."""
    Catalog.open_or_create(str(folder))
    funnel, dice = _funnel(), np.random.default_rng(1)
    templates = [list(_template(funnel, dice)) for _ in range(TEMPLATES)]
    for number in range(-(-clips // SHARD_CLIPS)):
        ids, sources = _ids("c", SHARD_CLIPS, dice), _ids("s", SHARD_CLIPS // CLIPS_PER_SOURCE, dice)
        stem = f"part-{funnel.split.digest}-{number:012x}"
        _write_sources(folder, number, sources)
        for table, rows, data in templates[number % TEMPLATES]:
            if table == "clips":
                source = sources.take(pa.array(np.arange(SHARD_CLIPS) // CLIPS_PER_SOURCE))
                path = pa.array([f"/pool/{one}.mp4" for one in source.to_pylist()])
                data = _with_columns(data, clip_id=ids, source_id=source, path=path)
                _write(folder / f"clips/{stem}.parquet", data)
            else:
                key = "id" if table.startswith("failures") else "clip_id"
                _write(folder / table / f"{stem}.all.parquet", _with_columns(data, **{key: ids.take(pa.array(rows))}))


def _template(funnel: FunnelPlan, dice: np.random.Generator) -> Iterator[tuple[str, np.ndarray, pa.Table]]:
    """For each table of a shard: its folder, which of the clips it is about, and its rows but for the ids."""
    decider = Decider()
    clips = _rows(schema.CLIPS, SHARD_CLIPS, dice)
    yield "clips", np.arange(SHARD_CLIPS), clips
    alive = _passing(decider, funnel.split, clips, np.arange(SHARD_CLIPS))
    for plan in funnel.measuring:
        folder = f"{plan.name}/fp={plan.digest}"
        is_failed = dice.random(len(alive)) < FAILED_SHARE
        yield f"failures/{folder}", alive[is_failed], _failures(plan, int(is_failed.sum()))
        measured = _rows(schema.measurement_schema(plan.stage.columns), int((~is_failed).sum()), dice)
        yield f"measurements/{folder}", alive[~is_failed], measured
        alive = _passing(decider, plan, measured, alive[~is_failed])


def _passing(decider: Decider, plan: StagePlan, rows: pa.Table, clips: np.ndarray) -> np.ndarray:
    return clips[[decision.keep for decision in decider.decide(plan, rows)]]


def _rows(table: pa.Schema, count: int, dice: np.random.Generator) -> pa.Table:
    return pa.table([_column(field, count, dice) for field in table], schema=table)


def _column(field: pa.Field, count: int, dice: np.random.Generator) -> pa.Array:
    name = field.name
    if name == "status":
        return pa.array(["ok"] * count)
    if name == "status_detail":
        return pa.nulls(count, field.type)
    if name == "time_base":
        return pa.array(["1/12800"] * count)
    if name in COUNTS:
        return pa.array(dice.choice(len(COUNTS[name]), count, p=COUNTS[name]), field.type)
    if pa.types.is_floating(field.type):
        return pa.array(dice.uniform(*RANGES.get(name, (0, 1)), count), pa.float64()).cast(field.type)
    if pa.types.is_integer(field.type):
        return pa.array(dice.integers(0, 1000, count), field.type)
    if pa.types.is_boolean(field.type):
        return pa.array(dice.random(count) < 0.5)
    if name in WORDS:
        return pa.array(dice.choice(WORDS[name], count))
    numbers = dice.integers(0, 10_000, (count, 3))
    return pa.array([f"a person in room {a} talks about subject {b} under light {c}" for a, b, c in numbers])


def _failures(plan: StagePlan, count: int) -> pa.Table:
    row = {"stage": plan.name, "fingerprint": plan.digest, "error_code": "corrupt", "detail": "packets do not decode"}
    when = datetime(2030, 1, 1, tzinfo=timezone.utc)
    return pa.Table.from_pylist([row | {"attempt": 1, "failed_at": when}] * count, schema.FAILURES)


def _write_sources(folder: Path, number: int, ids: pa.Array) -> None:
    row = {"size_bytes": 1 << 28, "revision": "1", "dataset": "pool", "duration_s": 300.0, "status": "ok"}
    when = datetime(2030, 1, 1, tzinfo=timezone.utc)
    rows = [row | {"source_id": one, "path": f"/pool/{one}.mp4", "ingested_at": when} for one in ids.to_pylist()]
    _write(folder / f"sources/part-{number:012x}.parquet", pa.Table.from_pylist(rows, schema.SOURCES))


def _ids(letter: str, count: int, dice: np.random.Generator) -> pa.Array:
    digits = dice.bytes(16 * count).hex()
    return pa.array([letter + digits[i : i + 32] for i in range(0, len(digits), 32)])


def _with_columns(table: pa.Table, **columns: pa.Array) -> pa.Table:
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def _write(path: Path, table: pa.Table) -> None:
    """Without the store's fsync: a made-up catalog need not survive a power cut."""
    if len(table):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd", row_group_size=10_000)


def _print(sizes: list[int], columns: list[dict[str, Measured]]) -> None:
    print("| step | " + " | ".join(f"{size:,} clips" for size in sizes) + " | ratio of times |")
    print("|---" * (len(sizes) + 2) + "|")
    for step in STEPS:
        cells = [f"{found[step].seconds:.1f} s, {found[step].peak_mb:.0f} MB" for found in columns]
        ratio = columns[-1][step].seconds / max(columns[0][step].seconds, 0.01)
        print(f"| {step} | {' | '.join(cells)} | {ratio:.1f} |")


if __name__ == "__main__":
    main()

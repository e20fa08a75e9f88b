"""This benchmark says what the runner adds to the work: beside a bare loop, Ray Data, and two workers beside one.

    python -m benchmarks.runner overhead     the same scorer on the same clips, in a bare loop, and with a rule through
                                             one worker
    python -m benchmarks.runner workers      one worker, then two
    python -m benchmarks.runner rules        a worker's question, one clip at a time, and the same of a table of one row
    python -m benchmarks.runner ray-data     a million clips that cost nothing, here and by map_batches -> write_parquet

Each prints the seconds of both sides and their ratio. Ray is started once, before anything is timed: that costs a few
seconds per job whatever its size. What a worker needs to start is counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import timeit
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data

from benchmarks.dummy import DummyConfig, dummy_funnel, hash_rounds, write_catalog
from catalogs.catalog import Catalog
from catalogs.media import ClipMedia, ClipSpan
from catalogs.schema import measurement_schema
from catalogs.whereabouts import SPAN_COLUMNS
from curation.deciding.bound import Funnel, resolve
from curation.deciding.policy import Rule, load_policy
from curation.deciding.rules import Decider
from curation.running.options import RunOptions
from curation.running.owed_clips import owed_units
from curation.running.run import run_funnel

CLIP_S = 0.050
RULES = (Rule("late", "number >= 0 AND number < 1000", ("number",)),)
SETTLED_S = 3.0  # Ray's first processes are up
BATCHES = 256, 4096  # clips: a unit's usual size, and what ours grows to where clips cost nothing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "workers", "rules", "ray-data"])
    parser.add_argument("--clips", type=int, help="default: 2,048; ray-data: 1,000,000")
    parser.add_argument("--rounds", type=int, default=2, help="both sides in turn, so often")
    given = parser.parse_args()
    if given.what == "rules":
        _rules()
        return
    _start_ray()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "ray-data":
            _ray_data(Path(folder), given.clips or 1_000_000)
            return
        catalog = write_catalog(f"{folder}/catalog", given.clips or 2_048)
        rounds = _rounds(CLIP_S)
        if given.what == "overhead":
            _overhead(catalog, rounds, given.rounds)
        else:
            _workers(catalog, rounds, given.rounds)


def _start_ray() -> None:
    """Start Ray again, so that no side finds the other's processes warm."""
    ray.shutdown()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    time.sleep(SETTLED_S)


def _rounds(seconds: float) -> int:
    """Return the rounds of a scorer whose clip takes about so long here."""
    trial = 200
    fastest = min(timeit.repeat(lambda: hash_rounds(trial), number=1, repeat=5))
    return round(trial * seconds / fastest)


def _overhead(catalog: Catalog, rounds: int, times: int) -> None:
    """Compare both sides by turns, so that other load on the machine slows both."""
    bare = runner = busy = 0.0
    for salt in range(times):
        funnel = dummy_funnel(DummyConfig(rounds=rounds, salt=salt), rules=RULES)
        bare += _bare(catalog, funnel)
        took, scoring = _run(catalog, funnel, workers=1)
        runner, busy = runner + took, busy + scoring
        print(f"round {salt}: bare {bare:.1f} s, runner {runner:.1f} s so far", flush=True)
    print(f"bare loop {bare:.1f} s, runner {runner:.1f} s, ratio {runner / bare:.3f} (in scorers {busy:.1f} s)")


def _workers(catalog: Catalog, rounds: int, times: int) -> None:
    single = double = 0.0
    for salt in range(0, 2 * times, 2):
        single += _run(catalog, dummy_funnel(DummyConfig(rounds=rounds, salt=salt)), workers=1)[0]
        double += _run(catalog, dummy_funnel(DummyConfig(rounds=rounds, salt=salt + 1)), workers=2)[0]
    print(f"one worker {single:.1f} s, two {double:.1f} s, ratio {single / double:.2f}")


def _bare(catalog: Catalog, funnel: Funnel) -> float:
    """Return the seconds of the scorer alone, in this process, on every clip."""
    tasks = [task for unit in owed_units(catalog, funnel, 256) for task in unit.tasks]
    (bound,) = funnel.measuring
    scorer = bound.backend.load(bound.policy.config)
    began = time.perf_counter()
    for task in tasks:
        scorer.score(ClipMedia(task.span))
    return time.perf_counter() - began


def _run(catalog: Catalog, funnel: Funnel, workers: int) -> tuple[float, float]:
    """Return the wall seconds of the whole run, and the seconds inside the scorer.

    The first include listing what is owed and starting workers.
    """
    began = time.perf_counter()
    summary = run_funnel(catalog, funnel, RunOptions(workers=workers))
    took = time.perf_counter() - began
    phase = summary.phases["measure"]
    assert not phase.failed, phase
    return took, sum(figures.seconds for figures in phase.stages)


def _rules() -> None:
    """Return the lite policy's rules, for clips on which nothing was found."""
    decider, one_row, one_clip = Decider(), 0.0, 0.0
    for bound in resolve(load_policy("lite")).measuring:
        columns = measurement_schema(bound.stage.columns)
        row = dict.fromkeys(columns.names) | {"clip_id": "c", "status": "ok"}
        table = pa.Table.from_pylist([row], schema=columns)
        row_ms = 1e3 * min(timeit.repeat(lambda b=bound, t=table: decider.decide(b, t), number=50)) / 50
        clip_ms = 1e3 * min(timeit.repeat(lambda b=bound, r=row: decider.keeps(b, r), number=50)) / 50
        one_row, one_clip = one_row + row_ms, one_clip + clip_ms
        print(f"{bound.name}: {len(bound.policy.rules)} rules, table {row_ms:.2f} ms, clip {clip_ms:.2f} ms")
    print(f"all: table {one_row:.2f} ms, clip {one_clip:.2f} ms, ratio {one_row / one_clip:.1f}")


def _ray_data(folder: Path, clips: int) -> None:
    catalog = write_catalog(str(folder / "catalog"), clips)
    funnel = dummy_funnel()
    ours, _ = _run(catalog, funnel, workers=2)
    parts = catalog.measurement_parts("dummy0", funnel.digests["dummy0"])
    print(f"portrait-funnel {ours:.1f} s ({_rows(catalog.store.path(p) for p in parts):,} rows)", flush=True)
    for batch in BATCHES:
        _start_ray()
        target = folder / f"ray_data_{batch}"
        began = time.perf_counter()
        _ray_data_job(catalog, funnel, target, batch)
        theirs = time.perf_counter() - began
        rows = _rows(map(str, target.glob("*.parquet")))
        print(f"Ray Data, batches of {batch}: {theirs:.1f} s ({rows:,} rows), ratio {theirs / ours:.1f}", flush=True)


def _rows(paths: Iterator[str]) -> int:
    return sum(pq.read_metadata(path).num_rows for path in paths)


def _ray_data_job(catalog: Catalog, funnel: Funnel, target: Path, batch: int) -> None:
    """Run the same scorer on the same clips as a plain Ray Data pipeline with two model actors."""
    # Half a CPU each: with a whole one, two actors would leave none of two CPUs to the tasks that read and write.
    ray.data.DataContext.get_current().enable_progress_bars = False
    shards = [catalog.store.path(shard.name) for shard in catalog.clip_shards(funnel.split.digest)]
    scored = ray.data.read_parquet(shards).map_batches(
        _BatchScorer, batch_size=batch, batch_format="pyarrow", concurrency=2, num_cpus=0.5
    )
    scored.write_parquet(str(target))


class _BatchScorer:
    """Runs the scorer on a batch and nothing else: no limits, no failure rows, no resuming."""

    def __init__(self) -> None:
        (self._bound,) = dummy_funnel().measuring
        self._scorer = self._bound.backend.load(self._bound.policy.config)
        self._schema = measurement_schema(self._bound.stage.columns)

    def __call__(self, batch: pa.Table) -> pa.Table:
        spans = zip(*(batch[name].to_pylist() for name in SPAN_COLUMNS[:-1]), strict=True)
        clips = (ClipSpan(*values, Fraction(1, 25)) for values in spans)
        rows = [{"clip_id": span.clip_id} | vars(self._scorer.score(ClipMedia(span))) for span in clips]
        return pa.Table.from_pylist(rows, schema=self._schema)


if __name__ == "__main__":
    main()

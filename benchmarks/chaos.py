"""This benchmark kills processes while the funnel runs, runs it again, and proves from the tables that nothing is lost.

    python -m benchmarks.chaos --rounds 60 [--seed 1]

A Ray cluster of three nodes on this machine, a catalog of dummy clips, and per round a fingerprint of its own, so that
every clip is owed a row again. A driver starts; at a random moment one of these happens to it:

    worker    a worker process gets SIGKILL
    driver    the driver gets SIGKILL
    node      a node gets SIGKILL, with all that runs on it; another one joins
    storage   the stage's folder in the catalog cannot be written for a while

Then the driver is run again, and must end with exit code 0. The proof at the end reads the Parquet files themselves:
for every round, every clip has a measurement or a failure, none has both, and a row that is there twice (allowed: the
views and `funnel compact` take one) has the same numbers.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import ray
from ray.cluster_utils import Cluster

from benchmarks.dummy import DummyConfig, dummy_funnel, write_catalog
from catalogs.catalog import Catalog
from catalogs.errors import UserError
from curation.deciding.bound import Funnel
from curation.deciding.verdicts import open_views
from curation.running.options import RunOptions
from curation.running.run import run_funnel
from runner.host import Host

UNIT_CLIPS = 32
ROUNDS_PER_CLIP = 40  # of hashing: a few milliseconds
FAIL_EVERY = 50
PATIENCE_S = 240.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--clips", type=int, default=2_048)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--drive", nargs=3, metavar=("CATALOG", "ADDRESS", "ROUND"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        sys.exit(_drive(*given.drive))
    with tempfile.TemporaryDirectory() as folder:
        catalog = write_catalog(f"{folder}/catalog", given.clips, shard_clips=512)
        chaos = Chaos(catalog, random.Random(given.seed))
        try:
            for number in range(given.rounds):
                chaos.round(number)
        finally:
            chaos.close()
        _prove(catalog, given.rounds, given.clips, chaos.faults)


def _funnel(number: int) -> Funnel:
    config = DummyConfig(rounds=ROUNDS_PER_CLIP, salt=number, fail_every=FAIL_EVERY)
    return dummy_funnel(config, stages=2)


def _drive(catalog: str, address: str, number: str) -> int:
    """Run the funnel once, as the command line would do it; a round starts and kills this."""
    options = RunOptions(workers=2, unit_clips=UNIT_CLIPS, ray_address=address)
    try:
        run_funnel(Catalog.open(catalog), _funnel(int(number)), options)
    except UserError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 2
    return 0


class Chaos:
    """Holds a cluster, a catalog, and four ways to harm them."""

    def __init__(self, catalog: Catalog, chance: random.Random):
        self._catalog, self._chance = catalog, chance
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(2)]
        self.faults: collections.Counter[str] = collections.Counter()

    def close(self) -> None:
        self._cluster.shutdown()
        ray.shutdown()

    def round(self, number: int) -> None:
        hurts: dict[str, Callable[[int, subprocess.Popen], None]] = {
            "worker": self._kill_worker,
            "driver": self._kill_driver,
            "node": self._kill_node,
            "storage": self._refuse_writes,
        }
        fault = self._chance.choice(list(hurts))
        began = time.monotonic()
        driver = self._start(number)
        rows_before = self._wait_for_work(number, driver)
        self.faults[fault if driver.poll() is None else "too late"] += 1
        hurts[fault](number, driver)
        first = driver.wait(PATIENCE_S)
        reruns = 0
        while (code := self._start(number).wait(PATIENCE_S)) != 0:
            reruns += 1
            if reruns > 2:
                raise SystemExit(f"round {number}, {fault}: the rerun ended with {code}")
        took = time.monotonic() - began
        print(f"round {number}: {fault} after {rows_before} parts; driver ended {first}; {took:.0f} s", flush=True)

    def _start(self, number: int) -> subprocess.Popen:
        command = [sys.executable, "-m", "benchmarks.chaos", "--drive"]
        return subprocess.Popen([*command, self._catalog.store.url, self._cluster.address, str(number)])

    def _wait_for_work(self, number: int, driver: subprocess.Popen) -> int:
        """Wait until a random number of parts is committed (or the run has ended); return how many there are then."""
        wanted, digest = self._chance.randrange(0, 30), _funnel(number).digests["dummy0"]
        while driver.poll() is None:
            parts = len(self._catalog.measurement_parts("dummy0", digest))
            if parts >= wanted:
                break
            time.sleep(0.05)
        time.sleep(self._chance.random())
        return len(self._catalog.measurement_parts("dummy0", digest))

    def _kill_worker(self, number: int, driver: subprocess.Popen) -> None:
        while driver.poll() is None:
            if workers := _workers():
                self._chance.choice(workers).kill()
                return
            time.sleep(0.05)

    def _kill_driver(self, number: int, driver: subprocess.Popen) -> None:
        driver.kill()

    def _kill_node(self, number: int, driver: subprocess.Popen) -> None:
        node = self._nodes.pop(self._chance.randrange(len(self._nodes)))
        self._cluster.remove_node(node, allow_graceful=False)
        self._nodes.append(self._cluster.add_node(num_cpus=1))

    def _refuse_writes(self, number: int, driver: subprocess.Popen) -> None:
        digest = _funnel(number).digests["dummy0"]
        folder = Path(self._catalog.store.path(f"measurements/dummy0/fp={digest}"))
        with _in_the_way(folder):
            driver.wait(PATIENCE_S)


def _workers() -> list[psutil.Process]:
    """List worker processes on the nodes that this process has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if " ".join(process.cmdline()).startswith(f"ray::{Host.__name__}"):
                found.append(process)
    return found


@contextmanager
def _in_the_way(folder: Path) -> Iterator[None]:
    """Put a file where the folder should be."""
    aside = folder.with_suffix(".aside")
    folder.mkdir(parents=True, exist_ok=True)  # nothing may have been committed yet
    folder.rename(aside)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


def _prove(catalog: Catalog, rounds: int, clips: int, faults: collections.Counter[str]) -> None:
    shards = catalog.clip_shards(_funnel(0).split.digest)
    wanted = {clip for shard in shards for clip in catalog.clips(shard, ["clip_id"])["clip_id"].to_pylist()}
    assert len(wanted) == clips
    codes: collections.Counter[str] = collections.Counter()
    repeated = 0
    for number in range(rounds):
        funnel, reached = _funnel(number), wanted
        views = open_views(catalog, funnel)
        for bound in funnel.measuring:
            rows = _Rows(catalog, bound.name, bound.digest)
            where = f"round {number}, {bound.name}: {len(rows.numbers)} measured + {len(rows.codes)} failed"
            if rows.numbers.keys() | rows.codes.keys() != reached or rows.numbers.keys() & rows.codes.keys():
                raise SystemExit(f"{where}, wanted {len(reached)}")
            count = views.execute(f"SELECT count(*), count(DISTINCT clip_id) FROM {bound.name}").fetchone()
            if count != (len(rows.numbers),) * 2:
                raise SystemExit(f"{where}, but the view has {count}")
            reached = set(rows.numbers)
            codes.update(rows.codes.values())
            repeated += rows.repeated
    print(f"{rounds} rounds ({_listed(faults)}) of {clips} clips, two stages")
    print(f"every clip has one outcome per stage; failures: {_listed(codes)}; {repeated} rows lie there twice, alike")


def _listed(counts: collections.Counter[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items())) or "none"


class _Rows:
    """Holds what one stage left behind in one round, read from the files themselves."""

    def __init__(self, catalog: Catalog, stage: str, digest: str):
        self.numbers: dict[str, float] = {}
        self.codes: dict[str, str] = {}
        self.repeated = 0
        for name in catalog.measurement_parts(stage, digest):
            for clip, number in _pairs(catalog, name, "clip_id", "number"):
                self.repeated += clip in self.numbers
                if self.numbers.setdefault(clip, number) != number:
                    raise SystemExit(f"{name}: {clip} has two different numbers")
        for name in catalog.failure_parts(stage, digest):
            self.codes |= dict(_pairs(catalog, name, "id", "error_code"))


def _pairs(catalog: Catalog, name: str, key: str, value: str) -> Iterator[tuple]:
    table = catalog.store.read_table(name, [key, value])
    return zip(table[key].to_pylist(), table[value].to_pylist(), strict=True)


if __name__ == "__main__":
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    main()

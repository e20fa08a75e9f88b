"""Crashes are cornered to one item, nothing else is lost, and storage errors stop the run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from catalogs.errors import UserError
from curation.plan import Batch
from curation.pool import ActorPool
from curation.worker import Tally
from stages.base import Resources
from stages.ingest import PoolFile, sources_table, unusable_file

pytestmark = pytest.mark.cluster


class Worker:
    """Works through words; ``die`` ends the process, ``full`` is a full disk, ``bug`` a bug of ours."""

    def __init__(self, folder: str):
        self._folder = Path(folder)

    def run(self, batch: Batch) -> Tally:
        for word in batch.items:
            if word == "die":
                os._exit(1)
            if word == "full":
                raise OSError(28, "No space left on device")
            if word == "bug":
                raise RuntimeError("a bug")
        for word in batch.items:
            (self._folder / word).touch()
        return Tally(len(batch))


@pytest.fixture(scope="module", autouse=True)
def _local_ray() -> Iterator[None]:
    ray.shutdown()  # whoever ran before in this process
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def work(words: list[str], size: int, folder: Path) -> list[tuple[tuple[str, ...], bool]]:
    batches = [Batch(tuple(words[i : i + size])) for i in range(0, len(words), size)]
    with ActorPool[Batch](Worker, (str(folder),), Resources(), 2) as pool:
        return [(done.unit.items, done.tally is not None) for done in pool.map(batches)]


def test_the_one_item_to_blame_is_found_and_the_rest_is_done(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(7)]
    outcomes = work([*words[:5], "die", *words[5:]], 8, tmp_path)
    assert [items for items, worked in outcomes if not worked] == [("die",)]
    assert sorted(path.name for path in tmp_path.iterdir()) == words


def test_a_full_disk_stops_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No space left"):
        work(["a", "full", "b"], 1, tmp_path)


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        work(["bug"], 1, tmp_path)


def test_a_file_that_ends_its_reader_becomes_a_row() -> None:
    from curation.phases import CRASHED

    rows = sources_table([unusable_file(PoolFile("/x.mp4", 3, "r"), "d", CRASHED)]).to_pylist()
    assert (rows[0]["path"], rows[0]["status"], rows[0]["error_code"]) == ("/x.mp4", "failed", "crashed")

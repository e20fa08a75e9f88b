"""Where a node dies in the middle of a run, or joins, every clip ends with exactly one row."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from catalogs.catalog import Catalog
from catalogs.media import ClipMedia, MediaConfig
from catalogs.runs import RunRecord
from curation.deciding.bound import Funnel, resolve
from curation.deciding.counts import count_funnel
from curation.deciding.policy import Policy, StagePolicy
from curation.deciding.verdicts import open_views
from curation.running.options import RunOptions
from curation.running.run import run_funnel
from runner.progress import NoProgress
from runner.tally import Tally
from stages.base import Backend
from stages.ingest import list_pool
from tests.support.fake_runs import add
from tests.support.fakes import FakeConfig, Number, fake_stage

pytestmark = pytest.mark.cluster

CALLS = "NODE_TEST_CALLS"
CLIPS = 32


class WhereScorer:
    """Takes its time, and leaves a file that says on which node a clip was measured."""

    def __init__(self, config: FakeConfig):
        self._node = ray.get_runtime_context().get_node_id()

    def score(self, clip: ClipMedia) -> Number:
        time.sleep(0.25)
        (Path(os.environ[CALLS]) / f"{clip.span.clip_id}-{self._node}-{time.time_ns()}").touch()
        return Number(number=clip.span.start_s)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "calls"
    folder.mkdir()
    monkeypatch.setenv(CALLS, str(folder))  # before the nodes start: workers get the environment of their node
    return folder


@pytest.fixture
def cluster(calls: Path) -> Iterator[Cluster]:
    """Start a head without workers and one node with a single CPU."""
    ray.shutdown()  # whoever ran before in this process
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.open_or_create(str(tmp_path / "cat"))


def where_funnel() -> Funnel:
    where = replace(fake_stage("first"), backends={"lite": Backend("where", f"{__name__}:WhereScorer")})
    stages = (StagePolicy(fake_stage("scene_split"), (), FakeConfig()), StagePolicy(where, (), FakeConfig()))
    return resolve(Policy("fake", "lite", MediaConfig(), stages, "stages: []"))


class Meanwhile(NoProgress):
    """Does something once, in the driver's own thread, when a quarter of the clips is measured."""

    def __init__(self, act: Callable[[], object]):
        self._act, self._measured = act, 0

    def advance(self, phase: str, items: int, tally: Tally) -> None:
        before, self._measured = self._measured, self._measured + items * (phase == "measure")
        if before < CLIPS // 4 <= self._measured:
            self._act()


def run(catalog: Catalog, cluster: Cluster, tmp_path: Path, meanwhile: Callable[[], object]) -> RunRecord:
    pool = tmp_path / "pool"
    pool.mkdir()
    add(pool, f"{CLIPS}.mp4")
    options = RunOptions(unit_clips=4, ray_address=cluster.address)
    return run_funnel(catalog, where_funnel(), options, Meanwhile(meanwhile), pool=list_pool(str(pool)))


def assert_exactly_one_row_each(catalog: Catalog) -> None:
    views = open_views(catalog, where_funnel())
    assert count_funnel(catalog, where_funnel()).failures == []
    counted = views.execute("SELECT count(*), count(DISTINCT clip_id), count(DISTINCT number) FROM first").fetchone()
    assert counted == (CLIPS, CLIPS, CLIPS)


def nodes_used(calls: Path) -> Counter[str]:
    return Counter(path.name.split("-")[1] for path in calls.iterdir())


def test_a_node_that_dies_costs_no_clip(cluster: Cluster, catalog: Catalog, calls: Path, tmp_path: Path) -> None:
    doomed = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    summary = run(catalog, cluster, tmp_path, lambda: cluster.remove_node(doomed, allow_graceful=False))
    assert summary.status == "done"
    assert_exactly_one_row_each(catalog)
    assert len(nodes_used(calls)) == 2


def test_a_node_that_joins_is_put_to_work(cluster: Cluster, catalog: Catalog, calls: Path, tmp_path: Path) -> None:
    summary = run(catalog, cluster, tmp_path, lambda: cluster.add_node(num_cpus=1))
    assert summary.status == "done"
    assert_exactly_one_row_each(catalog)
    assert len(nodes_used(calls)) == 2
    assert sum(nodes_used(calls).values()) == CLIPS


def test_a_run_outlives_its_only_node(cluster: Cluster, catalog: Catalog, calls: Path, tmp_path: Path) -> None:
    (only,) = cluster.worker_nodes

    def another() -> None:
        cluster.remove_node(only, allow_graceful=False)
        cluster.add_node(num_cpus=1)

    summary = run(catalog, cluster, tmp_path, another)
    assert summary.status == "done"
    assert_exactly_one_row_each(catalog)
    assert len(nodes_used(calls)) == 2

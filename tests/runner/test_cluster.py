"""Nodes hold as many workers as fit, a worker reserves what it needs, and a cluster's workers get the settings."""

import socket
from typing import Any

import pytest

from catalogs.errors import UserError
from runner import cluster
from runner.cluster import Slots, start_ray
from runner.options import RunnerOptions
from stages.base import Resources

LAPTOP = [{"CPU": 2.0, "memory": 17e9}]
CLUSTER = [{"CPU": 0.0, "memory": 8e9}, {"CPU": 16.0, "memory": 64e9}, {"CPU": 16.0, "memory": 64e9, "GPU": 2.0}]
JOINED = RunnerOptions(ray_address="auto")


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """Return the cluster's nodes; a test may change the list."""
    alive: list[dict[str, float]] = []
    monkeypatch.setattr(cluster, "alive_nodes", lambda: alive)
    return alive


def test_memory_decides_how_many_workers_a_small_machine_gets_but_is_not_reserved(nodes: list) -> None:
    nodes += LAPTOP
    assert Slots.of(Resources(memory_gb=6), RunnerOptions()).target() == 2
    slots = Slots.of(Resources(memory_gb=10), RunnerOptions())
    assert slots.target() == 1
    assert slots.actor_options == {"num_cpus": 1.0, "num_gpus": 0.0}


def test_who_asks_for_workers_on_a_machine_gets_them(nodes: list) -> None:
    nodes += LAPTOP
    slots = Slots.of(Resources(cpus=2, memory_gb=10), RunnerOptions(workers=3))
    assert slots.target() == 3
    assert 3 * slots.actor_options["num_cpus"] <= 2


def test_a_need_larger_than_the_largest_node_becomes_all_of_that_node(nodes: list) -> None:
    nodes += CLUSTER
    slots = Slots.of(Resources(memory_gb=100), JOINED)
    assert slots.actor_options["memory"] == 64e9
    assert slots.target() == 2


@pytest.mark.parametrize(("resources", "held"), [
    (Resources(cpus=1, memory_gb=1), 32),
    (Resources(cpus=0.25, memory_gb=1), 128),
    (Resources(cpus=1, memory_gb=8), 16),
    (Resources(cpus=1, gpus=0.3, memory_gb=1), 6),
    (Resources(cpus=1, gpus=1, memory_gb=1), 2),
    (Resources(cpus=32, memory_gb=1), 0),
])  # fmt: skip
def test_what_a_cluster_holds(nodes: list, resources: Resources, held: int) -> None:
    nodes += CLUSTER
    assert Slots.of(resources, JOINED).held() == held


def test_the_target_follows_the_cluster_unless_a_number_was_asked_for(nodes: list) -> None:
    nodes += CLUSTER
    slots, fixed = Slots.of(Resources(), JOINED), Slots.of(Resources(), RunnerOptions(workers=40, ray_address="auto"))
    assert (slots.target(), fixed.target()) == (32, 40)
    nodes.append({"CPU": 8.0, "memory": 64e9})
    assert (slots.target(), fixed.target()) == (40, 40)
    del nodes[:2]
    assert (slots.target(), fixed.target()) == (24, 40)
    nodes.clear()
    assert slots.target() == 1, "the autoscaler has to see a wish"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what ray.init is called with."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "init", lambda **words: given.update(words))
    for name, value in {"FUNNEL_WEIGHTS": "/w", "AWS_PROFILE": "p", "FSSPEC_S3_ENDPOINT_URL": "u"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    return given


def test_workers_of_a_cluster_know_what_the_driver_knows(asked: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        start_ray(RunnerOptions(ray_address=f"127.0.0.1:{head.getsockname()[1]}"))
    told = asked["runtime_env"]["env_vars"]
    assert {"FUNNEL_WEIGHTS": "/w", "AWS_PROFILE": "p", "FSSPEC_S3_ENDPOINT_URL": "u"}.items() <= told.items()
    assert "PATH" not in told


def test_inside_a_job_its_own_runtime_env_speaks(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    start_ray(RunnerOptions(ray_address="auto"))
    assert asked["runtime_env"] is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:8265", r"HOST:PORT .* `ray job submit`"),
        ("ray://127.0.0.1:10001", "HOST:PORT"),
        ("127.0.0.1", "HOST:PORT"),
        ("weights.invalid:6379", "no Ray cluster answers at weights.invalid:6379"),
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 .*is its head running"),
    ],
)
def test_an_address_where_no_cluster_is(asked: dict[str, Any], address: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        start_ray(RunnerOptions(ray_address=address))
    assert not asked


def test_auto_means_what_the_environment_names(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    with pytest.raises(UserError, match="Ray address http://head:8265"):
        start_ray(JOINED)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("Could not find any running Ray instance. …"), "no Ray cluster runs on this machine"),
        (ConnectionError("Failed to connect\nto Ray cluster."), "Failed to connect to Ray cluster.; are the token"),
        (RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9"), "Version mismatch"),
    ],
)
def test_a_cluster_that_does_not_take_the_driver(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def refuse(**words: Any) -> None:
        raise error

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster.ray, "init", refuse)
    with pytest.raises(UserError, match=said) as refusal:
        start_ray(JOINED)
    assert "\n" not in str(refusal.value)


def test_what_is_wrong_with_ray_itself_is_no_mistake_of_the_users(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**words: Any) -> None:
        raise RuntimeError("raylet died")

    monkeypatch.setattr(cluster.ray, "init", fail)
    with pytest.raises(RuntimeError, match="raylet died"):
        start_ray(JOINED)

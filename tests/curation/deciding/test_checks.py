"""What a backend needs beyond packages and weights is checked once, before any work starts."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
import torch

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.runs import latest_run
from curation.deciding.bound import resolve
from curation.deciding.policy import parse_policy
from curation.running.options import RunOptions
from curation.running.run import run_funnel
from funnel.main import main
from stages.base import Resources
from stages.captions.structure import StructuralCaption, Subject
from stages.ingest import list_pool
from tests.support.chat_server import chat_server, saying
from tests.support.photo_clips import coffee
from tests.support.written_media import write_video

pytest.importorskip("httpx")

POLICY = "profile: reference\nstages:\n  - stage: caption\n    config: {{endpoint: '{}', model: sky, {}}}\n"
CAPTION = StructuralCaption(subjects=(Subject("Human", "Man", "A man", is_main_subject=True),), environment="A wall")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_server_that_is_down_stops_the_run_before_it_starts(tmp_path: Path) -> None:
    with chat_server(saying("")) as server:
        funnel = resolve(parse_policy(POLICY.format(server.url, "frames: 16"), "p.yaml"))
    catalog = Catalog.open_or_create(str(tmp_path / "cat"))
    with pytest.raises(UserError, match="caption: no model server"):
        run_funnel(catalog, funnel, RunOptions(workers=1))
    assert latest_run(catalog) is None


def test_settings_decide_what_a_worker_needs() -> None:
    def resources(config: str) -> Resources:
        return resolve(parse_policy(POLICY.format("http://127.0.0.1:9/v1", config), "p.yaml")).stages[-1].resources

    assert resources("frames: 16") == Resources(cpus=0.25, memory_gb=1.5)
    assert resources("folder: /some/model").gpus == 1


@pytest.mark.cluster
def test_a_clip_is_captioned_by_a_server(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    write_video(tmp_path / "pool" / "coffee.mp4", [coffee(256)] * 50)
    catalog = Catalog.open_or_create(str(tmp_path / "cat"))
    with chat_server(saying("Grey"), saying(CAPTION.to_json())) as server:
        funnel = resolve(parse_policy(POLICY.format(server.url, "frames: 16"), "p.yaml"))
        pool = list_pool(str(tmp_path / "pool"), "test")
        summary = run_funnel(catalog, funnel, RunOptions(workers=1), pool=pool)
    assert summary.failure_rate == 0
    (part,) = catalog.measurement_parts("caption", funnel.stages[-1].digest)
    assert catalog.store.read_table(part)["caption"].to_pylist() == ["A man. A wall."]
    assert len(server.asked) == 2  # the check, then the clip
    assert len(server.asked[1]["messages"][0]["content"]) == 17


class Bomb:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self._mark),)


def another_network(path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, path)


def pickled_code(path: Path) -> None:
    torch.save({"conv.weight": Bomb(path.with_suffix(".ran"))}, path)


def damage(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 and then nothing")


@pytest.mark.parametrize("write", [another_network, pickled_code, damage], ids=lambda write: write.__name__)
def test_declared_weights_that_are_no_syncnet_end_the_command_before_ray_starts(
    write: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights, pool, catalog = tmp_path / "weights", tmp_path / "pool", tmp_path / "cat"
    weights.mkdir()
    pool.mkdir()
    write(weights / "own.model")
    digest = hashlib.sha256((weights / "own.model").read_bytes()).hexdigest()
    entry = {"file": "own.model", "sha256": digest, "licence": "proprietary"}
    (weights / "own_weights.json").write_text(json.dumps({"syncnet_v2": entry}))
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(weights))
    (tmp_path / "policy.yaml").write_text("profile: reference\nstages: [{stage: sync}]\n")
    write_video(pool / "coffee.mp4", [coffee(64)] * 25)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(pool), "--catalog", str(catalog), "--policy", str(tmp_path / "policy.yaml")])
    told = [line for line in capsys.readouterr().err.splitlines() if "own.model" in line]
    assert ended.value.code == 2
    assert len(told) == 1
    assert told[0].startswith("funnel: ")
    assert "SyncNet" in told[0]
    assert not ray.is_initialized()
    assert not (weights / "own.ran").exists()
    assert latest_run(Catalog.open(str(catalog))) is None

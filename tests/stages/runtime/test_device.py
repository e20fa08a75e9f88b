"""``device: cuda`` is a promise: without a GPU it is one clear line before anything runs, never the CPU."""

from __future__ import annotations

from types import SimpleNamespace

import onnxruntime
import pytest
import torch

from catalogs.errors import UserError
from curation.deciding.bound import BoundStage, Funnel, resolve
from curation.deciding.policy import load_policy, parse_policy
from curation.running.fused import fused_resources
from runner import cluster
from runner.cluster import Slots
from stages.base import Backend, Resources, fingerprint
from stages.runtime import device
from stages.runtime.device import CPU, CUDA, DeviceConfig

STAGES = ("person_count", "face_count", "head_body")


def bound_to(device: str = "auto") -> Funnel:
    """The three stages under the reference profile, as if their weights were there."""
    stages = "\n".join(f"  - {{stage: {name}, config: {{device: {device}}}}}" for name in STAGES)
    policy = parse_policy(f"name: t\nprofile: reference\nstages:\n{stages}\n", "t.yaml")
    stages_bound = []
    for stage in policy.stages:
        backend: Backend = stage.stage.backend("reference")
        print_ = fingerprint(stage.stage, backend, stage.config, policy.media)
        stages_bound.append(BoundStage(policy=stage, backend=backend, fingerprint=print_))
    return Funnel(policy, tuple(stages_bound))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_refused_by_every_backend_before_work_starts() -> None:
    for bound in bound_to("cuda").measuring:
        with pytest.raises(UserError, match=r"^device: cuda was asked for, but PyTorch sees no GPU"):
            bound.backend.verify(bound.policy.config)
    for bound in bound_to("auto").measuring:
        with pytest.raises(UserError, match=r"^weights \w+ are not installed"):  # the device is no trouble
            bound.backend.verify(bound.policy.config)


def test_a_word_that_is_no_device_is_refused() -> None:
    with pytest.raises(UserError, match=r"one of auto, cpu, cuda, got 'gpu'"):
        device.check_onnx(DeviceConfig(device="gpu"))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_a_gpu_that_onnxruntime_was_not_built_for(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    assert device.providers("auto") == [CPU]
    with pytest.raises(UserError, match="pip install onnxruntime-gpu"):
        device.providers("cuda")


def test_auto_takes_the_gpu_and_cpu_does_not(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    assert device.providers("auto") == device.providers("cuda") == [CUDA, CPU]
    assert device.providers("cpu") == [CPU]


def test_a_session_that_fell_back_in_silence_is_an_error() -> None:
    session = SimpleNamespace(get_providers=lambda: [CPU])
    with pytest.raises(UserError, match="DWPose was to run on CUDAExecutionProvider, but onnxruntime opened it on CPU"):
        device.require_provider(session, [CUDA, CPU], "DWPose")


def test_the_device_is_no_part_of_the_fingerprint() -> None:
    assert bound_to("cpu").digests == bound_to("auto").digests


def test_the_job_asks_for_shares_of_a_gpu_only_where_there_is_one() -> None:
    assert fused_resources(bound_to().measuring, cluster_gpus=1).gpus == pytest.approx(0.3)
    assert fused_resources(bound_to().measuring, cluster_gpus=0).gpus == 0
    assert fused_resources(bound_to("cpu").measuring, cluster_gpus=1).gpus == 0


@pytest.mark.parametrize(("share", "gpus", "held"), [(0.3, 2, 6), (0.5, 1, 2), (0.5, 0, 0), (0.0, 0, 64)])
def test_no_more_workers_start_than_have_a_share(
    share: float, gpus: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "alive_nodes", lambda: [{"CPU": 64, "GPU": gpus, "memory": 1e12}])
    assert Slots(Resources(gpus=share), wanted=0, memory_gb=1.0, reserves_memory=True).held() == held


def test_whoever_can_use_a_gpu_asks_for_a_share_of_one() -> None:
    """Ray hides the GPUs from a worker that declares none."""
    for stage in resolve(load_policy("reference")).stages:
        if isinstance(stage.policy.config, DeviceConfig):
            assert stage.resources.gpus > 0, stage.name

"""Our SyncNet is the published one: its file loads whole or not at all, and never runs what is in it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from catalogs.errors import UserError
from stages.lipsync.syncnet import network as module
from stages.lipsync.syncnet.network import Network, SyncNet
from stages.runtime.device import torch_device
from tests.support import made_up_syncnet as made_up
from weights import registry

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return made_up.save_as_published(Network(), tmp_path_factory.mktemp("weights") / "syncnet_v2.model")


def state_of(path: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(path, weights_only=True))


def test_it_has_the_published_tensors_and_the_published_size(saved: Path) -> None:
    state = state_of(saved)
    assert len(state) == 88
    assert state["netcnnaud.18.weight"].shape == (512, 256, 5, 4)
    assert state["netcnnlip.0.weight"].shape == (96, 3, 5, 7, 7)
    assert state["netfcaud.3.weight"].shape == state["netfclip.3.weight"].shape == (1024, 512)
    # The container's own bytes (key strings of storages) differ by a few hundred.
    assert saved.stat().st_size == pytest.approx(registry.get("syncnet_v2").size_bytes, abs=1000)


def test_a_loaded_file_gives_the_numbers_of_the_network_that_was_saved(tmp_path: Path) -> None:
    crops, sound = made_up.crops(12), made_up.sound(12)
    network = made_up.random_network(crops, sound)
    loaded = SyncNet(made_up.save_as_published(network, tmp_path / "syncnet_v2.model"), CPU)
    expected = network.encode_picture(torch.from_numpy(crops).permute(3, 0, 1, 2)[None].float())
    np.testing.assert_allclose(loaded.encode_picture(crops), expected.numpy(), atol=1e-4)


def test_batches_give_the_numbers_of_one_pass(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crops, cepstra = made_up.crops(12), np.random.default_rng(0).normal(0, 8, (8, 13, 20)).astype(np.float32)
    together = SyncNet(saved, CPU)
    monkeypatch.setattr(module, "BATCH", {"cpu": 3})
    apart = SyncNet(saved, CPU)
    assert together.encode_picture(crops).shape == together.encode_sound(cepstra).shape == (8, 1024)
    np.testing.assert_allclose(apart.encode_picture(crops), together.encode_picture(crops), atol=1e-4)
    np.testing.assert_allclose(apart.encode_sound(cepstra), together.encode_sound(cepstra), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.pop("netfclip.3.bias"), "Missing key"),
        (lambda state: state.update(extra=torch.zeros(1)), "Unexpected key"),
        (lambda state: state.update({"netfclip.3.bias": torch.zeros(512)}), "size mismatch"),
    ],
    ids=["one missing", "one too many", "another width"],
)
def test_another_networks_file_is_the_users_mistake(saved: Path, tmp_path: Path, change, reason: str) -> None:
    state = state_of(saved)
    change(state)
    torch.save(state, tmp_path / "other.model")
    refused(tmp_path / "other.model", f"does not hold the weights of SyncNet .*{reason}")


def test_a_file_that_holds_something_else_is_the_users_mistake(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.model")
    refused(tmp_path / "list.model", "does not hold the weights of SyncNet")


@pytest.mark.parametrize("keep", [0, 2, 100, 5000, 1_000_000])
def test_a_file_that_was_cut_off_is_the_users_mistake(saved: Path, tmp_path: Path, keep: int) -> None:
    (tmp_path / "cut.model").write_bytes(saved.read_bytes()[:keep])
    refused(tmp_path / "cut.model", "damaged")


def test_text_in_place_of_a_model_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "page.model").write_text("<html>Not found</html>")
    refused(tmp_path / "page.model", "damaged")


class _Bomb:
    def __init__(self, mark: Path):
        self._mark = mark

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.mkdir, (str(self._mark),)


@pytest.mark.parametrize("new_container", [True, False])
def test_code_in_the_file_is_refused_and_not_run(tmp_path: Path, new_container: bool) -> None:
    mark = tmp_path / "was_run"
    path = tmp_path / "bomb.model"
    torch.save({"netfclip.3.bias": _Bomb(mark)}, path, _use_new_zipfile_serialization=new_container)
    refused(path, "holds Python code, which is not run")
    assert not mark.exists()


def refused(path: Path, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        SyncNet(path, CPU)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_cuda_is_used_if_it_is_there_and_missed_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [torch_device(wanted).type for wanted in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto").type == "cpu"
    with pytest.raises(UserError, match="no GPU here"):
        torch_device("cuda")
    with pytest.raises(UserError, match=r"one of auto, cpu, cuda, got 'tpu'"):
        torch_device("tpu")

"""A weights file that is damaged, another network's or a pickle with code in it is one line from the backend's check,
before any worker starts, even if its hash is the one that was asked for."""

from __future__ import annotations

import importlib.util
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from catalogs.errors import UserError
from stages.base import Profile
from stages.listing import STAGES
from tests.support import tiny_onnx

PACKAGES = {"face_count": "insightface", "head_body": "rtmlib", "person_count": "ultralytics", "speakers": "demucs"}
TORCH = [
    ("person_count", "reference", "yolo_world_x"),
    ("language", "lite", "whisper_tiny"),
    ("language", "reference", "whisper_large_v3_turbo"),
    ("speakers", "reference", "htdemucs"),
    ("sync", "lite", "light_asd_talkset"),
    ("sync", "reference", "syncnet_v2"),
]
ONNX = [
    ("face_count", "reference", "insightface_detector"),
    ("face_count", "reference", "insightface_landmarks"),
    ("face_count", "reference", "insightface_identity"),
    ("head_body", "reference", "yolox_l"),
    ("head_body", "reference", "dwpose"),
]


class Bomb:
    """What a pickle can do: run code when it is read."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self._mark),)


def html(path: Path) -> None:
    path.write_text("<html>Not found</html>")


def empty(path: Path) -> None:
    path.touch()


def cut_off(path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def other_tensors(path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, path)


def no_tensors(path: Path) -> None:
    torch.save([1, 2], path)


def code(path: Path) -> None:
    torch.save({"model": Bomb(path.with_suffix(".ran"))}, path)


def code_in_the_old_container(path: Path) -> None:
    torch.save({"model": Bomb(path.with_suffix(".ran"))}, path, _use_new_zipfile_serialization=False)


def bare_pickle_with_code(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb(path.with_suffix(".ran")), protocol=2))


def other_network(path: Path) -> None:
    tiny_onnx.constant_outputs(path, (224, 224), {"logits": np.zeros((1, 1000))})


@pytest.fixture
def refused(tmp_path: Path, installed: Callable[..., None]) -> Callable[..., None]:
    """``refused(stage, profile, weights, write)``: the check says so in a line, and no code runs."""

    def check(stage: str, profile: Profile, weights: str, write: Callable[[Path], None]) -> None:
        if profile == "reference" and stage in PACKAGES and importlib.util.find_spec(PACKAGES[stage]) is None:
            pytest.skip(f"{PACKAGES[stage]} is not installed (extra: reference)")
        bad = tmp_path / "bad.weights.pt"  # ultralytics wants this ending
        write(bad)
        installed(**{**good_neighbours(tmp_path), weights: bad})
        with pytest.raises(UserError) as caught:
            STAGES[stage].backend(profile).verify(STAGES[stage].config_of(profile)())
        assert bad.name in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not bad.with_suffix(".ran").exists()

    return check


def good_neighbours(folder: Path) -> dict[str, Path]:
    """Right files for the networks that are looked at before the bad one of the same backend."""
    return {
        "insightface_detector": tiny_onnx.scrfd(folder / "det_10g.onnx", []),
        "yolox_l": tiny_onnx.yolox(folder / "yolox_l.onnx", []),
        "dwpose": tiny_onnx.dwpose(folder / "dw-ll_ucoco_384.onnx", np.zeros((133, 2)), np.zeros(133)),
    }


@pytest.mark.parametrize(("stage", "profile", "weights"), TORCH, ids=lambda value: str(value))
@pytest.mark.parametrize(
    "write",
    [html, empty, cut_off, other_tensors, no_tensors, code, code_in_the_old_container, bare_pickle_with_code],
    ids=lambda write: write.__name__,
)
def test_torch_weights_are_looked_into(stage: str, profile: Profile, weights: str, write, refused) -> None:
    refused(stage, profile, weights, write)


@pytest.mark.parametrize(("stage", "profile", "weights"), ONNX, ids=lambda value: str(value))
@pytest.mark.parametrize(
    "write", [html, empty, other_network, other_tensors, bare_pickle_with_code], ids=lambda write: write.__name__
)
def test_onnx_weights_are_looked_into(stage: str, profile: Profile, weights: str, write, refused) -> None:
    refused(stage, profile, weights, write)


def test_another_yolo_is_no_yolo_world(refused) -> None:
    def yolo(path: Path) -> None:
        from stages.vision import yolo_world

        yolo_world._tame_ultralytics()
        from ultralytics.nn.tasks import DetectionModel

        torch.save({"model": DetectionModel("yolov8n.yaml", verbose=False).half(), "ema": None}, path)

    refused("person_count", "reference", "yolo_world_x", yolo)


def test_an_english_whisper_tells_no_languages(refused) -> None:
    def english(path: Path) -> None:
        from whisper.model import ModelDimensions, Whisper

        numbers = dict(n_mels=80, n_audio_ctx=8, n_audio_state=8, n_audio_head=1, n_audio_layer=1, n_vocab=51_864)
        numbers |= dict(n_text_ctx=8, n_text_state=8, n_text_head=1, n_text_layer=1)
        model = Whisper(ModelDimensions(**numbers))
        torch.save({"dims": numbers, "model_state_dict": model.state_dict()}, path)

    refused("language", "lite", "whisper_tiny", english)

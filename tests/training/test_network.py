"""A training begins with new weights, a public base or a finished model, and refuses what does not fit its latents."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel

from catalogs.errors import UserError
from model.folder import ModelFolder
from tests.support.tiny_training import config, latents_in
from tests.support.wan_bases import SMALL, small_base
from training.clips import open_clips
from training.network import make_network
from training.trainer import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with latents and a finished training."""
    made = tmp_path_factory.mktemp("network")
    latents_in(made)
    train(config(made, "whole", steps=1))
    return made


def _said(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def _described_latents(folder: Path, place: Path, **parts: dict[str, str]) -> Path:
    """Copy the latents; say of them that they are of the codec that lies there, and what else is given."""
    shutil.copytree(folder / "latents", place / "latents")
    facts = json.loads((place / "latents" / "precompute.json").read_text())
    facts["codec"]["digest"] = ModelFolder.load(folder / "whole" / "model").codec.digest
    for part, values in parts.items():
        facts[part] |= values
    (place / "latents" / "precompute.json").write_text(json.dumps(facts))
    return place


def test_a_training_may_begin_with_a_finished_model(folder: Path, tmp_path: Path) -> None:
    start = folder / "whole" / "model"
    model = {"start": str(start), "preset": "14B", "overrides": {}}
    begun = config(_described_latents(folder, tmp_path), "started", steps=1, model=model)
    network = make_network(begun, open_clips(begun.data, 0))
    weights = ModelFolder.load(start).transformer.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
    train(begun)
    assert ModelFolder.load(tmp_path / "started" / "model").facts.preset == "tiny", "what it began with says its size"


@pytest.mark.parametrize(
    ("part", "what"), [("codec", "codec linear"), ("audio", "audio encoder made_up"), ("text", "text encoder made_up")]
)
def test_a_model_that_learnt_with_other_encoders_is_refused(part: str, what: str, folder: Path, tmp_path: Path) -> None:
    start = folder / "whole" / "model"
    other = {part: {"name": "another", "digest": "abcdef" * 9}}
    begun = config(
        _described_latents(folder, tmp_path, **other), "started", model={"start": str(start), "overrides": {}}
    )
    with pytest.raises(UserError) as caught:
        train(begun)
    said = _said(caught)
    assert f"model.start {start} was trained with the {what}" in said
    assert "the latents are of another (abcdefabcdef): make latents with the model's" in said


def _no_model(folder: Path) -> None:
    folder.mkdir()


def _a_base(folder: Path) -> None:
    WanTransformer3DModel(**SMALL).save_pretrained(folder)


def _pickled(folder: Path) -> None:
    folder.mkdir()
    torch.save({"weight": torch.zeros(1)}, folder / "diffusion_pytorch_model.bin")


def _another_architecture(folder: Path) -> None:
    _a_base(folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"_class_name": "HunyuanVideoTransformer3DModel"}))


@pytest.mark.parametrize(
    ("key", "make", "said"),
    [
        ("start", _no_model, "is no model folder: model.json is missing"),
        ("start", _a_base, "is no model folder: model.json is missing"),
        ("base", _no_model, "no safetensors files there"),
        ("base", _pickled, "pickled file"),
        ("base", _another_architecture, "a checkpoint of another architecture"),
    ],
)
def test_what_is_no_beginning_is_refused(
    key: str, make: Callable[[Path], None], said: str, folder: Path, tmp_path: Path
) -> None:
    make(tmp_path / "given")
    begun = config(folder, "bad_beginning", model={key: str(tmp_path / "given"), "overrides": {}})
    with pytest.raises(UserError, match=said) as caught:
        train(begun)
    assert str(tmp_path / "given") in _said(caught)


def test_a_base_that_fits_begins_a_training_and_keeps_its_shape(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    base = WanTransformer3DModel(**SMALL)
    base.save_pretrained(tmp_path / "base")
    begun = config(folder, "based", steps=1, model={"base": str(tmp_path / "base"), "overrides": {"audio_dim": 8}})
    network = make_network(begun, open_clips(begun.data, 0))
    assert torch.equal(network.proj_out.weight, base.proj_out.weight)
    assert network.config["audio_dim"] == 8
    train(begun)
    facts = ModelFolder.load(folder / "based" / "model").facts
    assert (facts.base, facts.preset) == (str(tmp_path / "base"), "custom"), "no preset has three layers"
    changed = replace(begun, model=replace(begun.model, overrides={"num_layers": 9}))
    with pytest.raises(UserError, match="num_layers cannot differ from the base's"):
        make_network(changed, open_clips(begun.data, 0))


@pytest.fixture(scope="module")
def image_latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with latents for a base with an image branch: CLIP's tokens, and as much text as Wan reads."""
    made = tmp_path_factory.mktemp("image")
    latents_in(made, n_clips=4, text_shape=(512, 32), image_shape=(5, 16))
    return made


def test_a_base_with_an_image_branch_is_trained_with_image_tokens(image_latents: Path, tmp_path: Path) -> None:
    small_base(image=True).save_pretrained(tmp_path / "base")
    begun = config(image_latents, "seeing", steps=2, model={"base": str(tmp_path / "base"), "overrides": {}})
    train(begun)
    facts = ModelFolder.load(image_latents / "seeing" / "model").facts
    assert facts.image is not None
    assert (facts.image.name, facts.image.width, facts.image.length) == ("made_up", 16, 5)


def test_image_tokens_and_an_image_branch_need_each_other(folder: Path, image_latents: Path, tmp_path: Path) -> None:
    small_base(image=True).save_pretrained(tmp_path / "seeing")
    small_base(image=False).save_pretrained(tmp_path / "blind")
    for latents, base, said in [
        (folder, "seeing", "as image tokens of width 16, and they have no image tokens"),
        (image_latents, "blind", "as no image tokens, and they have image tokens of width 16"),
    ]:
        begun = config(latents, "misfit", model={"base": str(tmp_path / base), "overrides": {}})
        with pytest.raises(UserError, match=said) as caught:
            train(begun)
        _said(caught)


def test_a_setting_that_the_model_does_not_have_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="layers") as caught:
        train(config(folder, "strange", model={"overrides": {"layers": 3}}))
    _said(caught)

"""A model folder: it comes back as it was, survives a failed save, and says in one line what is wrong with it."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import WanTransformer3DModel

from model.audio import LogMelAudio, WhisperAudio
from model.errors import ModelError
from model.facts import EncoderFacts
from model.folder import ModelFolder
from model.text import HashedText
from tests.support.latent_models import tiny_model_folder, tiny_whisper

TRAINING = {"snapshot": "v1", "steps": 1500, "seed": 3, "config": {"batch": 4}}
FUNNEL = {"policy": "lite", "fingerprints": {"sync": "abc"}}


@pytest.fixture(scope="module")
def model() -> ModelFolder:
    made = tiny_model_folder(training=TRAINING, funnel=FUNNEL, base="Skywork/SkyReels-V2-I2V-1.3B-540P")
    return dataclasses.replace(made, figures={"mouth r, own sound": 0.94})


@pytest.fixture
def saved(model: ModelFolder, tmp_path: Path) -> Path:
    model.save(tmp_path / "model")
    return tmp_path / "model"


def predicted(model: ModelFolder) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        return model.transformer(
            torch.randn(1, 52, 2, 4, 4, generator=generator),
            torch.tensor([500.0]),
            HashedText().encode(["a person speaks"]),
            audio=torch.randn(1, 9, 160, generator=generator),
            audio_positions=torch.arange(9, dtype=torch.float64)[None],
            latent_positions=torch.tensor([[1.0, 6.0]], dtype=torch.float64),
        ).sample


def test_a_model_comes_back_as_it_was(model: ModelFolder, saved: Path) -> None:
    again = ModelFolder.load(saved)
    assert torch.equal(predicted(again), predicted(model))
    assert again.codec.digest == model.codec.digest
    assert again.facts == model.facts
    assert again.figures == model.figures
    assert not again.transformer.training


def test_only_safetensors_json_and_the_card_are_written(saved: Path) -> None:
    files = {str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()}
    assert files == {
        "README.md",
        "model.json",
        "codec/codec.json",
        "codec/codec.safetensors",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
    }
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_weights_are_loaded_in_the_dtype_that_is_asked_for(saved: Path) -> None:
    assert ModelFolder.load(saved).transformer.blocks[0].attn1.to_q.weight.dtype == torch.float32
    half = ModelFolder.load(saved, torch.bfloat16).transformer
    assert half.blocks[0].attn1.to_q.weight.dtype == torch.bfloat16
    assert half.audio_projection.statistics.mean.dtype == torch.float32  # as the model wants it


def test_the_card_says_what_the_model_is_and_where_it_comes_from(saved: Path) -> None:
    text = (saved / "README.md").read_text("utf-8")
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["base_model"] == "Skywork/SkyReels-V2-I2V-1.3B-540P"
    assert yaml.safe_load(head)["license"] == "other"
    for told in (
        "48 x 32 pixels, 25 frames per second",
        "5 latents, 17 frames",
        "log_mel",
        "stand-in",
        "nothing of their meaning",
        "noise - data",
        "| config.batch | 4 |",
        "| policy | lite |",
        "| mouth r, own sound | 0.94 |",
        "consent",
    ):
        assert told in body, told


def test_the_card_of_a_model_without_figures_says_so(tmp_path: Path) -> None:
    tiny_model_folder().save(tmp_path / "model", licence="apache-2.0")
    text = (tmp_path / "model" / "README.md").read_text("utf-8")
    assert "Nothing was measured." in text
    assert "Not stated." in text
    assert "license: apache-2.0" in text


def test_saving_again_replaces_the_model(model: ModelFolder, saved: Path) -> None:
    dataclasses.replace(model, figures={}).save(saved)
    assert ModelFolder.load(saved).figures == {}
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_full_disk_leaves_the_old_model(model: ModelFolder, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(model.codec), "save", full)
    with pytest.raises(ModelError, match=r"No space left on device\); what was there before is unchanged$"):
        dataclasses.replace(model, figures={}).save(saved)
    assert ModelFolder.load(saved).figures == model.figures
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def save_and_die(model: ModelFolder, folder: Path, place: str) -> None:
    """In a process of its own: it is killed while it writes, or between its two renames."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    rename = Path.rename
    if place == "while writing":
        type(model.codec).save = die  # type: ignore[method-assign]
    else:
        Path.rename = lambda path, to: die() if "partial" in path.name else rename(path, to)  # type: ignore
    model.save(folder)


@pytest.mark.parametrize("place", ["while writing", "between the renames"])
def test_a_killed_save_leaves_the_old_model_and_the_next_save_works(
    model: ModelFolder, saved: Path, place: str
) -> None:
    process = multiprocessing.get_context("fork").Process(target=save_and_die, args=(model, saved, place))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    if place == "while writing":
        assert ModelFolder.load(saved).figures == model.figures
    else:
        with pytest.raises(ModelError, match=r"cut off: rename .*\.model\.before to model$"):
            ModelFolder.load(saved)
    dataclasses.replace(model, figures={"again": 1}).save(saved)
    assert ModelFolder.load(saved).figures == {"again": 1}
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_not_overwritten(model: ModelFolder, tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(ModelError, match="exists and is no model folder"):
        model.save(tmp_path)
    assert (tmp_path / "holiday.txt").read_text() == "mine"


def test_an_empty_folder_is_used(model: ModelFolder, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    ModelFolder.load(tmp_path / "model")


def test_parts_that_do_not_fit_are_not_saved(model: ModelFolder, tmp_path: Path) -> None:
    wide = dataclasses.replace(model.facts, audio=EncoderFacts("whisper", 512, "x"))
    with pytest.raises(ModelError, match=r"width of audio tokens are 160, and the rest .* has 512"):
        dataclasses.replace(model, facts=wide).save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_encoders_and_latents_of_another_kind_are_refused(model: ModelFolder) -> None:
    model.check_audio(LogMelAudio())
    model.check_text(HashedText())
    model.check_codec(model.codec.digest)
    whisper = WhisperAudio(tiny_whisper(), "x")
    with pytest.raises(ModelError, match=r"trained with sound of log_mel \(.*\), and this encoder is whisper \("):
        model.check_audio(whisper)
    with pytest.raises(ModelError, match="trained with text of hashed"):
        model.check_text(HashedText(length=8))
    with pytest.raises(ModelError, match="of another codec"):
        model.check_codec("0" * 64)


def edit(saved: Path, **changes: object) -> None:
    content = json.loads((saved / "model.json").read_text())
    (saved / "model.json").write_text(json.dumps({**content, **changes}))


def as_public_checkpoint(saved: Path) -> None:
    shutil.rmtree(saved / "transformer")
    config = {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 16, "num_layers": 1}
    WanTransformer3DModel(**config).save_pretrained(saved / "transformer")


def pickled(saved: Path) -> None:
    weights = saved / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.with_suffix(".bin").write_bytes(f"cposix\nmkdir\n(S'{saved / 'harm'}'\ntR.".encode())


def truncated(saved: Path) -> None:
    weights = saved / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda saved: shutil.rmtree(saved), "is no model folder: model.json is missing"),
        (lambda saved: (saved / "model.json").unlink(), "is no model folder: model.json is missing"),
        (lambda saved: (saved / "model.json").write_text("{"), "cannot be read"),
        (lambda saved: (saved / "model.json").write_text("[]"), "holds no description"),
        (lambda saved: edit(saved, format_version=9), "format 9, and this release reads 1"),
        (lambda saved: edit(saved, audio={"name": "x"}), "is incomplete or of another release"),
        (lambda saved: edit(saved, noise="v = data - noise"), "another noise convention"),
        (lambda saved: edit(saved, codec={"digest": "0"}), "is not the codec that the model was trained with"),
        (lambda saved: shutil.rmtree(saved / "codec"), "holds no codec"),
        (lambda saved: shutil.rmtree(saved / "transformer"), "holds no transformer"),
        (as_public_checkpoint, "another architecture, WanTransformer3DModel.*imported with model.base.from_base"),
        (truncated, "transformer: cannot be opened"),
        (pickled, "transformer: cannot be opened"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_in_one_line(harm: Callable[[Path], None], told: str, saved: Path) -> None:
    harm(saved)
    with pytest.raises(ModelError, match=told) as caught:
        ModelFolder.load(saved)
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value)
    assert not (saved / "harm").exists()

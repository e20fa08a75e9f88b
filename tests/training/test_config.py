"""A training's YAML file: what is read, and how mistakes are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from catalogs.errors import UserError
from training.config import CurriculumStage, TrainConfig
from training.yaml_config import as_document, config_of, load_config, save_config


def _written(folder: Path, text: str) -> Path:
    path = folder / "train.yaml"
    path.write_text(text, "utf-8")
    return path


def test_what_the_file_leaves_out_has_its_default(tmp_path: Path) -> None:
    config = load_config(_written(tmp_path, "data: {latents: latents}\noptimiser: {rate: 1e-3}\n"))
    assert config.optimiser.rate == 0.001  # YAML itself takes 1e-3 for a word
    assert config.optimiser.schedule == "constant"
    assert config.drops.audio == 0.15
    assert config.data.window_latents == 21


def test_the_saved_config_is_read_again_as_the_same(tmp_path: Path) -> None:
    stages = [{"name": "audio", "steps": 5, "audio": 1, "image": 0, "video": 0}, {"image": 0.7, "video": 0.3}]
    config = config_of({"data": {"latents": "x"}, "curriculum": stages, "model": {"overrides": {"num_layers": 2}}}, "c")
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["checkpoints"] == {
        "every": 500,
        "keep": 2,
        "keep_every": 0,
    }


def test_the_curriculum_says_which_stage_a_step_is_in() -> None:
    stages = (CurriculumStage("a", 3), CurriculumStage("b", 2), CurriculumStage("c", 1))
    names = [TrainConfig(curriculum=stages).stage_at(step).name for step in range(8)]
    assert names == ["a", "a", "a", "b", "b", "c", "c", "c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {latent: x}", "unknown key data.latent; did you mean latents?"),
        ("data: {latents: x, heldout: {shar: 1}}", "unknown key data.heldout.shar; did you mean share?"),
        ("optimizer: {rate: 1}", "unknown key optimizer; did you mean optimiser?"),
        ("steps: many", "steps must be a whole number, not 'many'"),
        ("steps: 1.5", "steps must be a whole number, not 1.5"),
        ("recompute: 1", "recompute must be true or false, not 1"),
        ("precision: fp16", "precision must be one of fp32, bf16, not 'fp16'"),
        ("data: [1]", "data must be a mapping of names to values, not [1]"),
        ("data: {latents: x}\ndrops: {audio: 1.5}", "drops.audio must lie between 0 and 1, not 1.5"),
        ("data: {latents: x, batch: 0}", "data.batch must be at least 1, not 0"),
        ("steps: 3", "data.latents is missing"),
        ("data: {latents: x}\ncurriculum: []", "curriculum must have at least one stage"),
        ("data: {latents: x}\ncurriculum: [{image: 0, video: 0}]", "curriculum[0]: audio, image and video are shares"),
        ("data: {latents: x}\ncurriculum: [{}, {}]", "curriculum[0].steps must be at least 1"),
        ("data: {latents: x}\nmodel: {base: a, start: b}", "model.base and model.start exclude each other"),
        ("data: {latents: x, snapshot: v1, catalog: c}", "data.latents and data.catalog exclude each other"),
        (
            "data: {catalog: c, snapshot: v1, codec: k}",
            "data.catalog also needs data.snapshot, data.codec and data.size",
        ),
        ("data: {catalog: c, snapshot: v1, codec: k, size: [64]}", "and data.size [height, width]"),
        ("data: {catalog: c, snapshot: v1, codec: k, size: 64}", "data.size must be a list, not 64"),
        (
            "data: {latents: x}\nmodel: {start: b, overrides: {num_layers: 2}}",
            "model.start and model.overrides exclude",
        ),
        ("data: {latents: x}\nrun: ''", "run is empty"),
        ("data: {latents: x}\noptimiser: {rate: .nan}", "optimiser.rate must be a finite number, not nan"),
        ("data: {latents: x}\nflow: {mean: .inf}", "flow.mean must be a finite number, not inf"),
        ("data: {latents: x}\ncurriculum: [{steps: -1}]", "curriculum[0].steps must be 0 or more, not -1"),
        ("data: {latents: x", "not valid YAML"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file_and_the_key(text: str, said: str, tmp_path: Path) -> None:
    path = _written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("steps", 0, "must be at least 1"),
        ("threads", -1, "must be 0 or more"),
        ("peak_tflops", -1.0, "must be 0 or more"),
        ("data.workers", -1, "must be 0 or more"),
        ("data.window_latents", 1, "must be at least 2"),
        ("data.heldout.most", -1, "must be 0 or more"),
        ("data.heldout.share", -0.1, "must lie between 0 and 1"),
        ("model.lora_rank", 0, "must be at least 1"),
        ("flow.std", 0.0, "must be above 0"),
        ("flow.shift", 0.0, "must be above 0"),
        ("flow.steps", 0, "must be at least 1"),
        ("loss.hole_weight", 0.0, "must be above 0"),
        ("loss.rest_weight", -1.0, "must be 0 or more"),
        ("optimiser.rate", -1e-5, "must be above 0"),
        ("optimiser.warmup", -1, "must be 0 or more"),
        ("optimiser.beta1", 1.0, "must be from 0 to below 1"),
        ("optimiser.beta2", -0.1, "must be from 0 to below 1"),
        ("optimiser.ema", 1.0, "must be from 0 to below 1"),
        ("optimiser.weight_decay", -0.1, "must be 0 or more"),
        ("optimiser.clip_norm", 0.0, "must be above 0"),
        ("checkpoints.keep_every", -1, "must be 0 or more"),
        ("meters.samples_every", -1, "must be 0 or more"),
        ("meters.samples", 0, "must be at least 1"),
        ("sampling.steps", 0, "must be at least 1"),
    ],
)
def test_a_value_that_would_fail_later_is_refused_at_once(key: str, value: float, said: str) -> None:
    document: dict[str, Any] = {"data": {"latents": "x"}}
    inner = document
    *sections, name = key.split(".")
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[name] = value
    with pytest.raises(UserError) as caught:
        config_of(document, "train.yaml")
    assert str(caught.value).startswith(f"train.yaml: {key} {said}")
    assert str(caught.value).endswith(f"not {value}")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: No such file"):
        load_config(tmp_path / "none.yaml")


def test_every_value_of_the_config_is_plain() -> None:
    yaml.safe_dump(as_document(TrainConfig()))

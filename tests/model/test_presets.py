"""A preset has the size of the public checkpoints that it names."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel

from model.cost import parameters
from model.errors import ModelError
from model.presets import PRESETS, build, preset
from model.transformer import is_audio_key


@pytest.mark.parametrize(("name", "billions"), [("1.3B", 1.56), ("14B", 16.39)])
def test_the_base_of_a_public_size_has_the_public_number_of_parameters(name: str, billions: float) -> None:
    """1.3B and 14B are the sizes without image input; the branch for CLIP adds 0.14 and 2.1 billion."""
    assert parameters(PRESETS[name].config).base == pytest.approx(billions * 1e9, rel=0.005)


@pytest.mark.parametrize("name", ["1.3B", "14B"])
def test_without_the_audio_branch_a_preset_is_diffusers_own_model(name: str) -> None:
    config = {**PRESETS[name].config, "num_layers": 2}
    with torch.device("meta"):
        ours = build(name, num_layers=2).state_dict()
        base = WanTransformer3DModel(**{key: value for key, value in config.items() if not key.startswith("audio")})
    base_shapes = {key: tensor.shape for key, tensor in base.state_dict().items()}
    assert {key: tensor.shape for key, tensor in ours.items() if not is_audio_key(key)} == base_shapes


def test_tiny_is_small_enough_for_a_cpu() -> None:
    assert parameters(PRESETS["tiny"].config).total < 2e6
    model = build("tiny", audio_in_dim=160)
    assert model.config.audio_in_dim == 160
    assert model.config.num_layers == 4


def test_an_unknown_preset_or_option_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no model preset named '7B': there are tiny, 1\.3B, 14B"):
        preset("7B")
    with pytest.raises(ModelError, match="layers"):
        build("tiny", layers=3)


def test_the_tables_of_the_page_are_up_to_date() -> None:
    command = [sys.executable, "-m", "scripts.model_docs", "--check"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, f"run python -m scripts.model_docs\n{done.stderr}"

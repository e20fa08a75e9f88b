"""Folders of transformers: a wrong or damaged one is one line, from its configuration and the files' headers alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from catalogs.errors import UserError
from stages.base import StageConfig
from stages.captions.skycaptioner import SkyCaptionerConfig
from stages.captions.skycaptioner import check as check_caption
from stages.video_quality import LevelsConfig
from stages.video_quality import check as check_quality
from weights.inspection import checkpoint

pytest.importorskip("transformers")
CHECKS: list[tuple[Callable[[StageConfig], None], type]] = [
    (check_caption, SkyCaptionerConfig),
    (check_quality, LevelsConfig),
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny_vlm import save_tiny_qwen

    return save_tiny_qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy of its own."""
    return Path(shutil.copytree(good, tmp_path / "model"))


def set_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / checkpoint.WHOLE)


def save(folder: Path, kept: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(kept, folder / checkpoint.WHOLE, {"format": "pt"})


def foreign_family(folder: Path) -> None:
    set_config(folder, model_type="mplug_owl2")


def text_only(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


def damaged_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def code_in_the_folder(folder: Path) -> None:
    module = f"import os\nos.mkdir({str(folder / 'ran')!r})\n"
    (folder / "modeling_own.py").write_text(module)
    set_config(folder, model_type="own", auto_map={"AutoConfig": "modeling_own.OwnConfig"})


def pickled(folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(folder / "ran"),)

    (folder / checkpoint.WHOLE).unlink()
    torch.save({"weight": Bomb()}, folder / "pytorch_model.bin")


def cut_off(folder: Path) -> None:
    path = folder / checkpoint.WHOLE
    path.write_bytes(path.read_bytes()[:-1000])


def no_safetensors_inside(folder: Path) -> None:
    (folder / checkpoint.WHOLE).write_bytes(b"<html>Not found</html>")


def half_of_it(folder: Path) -> None:
    save(folder, dict([*list(tensors(folder).items())[::2], _vocabulary(folder)]))


def _vocabulary(folder: Path) -> tuple[str, torch.Tensor]:
    return next((name, tensor) for name, tensor in tensors(folder).items() if "embed_tokens" in name)


def another_width(folder: Path) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    set_config(folder, text_config=text | {"hidden_size": 64})


def part_missing(folder: Path) -> None:
    (folder / checkpoint.WHOLE).rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / checkpoint.INDEX).write_text(json.dumps(index))


def damaged_index(folder: Path) -> None:
    part_missing(folder)
    (folder / checkpoint.INDEX).write_text("[]")


def no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (folder / name).unlink()


SPOILERS = {
    foreign_family: "mplug_owl2",
    text_only: "bert|BertConfig",
    damaged_config: "config",
    code_in_the_folder: "does not hold the weights",
    pickled: "pickled weights are not read",
    cut_off: "damaged",
    no_safetensors_inside: "damaged",
    half_of_it: "parameters, the files hold",
    another_width: "no tensor has the shape",
    part_missing: r"names model-00002-of-00002\.safetensors, which is not there",
    damaged_index: "index.json is damaged",
    no_tokenizer: "does not hold the weights",
}


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize(("check", "config"), CHECKS, ids=["caption", "video_quality"])
def test_a_spoilt_folder_is_told_in_one_line(folder: Path, spoil, check, config) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=SPOILERS[spoil]) as caught:
        check(config(folder=str(folder)))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(("check", "config"), CHECKS, ids=["caption", "video_quality"])
def test_a_good_folder_passes_whole_or_in_parts(folder: Path, check, config) -> None:
    check(config(folder=str(folder)))
    part = "model-00001-of-00001.safetensors"
    names = {name: part for name in tensors(folder)}
    (folder / checkpoint.WHOLE).rename(folder / part)
    (folder / checkpoint.INDEX).write_text(json.dumps({"weight_map": names}))
    check(config(folder=str(folder)))


def test_another_image_and_text_model_may_name_levels_but_is_no_captioner(folder: Path) -> None:
    checkpoint.inspect(folder, "any model")
    with pytest.raises(UserError, match=r"says qwen2_5_vl, expected qwen2_vl"):
        checkpoint.inspect(folder, "Qwen2-VL", "qwen2_vl")


def test_a_tensor_that_is_missing_is_never_made_up(folder: Path) -> None:
    """As many numbers under another name pass the count, but not the loader."""
    kept = tensors(folder)
    name = next(name for name in kept if name.endswith("q_proj.weight"))
    kept["unknown.weight"] = kept.pop(name)
    save(folder, kept)
    checkpoint.inspect(folder, "Qwen2.5-VL")
    with pytest.raises(UserError, match=r"1 tensors are missing, such as .*q_proj\.weight"):
        checkpoint.load_model(folder, torch.float32, "Qwen2.5-VL")

"""The image encoder, against Wan's own pipeline in diffusers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionModel

from model.errors import ModelError
from model.image import ClipImage
from tests.support.latent_models import tiny_clip

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("i2v"))


def test_tokens_are_those_of_wans_pipeline(folder: Path) -> None:
    pipeline = WanImageToVideoPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=None,
        scheduler=None,
        image_encoder=CLIPVisionModel.from_pretrained(folder / "image_encoder").eval(),
        image_processor=CLIPImageProcessor.from_pretrained(folder / "image_processor"),
    )
    with torch.no_grad():
        theirs = [pipeline.encode_image(Image.fromarray(picture), "cpu") for picture in PICTURES]
    assert torch.allclose(ClipImage(folder).encode(PICTURES), torch.cat(theirs), atol=1e-5)


def test_it_says_its_sizes_and_pictures_differ(folder: Path) -> None:
    encoder = ClipImage(folder)
    tokens = encoder.encode(PICTURES)
    assert tokens.shape == (2, encoder.length, encoder.width) == (2, 5, 16)
    assert not torch.allclose(tokens[0], tokens[1])


def test_its_digest_is_that_of_weights_and_preparation(folder: Path, tmp_path: Path) -> None:
    digest = ClipImage(folder).digest
    assert digest == ClipImage(tiny_clip(tmp_path / "same")).digest
    other = tiny_clip(tmp_path / "other")
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}).save_pretrained(
        other / "image_processor"
    )
    assert ClipImage(other).digest != digest


def test_a_folder_without_it_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder image_encoder"):
        ClipImage(tmp_path)
    broken = tiny_clip(tmp_path / "broken")
    (broken / "image_encoder" / "model.safetensors").rename(broken / "image_encoder" / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no CLIP vision model in safetensors"):
        ClipImage(broken)

"""Levels of quality: the score is an independent softmax over five tokens of a tiny random model's next word."""

import numpy as np
import pytest
from skimage import data

from catalogs.errors import UserError
from stages.quality.levels import LevelModel, expected_level

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from tests.support.tiny_vlm import save_tiny_qwen

    return save_tiny_qwen(tmp_path_factory.mktemp("levels"))


@pytest.fixture(scope="module")
def model(folder):
    return LevelModel(folder)


def test_a_certain_model_gives_the_levels_number():
    for i, value in enumerate((5, 4, 3, 2, 1)):
        assert expected_level(np.where(np.arange(5) == i, 1000.0, 0.0)) == pytest.approx(value)
    assert expected_level(np.zeros(5)) == pytest.approx(3)


def test_the_score_is_a_softmax_over_the_five_levels(model, folder):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    picture = data.astronaut()[:112, :112]
    processor = AutoProcessor.from_pretrained(folder)
    network = AutoModelForImageTextToText.from_pretrained(folder).eval()
    words = [" excellent", " good", " fair", " poor", " bad"]
    tokens = [processor.tokenizer.convert_tokens_to_ids("Ġ" + word.strip()) for word in words]
    for what, rated in (("quality", model.rate(picture).quality), ("aesthetics", model.rate(picture).aesthetics)):
        text = (
            f"<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>How would you rate the {what} of this image?"
            f"<|im_end|>\n<|im_start|>assistant\nThe {what} of the image is"
        )
        inputs = processor(text=[text], images=[picture], return_tensors="pt")
        with torch.no_grad():
            logits = network(**inputs).logits[0, -1, tokens]
        expected = float(torch.softmax(logits, 0) @ torch.tensor([5.0, 4, 3, 2, 1]))
        assert rated == pytest.approx(expected, abs=1e-4)
        assert 1 < rated < 5


def test_the_picture_matters(model):
    astronaut, coffee = (model.rate(photo()[:112, :112]) for photo in (data.astronaut, data.coffee))
    assert astronaut != coffee


def test_levels_that_begin_alike_cannot_be_told_apart(folder, monkeypatch):
    monkeypatch.setattr("stages.quality.levels.LEVELS", (("good", 4.0), ("good", 3.0)))
    with pytest.raises(UserError, match="same token"):
        LevelModel(folder)

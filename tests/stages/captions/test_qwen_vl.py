"""The in-process captioner on a tiny random model in the real format: it runs from pictures to text."""

import numpy as np
import pytest

from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import ClipMedia
from stages.base import Resources
from stages.captions.question import again
from stages.captions.skycaptioner import SkyCaptionerConfig, SkyCaptionerScorer, check
from tests.support.written_media import grey_ramp, whole_span, write_video
from weights.folder import folder_sha256

pytest.importorskip("transformers")

PICTURES = [np.full((84, 112, 3), level, np.uint8) for level in range(0, 160, 10)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from tests.support.tiny_vlm import save_tiny_qwen

    return save_tiny_qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def model(folder):
    from stages.captions.qwen_vl import QwenVL

    return QwenVL(folder, max_tokens=8)


def test_sixteen_pictures_are_one_video_of_eight_steps(model):
    inputs = model.inputs(PICTURES, "What is this?", [])
    assert inputs["video_grid_thw"].tolist()[0][0] == 8  # two pictures a step
    steps, rows, columns = inputs["video_grid_thw"][0].tolist()
    video_token = model._model.config.video_token_id
    assert int((inputs["input_ids"] == video_token).sum()) == steps * rows * columns // 4
    assert rows / columns == pytest.approx(84 / 112)  # the shape is kept


def test_the_answer_is_the_most_probable_token_after_another(model):
    import torch

    answer = model.ask(PICTURES, "What is this?", [])
    assert not answer.is_complete  # a random model does not end by itself
    inputs = model.inputs(PICTURES, "What is this?", [])
    length = inputs["input_ids"].shape[1]
    with torch.inference_mode():
        logits = model._model(**inputs).logits[0, -1]
    said = model._model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, length:]
    assert int(said[0]) == int(logits.argmax())
    assert answer.text == model._processor.decode(said, skip_special_tokens=True)


def test_the_pictures_matter(model):
    import torch

    def logits(pictures):
        with torch.inference_mode():
            return model._model(**model.inputs(pictures, "What is this?", [])).logits[0, -1]

    assert not torch.allclose(logits(PICTURES), logits(PICTURES[::-1]), atol=1e-3)


def test_a_second_turn_follows_the_first(model):
    text = model._processor.tokenizer.decode(model.inputs(PICTURES, "What?", again("no", "not JSON"))["input_ids"][0])
    assert text.index("What?") < text.index("no<|im_end|>") < text.index("not JSON")
    assert text.endswith("<|im_start|>assistant\n")


def test_garbage_ends_as_a_failure_with_a_code(folder, tmp_path):
    clip = ClipMedia(whole_span(write_video(tmp_path / "ramp.mp4", grey_ramp(20))))
    config = SkyCaptionerConfig(folder=str(folder), max_tokens=4, max_side=64)
    check(config)
    with pytest.raises(ClipError, match="two answers") as failed:
        SkyCaptionerScorer(config).score(clip)
    assert failed.value.code is ErrorCode.BAD_RESPONSE


def test_another_checkpoint_is_another_fingerprint(folder, tmp_path):
    from tests.support.tiny_vlm import save_tiny_qwen

    other = save_tiny_qwen(tmp_path, seed=1)
    here, there, served = (SkyCaptionerConfig(folder=place) for place in (str(folder), str(other), ""))
    assert len({repr(config.numbers()) for config in (here, there, served)}) == 3
    assert here.needs() == Resources(gpus=1.0, memory_gb=24.0)
    assert served.needs() is None


def test_a_folder_without_safetensors_is_refused(tmp_path):
    assert folder_sha256(str(tmp_path)) == "missing"
    with pytest.raises(UserError, match=r"no config\.json"):
        check(SkyCaptionerConfig(folder=str(tmp_path)))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match="pickled weights are not read"):
        check(SkyCaptionerConfig(folder=str(tmp_path)))

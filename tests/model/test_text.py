"""Captions: hashed words for the smallest preset, UMT5 as Wan's pipeline calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.errors import ModelError
from model.text import HashedText, Umt5Text
from tests.support.latent_models import tiny_umt5


def test_a_word_is_a_unit_vector_and_the_rest_is_zero() -> None:
    tokens = HashedText(width=32, length=5).encode(["A person speaks.", ""])
    assert tokens.shape == (2, 5, 32)
    assert tokens.dtype == torch.float32
    assert torch.allclose(tokens[0].norm(dim=1), torch.tensor([1.0, 1, 1, 0, 0]))
    assert not tokens[1].any()


def test_words_are_known_apart_wherever_they_stand_and_case_and_punctuation_do_not_count() -> None:
    one, two = HashedText().encode(["Calmly, a person speaks", "speaks: a PERSON"])
    assert torch.equal(one[3], two[0])
    assert torch.equal(one[2], two[2])
    assert float((one[0] * one[3]).sum().abs()) < 0.7


def test_words_of_all_languages_have_vectors() -> None:
    tokens = HashedText().encode(["人 говорит"])
    assert torch.allclose(tokens[0, :2].norm(dim=1), torch.ones(2))


def test_a_long_caption_is_cut() -> None:
    words = [f"word{i}" for i in range(20)]
    encoder = HashedText(length=16)
    assert torch.equal(encoder.encode([" ".join(words)]), encoder.encode([" ".join(words[:16])]))


def test_directions_are_spread_evenly() -> None:
    tokens = HashedText(width=32, length=1).encode([f"word{i}" for i in range(2000)])[:, 0]
    assert float(tokens.mean(dim=0).abs().max()) < 0.02
    assert float((tokens.T @ tokens / 2000 - torch.eye(32) / 32).abs().max()) < 0.01


def test_another_process_has_the_same_vectors() -> None:
    """Python's own hash differs from process to process; this one must not."""
    code = "from model.text import HashedText; print(HashedText().encode(['person'])[0, 0, :3].tolist())"
    ours = HashedText().encode(["person"])[0, 0, :3].tolist()
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(ours)


def test_sizes_are_in_the_digest() -> None:
    digests = {HashedText(width, length).digest for width in (16, 32) for length in (8, 16)}
    assert len(digests) == 4
    assert HashedText().digest == HashedText(32, 16).digest


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_umt5(tmp_path_factory.mktemp("wan"))


CAPTIONS = ["a person   speaks\n calmly", "", "a &amp; person unheard"]


def test_umt5_tokens_are_those_of_wans_pipeline(wan_folder: Path) -> None:
    from diffusers import WanImageToVideoPipeline
    from diffusers.pipelines.wan import pipeline_wan_i2v
    from transformers import AutoTokenizer, UMT5EncoderModel

    tokenizer = AutoTokenizer.from_pretrained(wan_folder / "tokenizer")
    encoder = UMT5EncoderModel.from_pretrained(wan_folder / "text_encoder")
    pipe = WanImageToVideoPipeline(tokenizer, encoder, None, None, None, None, None)
    cleaned = [pipeline_wan_i2v.whitespace_clean(pipeline_wan_i2v.html.unescape(caption)) for caption in CAPTIONS]
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(pipeline_wan_i2v, "prompt_clean", str)  # ftfy need not be installed
        theirs = pipe._get_t5_prompt_embeds(cleaned, max_sequence_length=12, device=torch.device("cpu"))
    ours = Umt5Text(wan_folder, length=12).encode(CAPTIONS)
    assert ours.shape == (3, 12, 16)
    assert torch.equal(ours, theirs)
    assert ours[0, :5].abs().sum(dim=1).all()  # four words and the end
    assert not ours[0, 5:].any()


def test_umt5_says_its_sizes_and_reads_512_tokens_like_wan(wan_folder: Path) -> None:
    encoder = Umt5Text(wan_folder)
    assert (encoder.name, encoder.width, encoder.length) == ("umt5", 16, 512)
    assert Umt5Text(wan_folder).digest == encoder.digest != Umt5Text(wan_folder, length=12).digest


def test_folders_without_an_encoder_are_told_in_one_line(wan_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no folder text_encoder: give the folder of a Wan model"):
        Umt5Text(tmp_path)
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "tokenizer").symlink_to(wan_folder / "tokenizer")
    with pytest.raises(ModelError, match="holds no UMT5 encoder in safetensors") as caught:
        Umt5Text(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_pickled_encoder_is_never_read(wan_folder: Path, tmp_path: Path) -> None:
    from transformers import UMT5EncoderModel

    (tmp_path / "tokenizer").symlink_to(wan_folder / "tokenizer")
    encoder = UMT5EncoderModel.from_pretrained(wan_folder / "text_encoder")
    encoder.config.save_pretrained(tmp_path / "text_encoder")
    torch.save(encoder.state_dict(), tmp_path / "text_encoder" / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no UMT5 encoder in safetensors"):
        Umt5Text(tmp_path)

"""Whisper loads from OpenAI's files and from CTranslate2's, with the numbers of the network that was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from whisper.model import Whisper

from catalogs.errors import UserError
from stages.speech import whisper_file
from stages.speech.whisper_file import load_whisper
from tests.support.sounds import noise
from tests.support.tiny_weights.tiny_ctranslate2 import save_ctranslate2, save_ctranslate2_whisper, whisper_variables
from tests.support.tiny_weights.tiny_whisper import Dimensions, save_tiny_whisper, tiny_whisper
from weights import registry

TWO_LAYERS = Dimensions(n_audio_layer=2, n_text_layer=3, n_text_head=4)  # sides that differ cannot be mixed up


@pytest.fixture(scope="module")
def made() -> Whisper:
    """A tiny network whose numbers fit into half precision, as in the published files."""
    return tiny_whisper(TWO_LAYERS).half().float()


@pytest.fixture(scope="module")
def file(made: Whisper, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ctranslate2_whisper(tmp_path_factory.mktemp("whisper") / "whisper_base_ct2.bin", made)


def answers(model: Whisper) -> tuple[torch.Tensor, torch.Tensor]:
    """What a network makes of a sound and three tokens: features [1, 1500, 16] and logits [1, 3, vocabulary]."""
    import whisper

    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(noise(3)))[None]
    with torch.no_grad():
        features = model.encoder(mel)
        return features, model.decoder(torch.tensor([[50_258, 7, 11]]), features)


def test_a_network_from_ctranslate2_answers_as_the_one_that_was_written(made: Whisper, file: Path) -> None:
    loaded = load_whisper(file)
    assert loaded.dims == made.dims
    for found, expected in zip(answers(loaded), answers(made), strict=True):
        assert torch.equal(found, expected)
        assert expected.std() > 0.1


def test_both_forms_of_the_same_numbers_are_the_same_network(made: Whisper, file: Path, tmp_path: Path) -> None:
    state = {name: value.half() for name, value in made.state_dict().items()}
    torch.save({"dims": vars(made.dims), "model_state_dict": state}, tmp_path / "base.pt")
    first, second = load_whisper(tmp_path / "base.pt").state_dict(), load_whisper(file).state_dict()
    assert first.keys() == second.keys() == made.state_dict().keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert {value.dtype for value in second.values()} == {torch.float32}


def test_an_openai_file_loads_as_by_whisper_itself(tmp_path: Path) -> None:
    import whisper

    file = save_tiny_whisper(tmp_path / "tiny.pt", Dimensions())
    theirs, ours = whisper.load_model(str(file), device="cpu").state_dict(), load_whisper(file).state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_loading_draws_no_random_numbers_of_the_callers(file: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_whisper(file)
    assert torch.equal(torch.rand(3), expected)


Variables = dict[str, np.ndarray]


def without(name: str) -> Callable[[Variables], None]:
    return lambda variables: variables.pop(name) is None or None


def other(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Variables], None]:
    return lambda variables: variables.update({name: np.ascontiguousarray(change(variables[name]))})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("encoder/conv2/bias"), r"no variable encoder/conv2/bias"),
        (without("decoder/layer_2/attention/layer_norm/gamma"), r"no variable decoder/layer_2/attention"),
        (without("encoder/num_heads"), r"no number encoder/num_heads"),
        (other("decoder/num_heads", lambda heads: heads * 0), r"no number decoder/num_heads"),
        (other("encoder/layer_0/self_attention/linear_0/bias", lambda bias: bias + 1), r"has a bias for keys"),
        (other("encoder/layer_0/self_attention/linear_0/weight", lambda rows: rows[1:]), r"is no stack of query, key"),
        (
            other("encoder/conv1/weight", lambda cube: cube[0]),
            r"conv1/weight is float16 \[80, 3\], expected",
        ),
        (other("decoder/embeddings/weight", lambda rows: rows.astype(np.int8)), r"embeddings/weight is int8"),
        (other("decoder/embeddings/weight", lambda rows: rows[:51_864]), r"51864 tokens is for English only"),
        (other("decoder/layer_norm/beta", lambda row: row[:3]), r"size mismatch for decoder\.ln\.bias"),
        (lambda variables: variables.clear(), r"no variable encoder/position_encodings/encodings"),
    ],
)
def test_what_is_no_whisper_is_one_line(
    change: Callable[[Variables], None], told: str, made: Whisper, tmp_path: Path
) -> None:
    variables = whisper_variables(made)
    change(variables)
    bad = save_ctranslate2(tmp_path / "bad.bin", variables, aliases={})
    for use in (load_whisper, whisper_file.inspect):
        with pytest.raises(UserError, match=told) as refused:
            use(bad)
        assert "bad.bin" in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("given", [{"specification": "TransformerSpec"}, {"revision": 4}])
def test_another_kind_of_network_is_one_line(given: dict[str, object], made: Whisper, tmp_path: Path) -> None:
    bad = save_ctranslate2(tmp_path / "bad.bin", whisper_variables(made), **given)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"where WhisperSpec 3 was expected"):
        load_whisper(bad)


def test_a_file_that_is_cut_off_is_one_line(file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.bin"
    cut.write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"cut\.bin is no CTranslate2 file or a damaged one \(cut off: 100,000 bytes"):
        load_whisper(cut)


def test_whisper_base_as_published_has_its_sizes() -> None:
    path = registry.find("whisper_base")
    if path is None:
        pytest.skip("whisper_base is not installed: funnel models pull whisper_base")
    model = load_whisper(path)
    assert vars(model.dims) == {
        **{"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 512, "n_audio_head": 8, "n_audio_layer": 6},
        **{"n_vocab": 51_865, "n_text_ctx": 448, "n_text_state": 512, "n_text_head": 8, "n_text_layer": 6},
    }
    assert sum(parameter.numel() for parameter in model.parameters()) == 71_825_920  # and the encoder's sines, 768,000

"""A video token hears the sound of its own time: held against RoPE computed by hand in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from model.audio_attention import AudioCrossAttention, AudioProjection, AudioQueries, Heard, rotate, rotation
from model.errors import ModelError

HEADS, WIDTH = 2, 8
DIM = HEADS * WIDTH
TOKENS = 16  # one per channel of the values, so that the output is the attention itself


def test_positions_match_rope_computed_by_hand() -> None:
    positions = np.array([0.0, 1.0, 17.25, 2999.6, -0.5])
    states = np.random.default_rng(0).standard_normal((5, HEADS, WIDTH))
    turned = rotate(_double(states)[None].float(), rotation(_double(positions)[None], WIDTH))[0]
    np.testing.assert_allclose(turned.numpy(), _turned(states, positions), atol=2e-6)


def test_a_minute_into_a_track_positions_are_still_exact() -> None:
    position = 3000.37
    cos, _ = rotation(torch.tensor([[position]], dtype=torch.float64), WIDTH)
    assert cos[0, 0, 0].item() == pytest.approx(math.cos(position), abs=1e-7)


@pytest.mark.parametrize("position", [0.0, 3.0, 7.4, 7.6, 15.0])
def test_attention_peaks_at_the_token_of_the_querys_time(position: float) -> None:
    heard = _attend(_position_only(), [position], range(TOKENS))
    assert heard[0].argmax().item() == round(position)


def test_attention_is_the_softmax_of_scores_computed_by_hand() -> None:
    attention = _position_only()
    where = [0.5, 3.0, 9.75]
    keys = np.arange(TOKENS) - 2.0
    query = np.sqrt(WIDTH) * _unit() * 4.0  # what the norms make of equal channels, times the norm's weight
    for head in range(HEADS):
        scores = np.array(
            [
                [_turned(query[None, None], [p])[0, 0] @ _turned(query[None, None] / 4.0, [k])[0, 0] for k in keys]
                for p in where
            ]
        ) / math.sqrt(WIDTH)
        expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        channels = slice(head * WIDTH, (head + 1) * WIDTH)
        np.testing.assert_allclose(_attend(attention, where, keys)[:, channels], expected[:, channels], atol=1e-6)


def test_only_the_distance_in_time_counts() -> None:
    torch.manual_seed(0)
    attention = _random()
    video, audio = torch.randn(1, 6, DIM), torch.randn(1, 9, 5)
    queries, keys = torch.rand(1, 6, dtype=torch.float64) * 9, torch.arange(9, dtype=torch.float64)[None]

    def heard(by_queries: float, by_keys: float) -> Tensor:
        turns = rotation(queries + by_queries, WIDTH), rotation(keys + by_keys, WIDTH)
        with torch.no_grad():
            return attention(video, Heard(audio, *turns, None))

    still = heard(0, 0)
    torch.testing.assert_close(heard(1234.56, 1234.56), still, atol=1e-5, rtol=0)
    assert (heard(3, 0) - still).abs().max() > 1e-2
    assert (heard(0, 3) - still).abs().max() > 1e-2


def test_without_rope_the_order_of_tokens_does_not_matter() -> None:
    torch.manual_seed(0)
    attention, video, audio = _random(), torch.randn(1, 6, DIM), torch.randn(1, 9, 5)
    with torch.no_grad():
        plain = attention(video, Heard(audio, None, None, None))
        torch.testing.assert_close(attention(video, Heard(audio.flip(1), None, None, None)), plain)


def test_a_new_branch_says_nothing() -> None:
    attention = AudioCrossAttention(DIM, HEADS, 5)
    assert torch.equal(
        attention(torch.randn(1, 6, DIM), Heard(torch.randn(1, 9, 5), None, None, None)), torch.zeros(1, 6, DIM)
    )


def test_all_spatial_tokens_of_a_latent_have_its_position() -> None:
    positions = torch.tensor([[1.0, 6.0, 14.0], [2.5, 9.0, 17.0]], dtype=torch.float64)
    cos, sin = AudioQueries(WIDTH)(positions, 4)
    assert cos.shape == sin.shape == (2, 12, WIDTH // 2)
    for token in range(12):
        one_cos, one_sin = rotation(positions[:, token // 4, None], WIDTH)
        assert torch.equal(cos[:, token], one_cos[:, 0])
        assert torch.equal(sin[:, token], one_sin[:, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_positions_that_lost_precision_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ModelError, match="give float64"):
        rotation(torch.zeros(1, 3, dtype=dtype), WIDTH)


def test_features_are_normalised_before_they_are_projected() -> None:
    torch.manual_seed(0)
    projection = AudioProjection(5, 8)
    audio, mean, std = torch.randn(2, 9, 5) * 3 + 7, torch.arange(5.0), torch.arange(1.0, 6.0)
    normal = projection((audio - mean) / std)
    projection.statistics.mean.copy_(mean)
    projection.statistics.std.copy_(std)
    torch.testing.assert_close(projection(audio), normal)
    projection.statistics.reset_parameters()
    torch.testing.assert_close(projection((audio - mean) / std), normal)
    assert {"statistics.mean", "statistics.std"} <= set(projection.state_dict())


def _double(array: object) -> Tensor:
    return torch.as_tensor(np.asarray(array, dtype=np.float64))


def _turned(states: np.ndarray, positions: object) -> np.ndarray:
    """RoPE by hand: channels 2i and 2i + 1 are turned by position x 10000^(-2i / width)."""
    turned = np.empty_like(states)
    for row, position in enumerate(np.asarray(positions, dtype=np.float64)):
        for pair in range(WIDTH // 2):
            angle = position * 10000.0 ** (-2 * pair / WIDTH)
            x, y = states[row, :, 2 * pair], states[row, :, 2 * pair + 1]
            turned[row, :, 2 * pair] = x * math.cos(angle) - y * math.sin(angle)
            turned[row, :, 2 * pair + 1] = x * math.sin(angle) + y * math.cos(angle)
    return turned


def _unit() -> np.ndarray:
    return np.ones(WIDTH) / math.sqrt(WIDTH)


def _position_only() -> AudioCrossAttention:
    """Hand-built weights: every query and key is the same vector, values are one-hot, so only time tells them apart."""
    attention = AudioCrossAttention(DIM, HEADS, TOKENS)
    with torch.no_grad():
        for layer in (attention.to_q, attention.to_k):
            layer.weight.zero_()
            layer.bias.fill_(1.0)
        attention.norm_q.weight.fill_(4.0)
        for layer in (attention.to_v, attention.to_out[0]):
            layer.weight.copy_(torch.eye(DIM))
            layer.bias.zero_()
    return attention


def _attend(attention: AudioCrossAttention, queries: object, keys: object) -> Tensor:
    """Channel c of the result is how much of token c is heard (by the head to which channel c belongs)."""
    turns = [rotation(_double(list(at))[None], WIDTH) for at in (queries, keys)]  # type: ignore[call-overload]
    video = torch.zeros(1, turns[0][0].shape[1], DIM)
    with torch.no_grad():
        return attention(video, Heard(torch.eye(TOKENS)[None], turns[0], turns[1], None))[0]


def _random() -> AudioCrossAttention:
    attention = AudioCrossAttention(DIM, HEADS, 5)
    torch.nn.init.normal_(attention.to_out[0].weight)
    return attention

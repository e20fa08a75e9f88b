"""What every codec has in common: sizes, the first-frame rule, streaming, saving, and one line for mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.codecs import Codec, CodecShape, LinearCodec, WanCodec, load_codec
from model.errors import ModelError
from tests.support.latent_models import noise_video, random_taef2, tiny_wan_vae, wave_video

CODECS: dict[str, Callable[[], Codec]] = {
    "linear": lambda: LinearCodec.fit([wave_video(seed=seed) for seed in range(3)]),
    "taef2": random_taef2,
    "wan": lambda: WanCodec(tiny_wan_vae()),
}


@pytest.fixture(params=CODECS, scope="module")
def codec(request: pytest.FixtureRequest) -> Codec:
    return CODECS[request.param]()


def test_latents_have_the_size_that_the_shape_promises(codec: Codec) -> None:
    latents = codec.encode(noise_video(frames=9, height=16, width=24, batch=2))
    assert latents.shape == (2, codec.shape.channels, 1 + 8 // codec.shape.temporal, 2, 3)
    assert latents.dtype == torch.float32
    video = codec.decode(latents)
    assert video.shape == (2, 3, 9, 16, 24)
    assert video.dtype == torch.float32
    assert float(video.abs().max()) <= 1


def test_the_first_latent_is_the_first_frame_alone(codec: Codec) -> None:
    video = noise_video(frames=9)
    whole, first = codec.encode(video), codec.encode(video[:, :, :1])
    assert first.shape[2] == 1
    assert torch.allclose(whole[:, :, :1], first, atol=1e-5)


def test_latents_know_nothing_of_later_frames(codec: Codec) -> None:
    """So a longer video has the same beginning."""
    video = noise_video(frames=13)
    assert torch.allclose(
        codec.encode(video)[:, :, : 1 + 4 // codec.shape.temporal], codec.encode(video[:, :, :5]), atol=1e-5
    )


@pytest.mark.parametrize("cuts", [[1] * 7, [3, 4], [2, 4, 1]])
def test_decoding_in_pieces_equals_decoding_the_whole_to_the_bit(codec: Codec, cuts: list[int]) -> None:
    latents = torch.randn(1, codec.shape.channels, 7, 2, 3, generator=torch.Generator().manual_seed(1))
    pieces = codec.decode_stream(iter(latents.split(cuts, dim=2)))
    assert torch.equal(torch.cat(list(pieces), dim=2), codec.decode(latents))


@pytest.mark.parametrize("cuts", [[1, 4, 4, 4], [13], [6, 7], [2, 1, 10]])
def test_encoding_in_pieces_equals_encoding_the_whole(codec: Codec, cuts: list[int]) -> None:
    video = noise_video(frames=13)
    pieces = list(codec.encode_stream(iter(video.split(cuts, dim=2))))
    whole = codec.encode(video)
    assert all(piece.shape[2] == 1 for piece in pieces)
    assert torch.allclose(torch.cat(pieces, dim=2), whole, atol=1e-5)


def test_frames_beyond_the_last_whole_latent_are_left_out(codec: Codec) -> None:
    video = noise_video(frames=13)
    longer = torch.cat([video, video[:, :, :2]], dim=2)
    n = sum(piece.shape[2] for piece in codec.encode_stream([longer]))
    assert n == (15 if codec.shape.temporal == 1 else 4)


def test_streams_do_not_disturb_each_other(codec: Codec) -> None:
    one, two = (
        torch.randn(1, codec.shape.channels, 3, 2, 2, generator=torch.Generator().manual_seed(s)) for s in (1, 2)
    )
    streams = [codec.decode_stream(iter(latents.split(1, dim=2))) for latents in (one, two)]
    pieces = [torch.cat(parts, dim=2) for parts in zip(*zip(*streams, strict=True), strict=True)]
    assert torch.equal(pieces[0], codec.decode(one))
    assert torch.equal(pieces[1], codec.decode(two))


def test_a_saved_codec_is_the_same_codec(codec: Codec, tmp_path: Path) -> None:
    codec.save(tmp_path / "codec")
    again = load_codec(tmp_path / "codec")
    assert (again.name, again.shape, again.digest) == (codec.name, codec.shape, codec.digest)
    assert json.loads((tmp_path / "codec" / "codec.json").read_text())["digest"] == codec.digest
    video = noise_video()
    assert torch.equal(again.encode(video), codec.encode(video))
    assert torch.equal(again.decode(again.encode(video)), codec.decode(codec.encode(video)))
    assert not [path for path in (tmp_path / "codec").iterdir() if path.suffix not in (".json", ".safetensors")]


def test_codecs_of_other_content_have_other_digests() -> None:
    digests = [make().digest for make in CODECS.values()]
    digests += [LinearCodec.fit([wave_video(seed=9)]).digest, WanCodec(tiny_wan_vae(seed=9)).digest]
    assert len(set(digests)) == 5
    assert CODECS["linear"]().digest == digests[0]


def test_videos_and_latents_of_a_wrong_size_are_refused(codec: Codec) -> None:
    with pytest.raises(ModelError, match="20x16 pixels is no multiple of 8"):
        codec.encode(torch.zeros(1, 3, 5, 16, 20))
    with pytest.raises(ModelError, match=r"shape \[B, 3, F, H, W\], this one has \[1, 5, 16, 16\]"):
        codec.encode(torch.zeros(1, 5, 16, 16))
    with pytest.raises(ModelError, match=r"these have \[1, 7, 2, 2, 2\]"):
        codec.decode(torch.zeros(1, 7, 2, 2, 2))


def test_a_length_that_does_not_fit_names_those_that_do() -> None:
    with pytest.raises(ModelError, match="use 77 or 81 frames"):
        CodecShape(16, 8, 4).of_video(torch.zeros(1, 3, 80, 16, 16))


def test_a_folder_without_a_codec_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no codec: codec\.json is missing$"):
        load_codec(tmp_path)
    (tmp_path / "codec.json").write_text('{"kind": "cubic"}')
    with pytest.raises(ModelError, match=r"of kind 'cubic'; known kinds are linear, taef2, wan$"):
        load_codec(tmp_path)
    (tmp_path / "codec.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_codec(tmp_path)


@pytest.mark.parametrize("kind", CODECS)
def test_a_damaged_codec_is_told_in_one_line(kind: str, tmp_path: Path) -> None:
    CODECS[kind]().save(tmp_path)
    weights = next(path for path in tmp_path.iterdir() if path.suffix == ".safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError) as caught:
        load_codec(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)

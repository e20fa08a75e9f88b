"""Tokens of a track: their times, the seams of long tracks, and silence at both ends."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from whisper.audio import log_mel_spectrogram, mel_filters

from model.audio import PAD_TOKENS, RATE, AudioTrack, LogMelAudio, WhisperAudio, chunk_spans
from model.errors import ModelError
from tests.support.latent_models import deaf_to_context, tiny_whisper

Samples = NDArray[np.float32]


def hum(seconds: float, seed: int = 0) -> Samples:
    """Noise whose loudness changes several times a second, like speech."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    marks = np.arange(0, n + 4000, 4000)
    loudness = np.interp(np.arange(n), marks, rng.uniform(0.01, 0.5, len(marks)))
    return (rng.standard_normal(n) * loudness).astype(np.float32)


def click(at_s: float, seconds: float = 3.0) -> Samples:
    samples = np.zeros(round(seconds * RATE), np.float32)
    samples[round(at_s * RATE)] = 1.0
    return samples


@pytest.mark.parametrize("seconds", [0.0, 0.01, 1.0, 3.24, 61.3])
def test_a_track_has_half_a_second_of_silence_at_both_ends(seconds: float) -> None:
    samples = hum(seconds)
    track = LogMelAudio().encode(samples)
    assert track.first == -PAD_TOKENS == -25
    last = track.first + len(track.tokens) - 1
    assert last == int(np.ceil(len(samples) / 320)) + 25
    assert track.tokens.dtype == torch.float32
    assert not track.tokens.is_inference()  # a trainer may need gradients of what it computes from them
    if seconds:
        assert (track.tokens[0] == track.tokens.min()).all()  # Whisper's floor: nothing is heard
        assert (track.tokens[-1] == track.tokens.min()).all()


def test_a_window_is_cut_by_token_numbers_and_silence_goes_on_beyond_the_ends() -> None:
    track = AudioTrack(torch.arange(60.0).unsqueeze(1))  # tokens -25 … 34
    assert track.window(0, 3)[:, 0].tolist() == [25, 26, 27]
    assert track.window(-28, 5)[:, 0].tolist() == [0, 0, 0, 0, 1]
    assert track.window(33, 4)[:, 0].tolist() == [58, 59, 59, 59]
    assert track.window(100, 2)[:, 0].tolist() == [59, 59]


@pytest.mark.parametrize("time_s", [0.0, 0.5, 1.0, 1.02, 2.98])
def test_a_click_is_heard_in_the_token_of_its_time_by_both_encoders(time_s: float) -> None:
    model = deaf_to_context(tiny_whisper())
    for encoder in (LogMelAudio(), WhisperAudio(model, "x")):
        track = encoder.encode(click(time_s))
        loudness = (track.tokens - track.tokens[0]).abs().sum(dim=1).double()
        numbers = torch.arange(len(loudness)) + track.first
        assert float((loudness * numbers).sum() / loudness.sum()) == pytest.approx(50 * time_s, abs=0.35)


def test_log_mel_stacks_the_spectra_5_ms_before_and_after_a_tokens_centre() -> None:
    samples = hum(1.0)
    track = LogMelAudio().encode(samples)
    padded = np.concatenate([np.zeros(16_000, np.float32), samples, np.zeros(16_000, np.float32)])
    for token in (0, 7, 31):
        for half, shift in enumerate((-80, 80)):
            centre = 16_000 + 320 * token + shift
            piece = torch.from_numpy(padded[centre - 200 : centre + 200])
            power = torch.fft.rfft(piece * torch.hann_window(400)).abs() ** 2
            bands = (mel_filters("cpu", 80) @ power).clamp(min=1e-10).log10() / 4 + 1
            heard = track.window(token, 1)[0, 80 * half : 80 * half + 80]
            assert torch.allclose(heard, bands, atol=1e-4)


def test_a_long_tracks_spectrogram_is_that_of_one_call() -> None:
    """Longer than the blocks of a minute in which it is computed, and loudest in the second."""
    samples = hum(70.0) * 0.01
    samples[61 * RATE : 62 * RATE] *= 100
    mel = log_mel_spectrogram(np.concatenate([np.zeros(8080, np.float32), samples, np.zeros(9600, np.float32)]), 80)
    track = LogMelAudio().encode(samples)
    assert torch.equal(track.tokens, mel.T[: 2 * len(track.tokens)].reshape(len(track.tokens), 160))


@pytest.mark.parametrize("n_tokens", [1, 1499, 1500, 1501, 2500, 2501, 9999])
def test_chunks_keep_each_token_once_and_away_from_their_inner_edges(n_tokens: int) -> None:
    spans = list(chunk_spans(n_tokens, 1500, 500))
    kept = [span.start + token for span in spans for token in range(span.keep_from, span.keep_to)]
    assert kept == list(range(n_tokens))
    assert all(span.keep_to <= 1500 for span in spans)
    assert all(span.keep_from >= 250 for span in spans[1:])
    assert all(span.keep_to <= 1250 for span in spans[:-1])


def test_a_long_tracks_tokens_are_those_of_the_chunk_in_which_they_are_central() -> None:
    """Against Whisper's own functions: one spectrogram of the track, cut into chunks that start every 20 s."""
    model, samples = tiny_whisper(), hum(65.0)
    track = WhisperAudio(model, "x").encode(samples)
    silence = np.zeros(16_000, np.float32)  # half a second of the track, half a second that is dropped
    mel = log_mel_spectrogram(np.concatenate([silence, samples, silence]), 80, padding=30 * RATE)
    heard = []
    for index, (low, high) in enumerate([(0, 1250), (250, 1250), (250, 1500)]):
        with torch.no_grad():
            heard.append(model.encoder(mel[None, :, 2000 * index : 2000 * index + 3000])[0, low:high])
    n_tokens = 50 * 65 + 51
    assert torch.allclose(track.tokens, torch.cat(heard)[25 : 25 + n_tokens], atol=1e-5)


def test_where_nothing_depends_on_context_the_grid_of_chunks_leaves_no_trace() -> None:
    encoder = WhisperAudio(deaf_to_context(tiny_whisper(n_audio_ctx=150)), "x")
    samples = hum(12.0)
    at_0, at_37 = encoder.encode(samples), encoder.encode(samples, at=37)
    assert at_0.tokens.shape == at_37.tokens.shape == (651, 16)
    assert torch.allclose(at_0.tokens, at_37.tokens, atol=1e-5)


def test_windows_are_cut_from_the_whole_track_and_know_no_edges() -> None:
    """The tokens of a window in the sound differ at its edges from those of the sound in a window."""
    encoder, samples = LogMelAudio(), hum(6.0)
    whole = encoder.encode(samples).window(100, 100)
    cut_first = encoder.encode(samples[2 * RATE : 4 * RATE]).window(0, 100)
    assert torch.allclose(whole[1:-1], cut_first[1:-1], atol=1e-4)
    assert not torch.allclose(whole[0], cut_first[0], atol=1e-2)


def test_weights_and_the_way_of_cutting_are_in_the_digest() -> None:
    one, same, other = (WhisperAudio(tiny_whisper(), digest).digest for digest in ("a", "a", "b"))
    shorter = WhisperAudio(tiny_whisper(n_audio_ctx=150), "a").digest
    assert one == same
    assert len({one, other, shorter, LogMelAudio().digest}) == 4


def test_an_encoder_says_its_name_and_width() -> None:
    assert (LogMelAudio().name, LogMelAudio().width) == ("log_mel", 160)
    encoder = WhisperAudio(tiny_whisper(), "a")
    assert (encoder.name, encoder.width) == ("whisper", 16)
    tokens = encoder.encode(hum(1)).tokens
    assert tokens.shape == (101, 16)
    assert not tokens.is_inference()


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (np.zeros((2, 100), np.float32), r"float32 \[N\], mono"),
        (np.zeros(100, np.int16), "this is int16"),
        (np.array([0, np.nan], np.float32), "no numbers"),
    ],
)
def test_other_forms_of_sound_are_refused(samples: Samples, told: str) -> None:
    for encoder in (LogMelAudio(), WhisperAudio(tiny_whisper(), "a")):
        with pytest.raises(ModelError, match=told):
            encoder.encode(samples)


def test_a_track_cannot_begin_before_its_chunk() -> None:
    with pytest.raises(ModelError, match="give 0 or more"):
        WhisperAudio(tiny_whisper(), "a").encode(hum(1), at=-1)


@pytest.fixture(scope="module")
def whisper_base() -> WhisperAudio:
    import whisper

    path = Path(os.environ.get("FUNNEL_WEIGHTS", "")) / "base.pt"
    if not path.is_file():
        pytest.skip("FUNNEL_WEIGHTS has no base.pt of openai-whisper")
    return WhisperAudio(whisper.load_model(str(path), device="cpu"), "base")


def speech(media: Path) -> Samples:
    """45 s of labelled speech by four readers."""
    parts = []
    for name in ("1688", "1998", "2033", "2609"):
        with av.open(str(media / "audio" / f"librispeech_{name}.flac")) as container:
            resampler = av.AudioResampler("flt", "mono", RATE)
            parts += [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate(parts)[: 45 * RATE]


def test_real_whisper_hears_nearly_the_same_wherever_the_grid_of_chunks_lies(
    whisper_base: WhisperAudio, media: Path
) -> None:
    samples = speech(media)
    here, there = (whisper_base.encode(samples, at=at).tokens for at in (0, 500))
    mean, std = here.mean(dim=0), here.std(dim=0)
    here, there = (here[500:2000] - mean) / std, (there[500:2000] - mean) / std
    same = torch.nn.functional.cosine_similarity(here, there, dim=1)
    other = torch.nn.functional.cosine_similarity(here, there.roll(100, dims=0), dim=1)
    assert float(same.median()) > 0.9
    assert float(other.median()) < 0.2

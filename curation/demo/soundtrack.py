"""The sound of a source is speech laid out in time, synthetic music, noise and clipping: mono float32 at 48 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, count, zip_longest

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from scipy.signal import fftconvolve, resample_poly

from curation.demo.spec import OFFSET_RATE, Line, Shot, SourceSpec
from curation.demo.speech import Speech, synthesise
from curation.demo.visemes import Viseme

Float = npt.NDArray[np.float32]

SAMPLE_RATE = 48_000
_MARGIN_S = 1.0  # speech goes on this long before and after a shot, so that shifted sound has no silent end
_LINE_GAP_S = 0.2
_SPEECH_DB, _FLOOR_DB = -20.0, -70.0
_CUT_FADE_S = 0.005
# A small, damped room has echoes from 9 ms on, 7 dB under the voice. Synthetic speech without echoes scores like noise
# with DNSMOS (overall 1.4 to 2.3 of 5); in this room the good demo sources score 2.2 to 3.0, the noisy one 1.4.
_ROOM_DELAY_S, _ROOM_DECAY_S, _ROOM_LENGTH_S, _ROOM_DB = 0.009, 0.041, 0.18, -7.0
_CHORDS_HZ = ((220.0, 261.6, 329.6), (174.6, 220.0, 261.6), (261.6, 329.6, 392.0), (196.0, 246.9, 293.7))  # Am F C G
_BEAT_S = 0.5


@dataclass(frozen=True)
class ShotVoice:
    """Holds the voices of one shot.

    Attributes:
        samples: float32 [N] at 48 kHz; begins ``_MARGIN_S`` before the shot and ends as long after it.
        visemes: Per person in view, seconds from the start of the shot.
    """

    samples: Float
    visemes: tuple[tuple[Viseme, ...], ...]


def shot_voice(shot: Shot) -> ShotVoice:
    """Speak the lines of a shot.

    Raises:
        SpeechError: ``espeakng_loader`` is not installed, or a voice is unknown.
    """
    n = round((shot.duration_s + 2 * _MARGIN_S) * SAMPLE_RATE)
    samples, visemes = _speak_script(_in_turn(shot.lines, shot.second_lines), n)
    if shot.heard is not None:
        samples, _ = _speak_script(_in_turn(shot.heard, ()), n)
    return ShotVoice(_in_room(samples), visemes)


def soundtrack(spec: SourceSpec, voices: tuple[ShotVoice, ...]) -> Float:
    """Make the finished sound of a source, as long as its picture: float32 [n_frames / fps * 48000], -1 to 1."""
    margin = round(_MARGIN_S * SAMPLE_RATE)
    total = round(spec.n_frames / spec.fps * SAMPLE_RATE)
    track = np.zeros(total + 2 * margin, np.float32)
    for index, voice in enumerate(voices):
        at = round(spec.starts[index] / spec.fps * SAMPLE_RATE)
        track[at : at + len(voice.samples)] += _faded(spec, index, voice.samples, margin)[: len(track) - at]
    shift = round(spec.offset_frames / OFFSET_RATE * SAMPLE_RATE)
    sound = track[margin - shift : margin - shift + total]

    random = np.random.default_rng(spec.seed)
    if spec.music_db is not None:
        sound = sound + _at_level(music(total, random), spec.music_db)
    noise = random.standard_normal(total).astype(np.float32)
    sound = sound + _at_level(noise, _FLOOR_DB if spec.noise_db is None else spec.noise_db)
    return np.clip(sound * _gain(spec.clip_gain_db), -1, 1).astype(np.float32)


def music(n_samples: int, random: np.random.Generator) -> Float:
    """Make chords with a bass, a kick and a hi-hat: float32 [n_samples] at 48 kHz, no voice in it."""
    seconds = np.arange(n_samples) / SAMPLE_RATE
    beat = (seconds / _BEAT_S).astype(int)
    in_beat_s = seconds - beat * _BEAT_S
    order = random.permutation(len(_CHORDS_HZ))
    mix = np.zeros(n_samples)
    for number, chord in enumerate(order):
        playing = gaussian_filter1d(((beat // 4) % len(order) == number).astype(np.float32), 0.01 * SAMPLE_RATE)
        for note in (_CHORDS_HZ[chord][0] / 2, *_CHORDS_HZ[chord]):
            phase = 2 * np.pi * note * seconds
            mix += playing * (np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase)) * 0.15
    kick = np.sin(2 * np.pi * (50 * in_beat_s + 4 * (1 - np.exp(-30 * in_beat_s)))) * np.exp(-12 * in_beat_s)
    off_beat_s = (seconds + _BEAT_S / 2) % _BEAT_S
    hat = np.diff(random.standard_normal(n_samples + 1)) * np.exp(-60 * off_beat_s)
    return (mix + 0.6 * kick + 0.12 * hat).astype(np.float32)


def _in_room(samples: Float) -> Float:
    """Add the echoes of a small room; the direct sound is not delayed."""
    delay, length = (round(s * SAMPLE_RATE) for s in (_ROOM_DELAY_S, _ROOM_LENGTH_S))
    echoes = np.random.default_rng(0).standard_normal(length) * np.exp(
        -np.arange(length) / (_ROOM_DECAY_S * SAMPLE_RATE)
    )
    echoes *= _gain(_ROOM_DB) / np.sqrt(np.sum(echoes**2))
    response = np.concatenate([[1.0], np.zeros(delay - 1), echoes])
    return fftconvolve(samples, response)[: len(samples)].astype(np.float32)


def _in_turn(first: tuple[Line, ...], second: tuple[Line, ...]) -> list[tuple[int, Line]]:
    """Return (person, line) in the order of speaking: the two take turns."""
    pairs = zip_longest(((0, line) for line in first), ((1, line) for line in second))
    return [turn for turn in chain.from_iterable(pairs) if turn is not None]


def _speak_script(script: list[tuple[int, Line]], n_samples: int) -> tuple[Float, tuple[tuple[Viseme, ...], ...]]:
    """Return samples from ``_MARGIN_S`` before the shot on, and the visemes of both persons on the shot's clock."""
    track = np.zeros(n_samples, np.float32)
    visemes: tuple[list[Viseme], list[Viseme]] = ([], [])
    at = 0
    for person, speech, samples in _endless(script):
        if at >= n_samples:
            break
        part = samples[: n_samples - at]
        track[at : at + len(part)] = part
        start_s = at / SAMPLE_RATE - _MARGIN_S
        visemes[person].extend(replace(v, start_s=v.start_s + start_s, end_s=v.end_s + start_s) for v in speech.visemes)
        at += len(samples) + round(_LINE_GAP_S * SAMPLE_RATE)
    return track, (tuple(visemes[0]), tuple(visemes[1]))


def _endless(script: list[tuple[int, Line]]) -> Iterator[tuple[int, Speech, Float]]:
    spoken: list[tuple[int, Speech, Float]] = []
    for index in count():
        if not script:
            return
        if index < len(script):
            person, line = script[index]
            speech = synthesise(line.text, line.voice, line.rate, line.pitch)
            samples = resample_poly(speech.samples, SAMPLE_RATE, speech.sample_rate).astype(np.float32)
            if not len(samples):
                raise ValueError(f"nothing to say in {line.text!r} with voice {line.voice!r}")
            spoken.append((person, speech, _at_level(samples, _SPEECH_DB)))
        yield spoken[index % len(script)]


def _faded(spec: SourceSpec, index: int, samples: Float, margin: int) -> Float:
    """Fade a shot's sound at cuts and across dissolves.

    Its margins are kept only at the ends of the file.
    """
    samples = samples.copy()
    shot_end = len(samples) - margin
    if index > 0:
        length = round(max(spec.overlap_before(index) / spec.fps, _CUT_FADE_S) * SAMPLE_RATE)
        samples[:margin] = 0
        samples[margin : margin + length] *= np.linspace(0, 1, length, dtype=np.float32)
    if index < len(spec.shots) - 1:
        length = round(max(spec.overlap_before(index + 1) / spec.fps, _CUT_FADE_S) * SAMPLE_RATE)
        samples[shot_end:] = 0
        samples[shot_end - length : shot_end] *= np.linspace(1, 0, length, dtype=np.float32)
    return samples


def _at_level(samples: Float, level_db: float) -> Float:
    """Scale samples to an RMS level in dBFS."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return (samples * np.float32(_gain(level_db) / max(rms, 1e-9))).astype(np.float32)


def _gain(level_db: float) -> float:
    return float(10 ** (level_db / 20))

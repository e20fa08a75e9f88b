"""The sound that drives a portrait is read here: as speech for the audio encoder, and as it is for the film.

Any format, rate and number of channels; edit lists and delayed tracks are honoured (catalogs/media/sound_stream.py).
Speech is what training heard: the mean of the channels at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catalogs.errors import UserError
from catalogs.media.film import WRITTEN_RATE
from catalogs.media.resampled import resampled
from catalogs.media.sound import SPEECH_RATE
from catalogs.media.sound_stream import SoundStream
from inference.media_errors import told_of

Float = npt.NDArray[np.float32]

SILENT = 1e-4  #: -80 dB of full scale: no track whose loudest sample is lower has a voice
_FAINT = 10 ** (-40 / 20)  # loudest sample
_CLIPPED_SHARE = 0.001
_SHORTEST_S = 0.04
_MISSING_S, _MISSING_SHARE = 0.5, 0.9  # a little less than declared is usual


@dataclass(frozen=True, eq=False)
class Voice:
    """Holds the sound that drives a portrait.

    Attributes:
        path: where it was read.
        samples: float32 [N], mono, 16 kHz, nominally -1..1; sample 0 is the file's 0:00.
        duration_s: length of the sound.
        channels: 1 or 2: what the film gets of it.
        warnings: what its owner should know, a line each.
    """

    path: Path
    samples: Float
    duration_s: float
    channels: int = 1
    warnings: tuple[str, ...] = ()

    def blocks(self) -> Iterator[Float]:
        """Read the sound again as it is, for the film: float32 [channels, n] each at 48 kHz, sample 0 at 0:00.

        More than two channels are mixed to stereo. Nothing is read before the first block is asked for.

        Raises:
            UserError: the file has gone, or does not decode any more.
        """
        with told_of(self.path, "sound"):
            stream = SoundStream(str(self.path), layout="mono" if self.channels == 1 else "stereo")
            yield from resampled(stream, stream.rate, WRITTEN_RATE)


def read_voice(path: Path) -> Voice:
    """Read the sound of a file, whole.

    Args:
        path: a sound file, or a video with a sound track; of several tracks the first is read.

    Raises:
        UserError: there is no such file, it has no sound, is silent, or does not decode.
    """
    with told_of(path, "sound"):
        stream = SoundStream(str(path))
        mono = (block.mean(axis=0, keepdims=True) for block in stream)
        blocks = list(resampled(mono, stream.rate, SPEECH_RATE))
    samples = np.ascontiguousarray(np.concatenate([np.zeros((1, 0), np.float32), *blocks], axis=1)[0], np.float32)
    _check(path, samples, stream)
    return Voice(path, samples, len(samples) / SPEECH_RATE, min(stream.stored_channels, 2), _warnings(samples, stream))


def _check(path: Path, samples: Float, stream: SoundStream) -> None:
    if stream.lost > stream.decoded:
        raise UserError(f"sound {path}: it is damaged; only {stream.decoded} parts of it decode, {stream.lost} do not")
    if len(samples) < _SHORTEST_S * SPEECH_RATE:
        raise UserError(f"sound {path}: it is {len(samples) / SPEECH_RATE:.3f} s long; give at least {_SHORTEST_S} s")
    if not np.isfinite(samples).all():
        raise UserError(f"sound {path}: it holds values that are no numbers; export it again")
    if np.abs(samples).max() < SILENT:
        raise UserError(f"sound {path}: it is silent; check the recording, and which of its tracks is the first")


def _warnings(samples: Float, stream: SoundStream) -> tuple[str, ...]:
    found, peak = [], float(np.abs(samples).max())
    if stream.lost:
        found.append(f"parts of the sound do not decode ({stream.lost}); there the voice is silent")
    length_s = len(samples) / SPEECH_RATE
    if stream.declared_s and length_s < min(stream.declared_s - _MISSING_S, _MISSING_SHARE * stream.declared_s):
        found.append(f"the file says {stream.declared_s:.2f} s of sound and holds {length_s:.2f} s; is it complete?")
    if stream.tracks > 1:
        found.append(f"the file has {stream.tracks} sound tracks; the first is used")
    if peak < _FAINT:
        found.append(f"the sound is faint: its loudest sample is {20 * np.log10(peak):.0f} dB of full scale")
    if float(np.mean(np.abs(samples) >= 0.999)) > _CLIPPED_SHARE:
        found.append("the sound is clipped: record it with less gain")
    return tuple(found)


def n_frames(duration_s: float, fps: float) -> int:
    """Return how many pictures a sound of that length gets: round(duration · fps), and one at least."""
    return max(1, round(duration_s * fps))


def latents_needed(frames: int, temporal: int) -> int:
    """Return the fewest latents whose pictures are at least ``frames``: the first is one picture, others ``temporal``.

    The pictures beyond ``frames`` are decoded and not written.
    """
    return 1 + ceil((frames - 1) / temporal)

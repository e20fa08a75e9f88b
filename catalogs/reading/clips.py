"""A row becomes a clip to learn from: pictures at even times, and the sound of the same moments.

So a file of 24, 25 or 30 pictures a second, or one whose pictures come at uneven times, is read at any rate, and
picture and sound start at the same instant wherever in the clip that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalogs.media import ClipSpan, MediaLimits, open_media
from catalogs.media.container import Deadline
from catalogs.media.sound import SPEECH_RATE, read_sound, to_speech
from catalogs.reading.form import ClipForm
from catalogs.reading.pictures import read_pictures
from catalogs.reading.rows import SnapshotReader

_AROUND_S = 0.05  # sound on both sides that the change of its rate looks at


@dataclass(frozen=True)
class Clip:
    """Holds one item to learn from.

    Attributes:
        row: the wanted columns of the snapshot's row.
        frames: uint8 [T, 3, H, W] RGB; picture k is on screen ``start_s + k / fps`` seconds after the clip's start.
        sound: float32 [round(T * 16000 / fps)], 16 kHz, mono; sample 0 is at the time of picture 0. Zeros where the
            file has no sound track.
        has_sound: whether it has one.
        fps: pictures per second.
        start_s: time of picture 0 in the clip, seconds.
    """

    clip_id: str
    row: Mapping[str, Any]
    frames: np.ndarray
    sound: np.ndarray
    has_sound: bool
    fps: float
    start_s: float


def read_clip(
    reader: SnapshotReader,
    number: int,
    form: ClipForm,
    seed: int = 0,
    epoch: int = 0,
    limits: MediaLimits = MediaLimits(),
) -> Clip:
    """Read the clip of one row of a snapshot.

    Args:
        seed, epoch: what a ``random`` window depends on, beside the clip's id.

    Raises:
        ClipError: the file is gone, another one or broken, or the clip is too short.
    """
    span = reader.span(number)
    first, count = form.window(span.duration_s, seed, epoch, span.clip_id)
    frames = read_pictures(span, first, count, form, limits)
    samples = round(count * SPEECH_RATE / form.fps)
    sound = read_speech(span, first / form.fps, samples, limits)
    silence = np.zeros(samples, np.float32)
    return Clip(
        clip_id=span.clip_id,
        row=reader.row(number),
        frames=frames,
        sound=silence if sound is None else sound,
        has_sound=sound is not None,
        fps=form.fps,
        start_s=first / form.fps,
    )


def read_speech(span: ClipSpan, start_s: float, samples: int, limits: MediaLimits = MediaLimits()) -> np.ndarray | None:
    """Read mono sound at 16 kHz from ``start_s`` seconds of a clip on.

    Returns:
        float32 [samples], silence where the track has none; None if the file has no sound track.

    Raises:
        ClipError: corrupt, timeout and what opening raises.
    """
    begin_s = max(0.0, start_s - _AROUND_S)
    end_s = min(span.duration_s, start_s + samples / SPEECH_RATE + _AROUND_S)
    with open_media(span.path, limits, expected=span.expected) as container:
        sound = read_sound(container, span.start_s + begin_s, span.start_s + end_s, Deadline(limits))
    if sound is None:
        return None
    skipped = round((start_s - begin_s) * SPEECH_RATE)
    heard = to_speech(sound)[skipped : skipped + samples]
    return np.pad(heard, (0, samples - len(heard)))


__all__ = ["Clip", "ClipForm", "read_clip", "read_pictures", "read_speech"]

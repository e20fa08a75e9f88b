"""This module says what the model is told of a window: pictures, text, and the sound around it.

A track holds all that is known of a whole video. A window's inputs are cut from it with the arithmetic of the training
(``window_condition``, ``audio_window``), so that the model meets nothing that it was not trained on: the window at the
start of a video knows its first picture, later ones see the reference image as ``reference_known`` in slot 0.

A branch of guidance leaves some of it out:

========== ====================================================================================
``audio``  the audio branch adds exactly 0 (gate 0)
``text``   the caption is the empty one
``image``  no reference image: slot 0 is grey and unknown, CLIP's tokens are 0
``video``  no source video: the reference image, then grey, all of it unknown (image animation)
========== ====================================================================================

A training leaves image and video out together; a window with a video and without an image is defined, but the model has
not met it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor

from inference.windows import Window
from model.audio import AudioTrack
from model.conditioning import ConditionSource, window_condition
from model.errors import ModelError
from model.positions import audio_window, latent_positions, window_tokens

Task = Literal["image", "video"]  #: image animation, or video editing

AUDIO, TEXT, IMAGE, VIDEO = "audio", "text", "image", "video"
CONDITIONS = frozenset({AUDIO, TEXT, IMAGE, VIDEO})  #: what a branch of guidance may leave out


@dataclass(frozen=True, eq=False)
class Track:
    """Holds everything that the model is told of a whole video, on the CPU.

    Attributes:
        image: latents [1, C, f, h, w] of the reference image as first frame, followed by grey frames; f latents are the
            longest window.
        blank: latents [1, C, f, h, w] of a grey video (``blank_latents``).
        audio: tokens of the whole sound.
        text: of the caption [1, N, D].
        null_text: of the empty caption [1, N, D].
        fps: frames per second of the video.
        temporal: frames per latent of the codec.
        reference_known: what slot 0 of a later window has in the known channels (``ModelFacts.reference_known``).
        audio_margin: tokens heard before the first and after the last latent (``ModelFacts.audio_margin``).
        video: latents [1, C, L, h, w] of the source video with grey in its hole; None without one.
        hole: what of it is to be painted, folded, [1, t, L, h, w], 1 in it; given with ``video``.
        clip_image: CLIP's tokens of the reference image [1, 257, 1280], for models with a branch for them.
        given: latent 0 of the video [1, C, 1, h, w], where it is known and shall stay as it is.

    Raises:
        ModelError: the tensors do not fit each other.
    """

    image: Tensor
    blank: Tensor
    audio: AudioTrack
    text: Tensor
    null_text: Tensor
    fps: float
    temporal: int
    reference_known: float = 0.5
    audio_margin: float = 10.0
    video: Tensor | None = None
    hole: Tensor | None = None
    clip_image: Tensor | None = None
    given: Tensor | None = None

    def __post_init__(self) -> None:
        batch, channels, _, *cells = self.image.shape
        _check("blank", self.blank, [batch, channels, self.image.shape[2], *cells])
        _check("null_text", self.null_text, list(self.text.shape))
        if (self.video is None) != (self.hole is None):
            raise ModelError("a track has a source video and its hole, or neither")
        if self.video is not None and self.hole is not None:
            latents = self.video.shape[2]
            _check("video", self.video, [batch, channels, latents, *cells])
            _check("hole", self.hole, [batch, self.temporal, latents, *cells])
        if self.given is not None:
            _check("given", self.given, [batch, channels, 1, *cells])

    def kept(self, first: int, latents: Tensor) -> Tensor:
        """The method puts latent 0 back as it was given, as the last thing after sampling.

        Args:
            first: where in the video the latents begin.
            latents: finished latents [1, C, n, h, w].

        Returns:
            The latents; a changed copy where ``first`` is 0 and the track has ``given``.
        """
        if first or self.given is None:
            return latents
        return torch.cat([self.given.to(latents), latents[:, :, 1:]], dim=2)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Holds what the transformer is told beside noisy latents and noise level, of B windows; positions are float64.

    Attributes:
        condition: known mask and condition latents [B, t + C, L, h, w].
        text: [B, N, D].
        image: CLIP's tokens [B, 257, 1280], or None.
        audio: tokens around the window [B, A, D].
        audio_positions: of the tokens [B, A], in tokens from the window's first.
        latent_positions: of the latents [B, L], on the same scale.
        audio_gate: [B], 0 where the sound is left out.
    """

    condition: Tensor
    text: Tensor
    image: Tensor | None
    audio: Tensor
    audio_positions: Tensor
    latent_positions: Tensor
    audio_gate: Tensor

    @property
    def hears(self) -> bool:
        """Whether any of the windows is told of its sound."""
        return bool(self.audio_gate.any())

    def to(self, device: torch.device | str) -> Inputs:
        """The method returns the same inputs on a device."""
        return _each([self], lambda tensors: tensors[0].to(device))

    @classmethod
    def joined(cls, parts: Sequence[Inputs]) -> Inputs:
        """The function puts inputs of the same shapes into one batch, in their order."""
        return parts[0] if len(parts) == 1 else _each(parts, torch.cat)


def window_inputs(track: Track, window: Window, *, task: Task, drops: frozenset[str] = frozenset()) -> Inputs:
    """A window is told this much of its track.

    Args:
        track: of the whole video.
        window: at most as long as ``track.image``; a shorter one, at the end of a video, gets less of everything.
        task: ``video`` gives the window of the source video; ``image`` gives the reference image only.
        drops: what is left out: ``audio``, ``text``, ``image``, ``video``.

    Returns:
        Inputs of one window (B = 1), on the CPU.

    Raises:
        ModelError: the window is longer than the track's images, reaches beyond its source video, or is to be told of
            a video that is not there; or ``drops`` names something else.
    """
    if unknown := drops - CONDITIONS:
        raise ModelError(f"{', '.join(sorted(unknown))} cannot be left out: there are {', '.join(sorted(CONDITIONS))}")
    image = track.clip_image
    if image is not None and IMAGE in drops:
        image = torch.zeros_like(image)
    return Inputs(
        condition=_pictures(track, window, task, drops),
        text=(track.null_text if TEXT in drops else track.text).float(),
        image=None if image is None else image.float(),
        audio_gate=torch.full((len(track.image),), 0.0 if AUDIO in drops else 1.0),
        **_sound(track, window),
    )


def _pictures(track: Track, window: Window, task: Task, drops: frozenset[str]) -> Tensor:
    """Return the picture condition [1, t + C, L, h, w] of a window."""
    latents = len(window)
    if not 0 < latents <= track.image.shape[2]:
        raise ModelError(f"a window of {latents} latents: the track has pictures for 1 to {track.image.shape[2]}")
    image = track.image[:, :, :latents].float()
    video, hole = image, torch.ones(len(image), track.temporal, *image.shape[2:])
    if task == "video":
        if track.video is None or track.hole is None:
            raise ModelError("a window for video editing, and the track has no source video")
        if window.stop > track.video.shape[2]:
            raise ModelError(f"latents up to {window.stop} of a source video that has {track.video.shape[2]}")
        span = slice(window.start, window.stop)
        video, hole = track.video[:, :, span].float(), track.hole[:, :, span].float()
    return window_condition(
        ConditionSource(hole=hole, video=video, image=image, blank=track.blank[:, :, :latents].float()),
        has_image=IMAGE not in drops,
        has_video=task == "video" and VIDEO not in drops,
        middle=window.start > 0,
        reference_known=track.reference_known,
    )


def _sound(track: Track, window: Window) -> dict[str, Tensor]:
    """Return the tokens around a window with their positions, counted from the first of them."""
    latents = len(window)
    positions = latent_positions(latents, track.fps, track.temporal, first=window.start)
    first, _ = audio_window(positions, track.audio_margin)
    n = window_tokens(latents, track.fps, track.temporal, track.audio_margin)
    return {
        "audio": track.audio.window(first, n)[None].float(),
        "audio_positions": torch.arange(n, dtype=torch.float64)[None],
        "latent_positions": (positions - first)[None],
    }


def _each(parts: Sequence[Inputs], change: Callable[[list[Tensor]], Tensor]) -> Inputs:
    made: dict[str, Any] = {}
    for field in fields(Inputs):
        tensors = [getattr(part, field.name) for part in parts]
        made[field.name] = None if tensors[0] is None else change(tensors)
    return Inputs(**made)


def _check(name: str, tensor: Tensor, shape: list[int]) -> None:
    if list(tensor.shape) != shape:
        raise ModelError(f"a track's {name} has the shape {list(tensor.shape)} beside an image that wants {shape}")

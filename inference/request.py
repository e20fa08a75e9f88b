"""A generation is asked for, watched and answered in these words; the command line and the server share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Request:
    """Says what a user wants to see, and how it is to be made.

    Attributes:
        image: the portrait: a picture, or a video whose first frame is taken; None takes the first of ``video``.
        audio: what is spoken: any file with sound; it decides the length.
        video: a source video to edit: its surroundings of the lower face are kept. None animates the portrait.
        prompt: a description; empty for none.
        seconds: make only the beginning of the film, so long; None makes all of it.
        lipsync: with ``video``: pixels outside the mask stay those of the source.
        face: which of several faces, from 1, from the left; None takes the largest, and says so.
        force: go on although no face is found.
        seed: of the noise.
        steps: sampling steps; None takes the model's own number.
        scheduler: a deterministic flow scheduler (inference/schedules.py).
        audio_scale, text_scale: guidance as inference/guidance.py reads it; None takes the model's own.
        join: how windows are put together: ``blf``, or a control for comparison (inference/joins.py).
        order: in which evaluations are made; every order gives the same video (inference/orders.py).
        window: latents of a window; None takes the length of the training's windows.
        overlap: latents that neighbouring windows share; None takes a quarter of the window.
        hybrid_steps: with ``video``: after so many steps the model sees the first frame only; None for never.
        cache: TeaCache's threshold alpha; 0 for no cache.
        cache_keeps: what the cache keeps of a computed step (``inference/caches/teacache.py``).
        cache_on_host: keep it in the host's memory.
        cache_first, cache_last: steps at the start and the end that are always computed.
        colour: strength of the colour unification, 0 (none) to 1.
        scale: the film's pictures are so many times larger than the model's, in height and width.
        batched: whether the branches of guidance are asked as one batch: faster on a GPU, for more memory.
    """

    audio: Path
    image: Path | None = None
    video: Path | None = None
    prompt: str = ""
    seconds: float | None = None
    lipsync: bool = False
    face: int | None = None
    force: bool = False
    seed: int = 0
    steps: int | None = None
    scheduler: str = "euler"
    audio_scale: str | None = None
    text_scale: str | None = None
    join: str = "blf"
    order: str = "cone"
    window: int | None = None
    overlap: int | None = None
    hybrid_steps: int | None = None
    cache: float = 0.0
    cache_keeps: Literal["residual", "velocity"] = "residual"
    cache_on_host: bool = False
    cache_first: int = 1
    cache_last: int = 1
    colour: float = 0.0
    scale: int = 1
    batched: bool = False


@dataclass(frozen=True)
class Progress:
    """Says how far a generation is.

    Attributes:
        phase: ``reading``, ``sampling`` or ``writing``.
        done: evaluations of windows that are made.
        total: evaluations of windows in all.
        eta_s: seconds that are left, about; None while nothing is known.
        frames_written: pictures that are in the film.
    """

    phase: str
    done: int
    total: int
    eta_s: float | None
    frames_written: int


@dataclass(frozen=True)
class Result:
    """Says what was made.

    Attributes:
        path: the film.
        frames: pictures in it.
        fps: pictures per second.
        duration_s: of the sound, in seconds.
        seconds: that it took, without what an earlier process had done.
        calls: samples that the network computed, of all branches, in this process.
        notes: what the user should know, such as which of two faces was taken.
        facts: everything that must be known to make it again.
    """

    path: Path
    frames: int
    fps: float
    duration_s: float
    seconds: float
    calls: int
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


class Stopped(Exception):
    """Says that a generation was stopped when it was asked to; what it has is kept, and the same request goes on."""


OnProgress = Callable[[Progress], None]
ShouldStop = Callable[[], bool]

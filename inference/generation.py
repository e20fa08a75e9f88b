"""One generation runs here: latents are sampled and kept, decoded and written, and can be gone on with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from inference.colour import ColourUnifier
from inference.film import FilmWriter
from inference.fusion import FusionState
from inference.joins import joined
from inference.noise import noise
from inference.parallel.windows import SharedFusion
from inference.portrait import Portrait
from inference.request import OnProgress, Progress, Result, ShouldStop, Stopped
from inference.told import Pixels, pixels_of
from inference.windows import Window
from inference.work import Work
from weights.registry import file_sha256

if TYPE_CHECKING:
    from inference.pipeline import Pipeline, Prepared

_GO_ON, _SAVE, _STOP = range(3)  #: what a process wishes after each tick; the largest of all counts


class Generation:
    """Makes one film.

    Args:
        pipeline: the model.
        prepared: what was read, and the plan.
        out: the film.
        progress, stop: see ``Pipeline.generate``.
        state_every_s: seconds between states.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        prepared: Prepared,
        out: Path,
        progress: OnProgress,
        stop: ShouldStop,
        state_every_s: float,
    ) -> None:
        self._pipeline, self._prepared, self._plan = pipeline, prepared, prepared.plan
        self._out, self._progress, self._stop, self._state_every_s = out, progress, stop, state_every_s
        self._track = pipeline.track(prepared)
        self._predictor = pipeline.predictor(prepared, self._track)
        portrait = prepared.portrait
        self._mouth = _lower_half(portrait)
        self._colours = ColourUnifier(portrait.picture, self._mouth, prepared.request.colour)
        self._read: Callable[[int, int], Pixels] | None = None
        self._evaluated = self._frames = 0
        self._began_at, self._began_with = time.monotonic(), 0

    def run(self) -> Result:
        """The film is made; see ``Pipeline.generate``."""
        began = time.monotonic()
        facts = self._facts()
        if self._pipeline.group.is_first:
            self._write(facts)
        else:
            self._help()
        self._pipeline.rest()
        return Result(
            path=self._out,
            frames=self._frames,
            fps=self._plan.fps,
            duration_s=self._prepared.voice.duration_s,
            seconds=time.monotonic() - began,
            calls=self._predictor.calls,
            notes=self._prepared.notes,
            facts=facts,
        )

    def _write(self, facts: dict[str, Any]) -> None:
        voice = self._prepared.voice
        with Work(self._out, facts, self._state_every_s) as work:
            with FilmWriter(self._out, self._plan.fps, voice.blocks(), voice.channels) as film:
                for pictures in self._pictures(self._latents(work)):
                    film.write(pictures)
                    self._frames = film.frames
                self._tell("writing")
            work.remove()

    def _help(self) -> None:
        """Sample this process' share of the windows; the first process writes the film."""
        if self._plan.request.join != "blf":
            return
        fusion = self._fusion(None, {})
        while not fusion.is_done:
            fusion.advance()
            wish = fusion.agreed(_STOP if self._stop() else _GO_ON)
            if wish != _GO_ON:
                fusion.state()
                fusion.gathered(self._predictor.state())
            if wish == _STOP:
                raise Stopped

    def _fusion(self, state: FusionState | None, kept: Mapping[str, Tensor]) -> SharedFusion:
        fusion = SharedFusion(
            self._plan.layout,
            self._plan.request.order,
            self._plan.schedule,
            self._predictor,
            self._noise,
            self._pipeline.group,
            state,
        )
        self._predictor.restore(fusion.shared_out(kept))
        self._evaluated = self._began_with = fusion.evaluated
        self._began_at = time.monotonic()
        return fusion

    def _latents(self, work: Work) -> Iterator[Tensor]:
        """Yield latents [1, C, n, h, w] in temporal order: those that were finished before, then new ones."""
        at = 0
        for latents in self._sampled(work):
            yield self._track.kept(at, latents).to(self._pipeline.device)
            at += latents.shape[2]

    def _sampled(self, work: Work) -> Iterator[Tensor]:
        if self._plan.request.join != "blf":
            plan = self._plan
            yield from (
                latents
                for _, latents in joined(
                    plan.request.join, plan.layout, plan.request.order, plan.schedule, self._velocity, self._noise
                )
            )
            return
        fusion = self._fusion(work.state, work.kept)
        yield from work.finished()
        self._began_at = time.monotonic()
        while not fusion.is_done:
            fusion.advance()
            self._evaluated = fusion.evaluated
            self._tell("sampling")
            for segment, latents in fusion.finished():
                work.keep_segment(segment.index, latents)
                yield latents
            wish = fusion.agreed(_STOP if self._stop() else _SAVE if work.is_due() else _GO_ON)
            if wish != _GO_ON:
                work.keep_state(fusion.state(), fusion.gathered(self._predictor.state()))
            if wish == _STOP:
                raise Stopped

    def _velocity(self, step: int, window: Window, latents: Tensor) -> Tensor:
        if self._stop():
            raise Stopped
        velocity = self._predictor(step, window, latents)
        self._evaluated += 1
        self._tell("sampling")
        return velocity

    def _noise(self, first: int, n: int) -> Tensor:
        channels, _, *cells = self._track.image.shape[1:]
        drawn = noise(self._plan.request.seed, first, n, (channels, cells[0], cells[1]))
        return drawn.to(self._pipeline.device)

    def _pictures(self, latents: Iterator[Tensor]) -> Iterator[Pixels]:
        """Decode latents as they come, finish the pictures, and leave out what is beyond the film's end."""
        first = 0
        for video in self._pipeline.model.codec.decode_stream(latents):
            pictures = pixels_of(video)[: self._plan.frames - first]
            if len(pictures):
                yield self._enlarged(self._pasted(self._unified(pictures, first), first))
            first += len(pictures)

    def _unified(self, pictures: Pixels, first: int) -> Pixels:
        """Bring the pictures to the portrait's colours; what is painted over again and again is not measured."""
        source, n = self._prepared.source, len(pictures)
        hole = None if source is None else source.hole(first, first + n)[0, 0].astype(bool)
        return self._colours(pictures, hole if hole is not None else self._mouth)

    def _pasted(self, pictures: Pixels, first: int) -> Pixels:
        """Lay the lower face into the source's own pictures, if only that is wanted."""
        source = self._prepared.source
        if source is None or not self._plan.request.lipsync:
            return pictures
        if self._read is None:
            self._read = source.in_portions()
        return source.paste(self._read(first, first + len(pictures)), pictures, first)

    def _enlarged(self, pictures: Pixels) -> Pixels:
        scale = self._plan.request.scale
        if scale == 1:
            return pictures
        size = pictures.shape[2] * scale, pictures.shape[1] * scale
        return np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC) for picture in pictures])

    def _tell(self, phase: str) -> None:
        done = self._evaluated - self._began_with
        spent = time.monotonic() - self._began_at
        left = self._plan.evaluations - self._evaluated
        eta_s = spent / done * left if done else None
        self._progress(Progress(phase, self._evaluated, self._plan.evaluations, eta_s, self._frames))

    def _facts(self) -> dict[str, Any]:
        """Return everything that decides the film: a state of other facts is not gone on from."""
        request = self._plan.request
        files = {
            name: file_sha256(path)
            for name, path in (("image", request.image), ("audio", request.audio), ("video", request.video))
            if path is not None
        }
        return {
            "model": self._pipeline.identity(with_cache=request.cache > 0),
            "files": files,
            **self._plan.facts(),
            "order": request.order,
            "seen": self._prepared.digest,
        }


def _lower_half(portrait: Portrait) -> npt.NDArray[np.bool_] | None:
    """Return where the mouth moves in a portrait, bool [H, W]: the lower half of the face's box; None without a box."""
    if portrait.box is None:
        return None
    x0, y0, x1, y1 = (round(float(value)) for value in portrait.box)
    mask = np.zeros(portrait.picture.shape[:2], bool)
    mask[max(0, (y0 + y1) // 2) : max(0, y1), max(0, x0) : max(0, x1)] = True
    return mask

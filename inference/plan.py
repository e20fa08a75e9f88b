"""A generation is planned before anything is computed: how many pictures, which windows, which steps, at what cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from catalogs.errors import UserError
from inference.caches.coefficients import PUBLISHED, Coefficients
from inference.caches.teacache import TeaCache, windows_alive
from inference.guidance import Guidance, Scale
from inference.joins import layout_for
from inference.orders import Residency, check_order, evaluations, resident
from inference.request import Request
from inference.schedules import Schedule
from inference.steps import Step, plan_steps
from inference.voice import latents_needed, n_frames
from inference.windows import Layout, Window
from model.facts import ModelFacts
from model.positions import window_tokens
from model.transformer import AudioWanTransformer

_OVERLAP_SHARE = 4  #: a window overlaps the next by a quarter, as 5 of 21 latents


@dataclass(frozen=True)
class Plan:
    """Holds what a generation will do; ``make_plan`` makes it.

    Attributes:
        request: what was asked for.
        fps: pictures per second of the model.
        frames: pictures of the film.
        layout: windows of the latents; the last latent may have pictures beyond the film's end.
        schedule: noise levels.
        guidance: how strongly sound and text are followed.
        cache: None computes every step.
        steps: what happens in every step.
    """

    request: Request
    fps: float
    frames: int
    layout: Layout
    schedule: Schedule
    guidance: Guidance
    cache: TeaCache | None
    steps: tuple[Step, ...]

    @property
    def evaluations(self) -> int:
        """The sampler asks for so many velocities of windows."""
        return len(self.layout.windows) * self.schedule.steps

    @property
    def calls(self) -> int:
        """A window goes through the model's blocks so often, all branches counted."""
        return len(self.layout.windows) * sum(step.evaluations for step in self.steps)

    @cached_property
    def residency(self) -> Residency:
        """The most latents that are alive at once, and the evaluations before the first picture."""
        order = self.request.order if self.request.join in ("blf", "overwrite", "none") else "sweep"
        return resident(order, self.layout, self.schedule.steps)

    @property
    def most_branches(self) -> int:
        """The most branches that a step asks."""
        return max(len(step.branches) for step in self.steps)

    def windows_kept(self) -> int:
        """The cache keeps something of so many windows at once, at most."""
        if self.cache is None:
            return 0
        order = evaluations(self.request.order, len(self.layout.windows), self.schedule.steps)
        return windows_alive(order, [step.computed for step in self.steps])

    def window_lengths(self) -> Counter[int]:
        """How many windows there are of each length in latents: all but the last have one."""
        return Counter(map(len, self.layout.windows))

    def audio_tokens(self, window: Window, temporal: int, margin: float) -> int:
        """A window hears so many audio tokens."""
        return window_tokens(len(window), self.fps, temporal, margin)

    def facts(self) -> dict[str, Any]:
        """Everything that decides the numbers, beside the model and the files."""
        request = self.request
        return {
            "seed": request.seed,
            "prompt": request.prompt,
            "frames": self.frames,
            "fps": self.fps,
            "window": self.layout.length,
            "overlap": self.layout.overlap,
            "windows": len(self.layout.windows),
            "join": request.join,
            "scheduler": self.schedule.name,
            "steps": self.schedule.steps,
            "shift": self.schedule.shift,
            "audio_scale": [list(point) for point in self.guidance.audio.points],
            "text_scale": [list(point) for point in self.guidance.text.points],
            "hybrid_steps": request.hybrid_steps,
            "cache": [request.cache, request.cache_keeps] if request.cache else 0,
            "computed": [step.computed for step in self.steps],
            "lipsync": request.lipsync,
            "colour": request.colour,
            "scale": request.scale,
        }


def make_plan(
    request: Request,
    facts: ModelFacts,
    transformer: AudioWanTransformer,
    temporal: int,
    duration_s: float,
    coefficients: Coefficients | None = None,
) -> Plan:
    """A request is planned for a model and the length of a sound.

    Args:
        request: what is asked for.
        facts: of the model; it decides what the request leaves open.
        transformer: whose embedding of noise levels the cache decides by.
        temporal: frames per latent of the model's codec.
        duration_s: of the sound, in seconds.
        coefficients: of the cache; None takes those that were published for models of this size.

    Raises:
        UserError: a number of the request is out of range, or contradicts another; the cache has no coefficients.
    """
    _check(request)
    frames = n_frames(duration_s if request.seconds is None else min(duration_s, request.seconds), facts.fps)
    length = facts.window_latents if request.window is None else request.window
    overlap = max(2, length // _OVERLAP_SHARE) if request.overlap is None else request.overlap
    layout = layout_for(request.join, latents_needed(frames, temporal), length, overlap)
    schedule = Schedule(request.scheduler, request.steps or facts.sampling.steps, facts.sampling.shift)
    guidance = Guidance(
        audio=Scale.of(facts.sampling.audio_scale if request.audio_scale is None else request.audio_scale),
        text=Scale.of(facts.sampling.text_scale if request.text_scale is None else request.text_scale),
    )
    cache = _cache(request, facts, coefficients)
    steps = plan_steps(
        transformer,
        schedule.levels,
        guidance,
        has_video=request.video is not None,
        hybrid_steps=request.hybrid_steps,
        cache=cache,
    )
    return Plan(request, facts.fps, frames, layout, schedule, guidance, cache, steps)


def _check(request: Request) -> None:
    if request.face is not None and request.video is not None:
        raise UserError("--face chooses in a portrait, and a source video has one speaking person: leave it out")
    if request.lipsync and request.video is None:
        raise UserError("lip-sync without a source video: give one with --video, or leave --lipsync out")
    check_order(request.order)
    if request.seconds is not None and request.seconds <= 0:
        raise UserError(f"a film of {request.seconds:g} s: give more than 0")
    if request.scale < 1:
        raise UserError(f"pictures made {request.scale} times larger: give 1 or more")
    if not 0 <= request.colour <= 1:
        raise UserError(f"a colour strength of {request.colour}: give 0 (none) to 1")


def _cache(request: Request, facts: ModelFacts, own: Coefficients | None) -> TeaCache | None:
    if request.cache == 0:
        return None
    coefficients = own or _published_for(facts)
    if coefficients is None:
        raise UserError(
            "the cache has no coefficients for this model: fit them with `funnel fit-cache`, or leave --cache out"
        )
    return TeaCache(
        coefficients,
        alpha=request.cache,
        first=request.cache_first,
        last=request.cache_last,
        keeps=request.cache_keeps,
        on_host=request.cache_on_host,
    )


def _published_for(facts: ModelFacts) -> Coefficients | None:
    """Return TeaCache's own coefficients, which are for Wan's large image-to-video models only."""
    if facts.preset != "14B":
        return None
    return PUBLISHED["wan-i2v-720p" if facts.height * facts.width > 480 * 832 * 1.2 else "wan-i2v-480p"]

"""Tiny stages test the funnel without models: they measure what the test wrote into the file's name."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pyarrow as pa

from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import ClipMedia, MediaConfig, MediaLimits
from catalogs.schema import column
from curation.deciding.bound import Funnel, resolve
from curation.deciding.policy import Policy, Rule, StagePolicy
from stages.base import Backend, Measurement, Stage, StageConfig


@dataclass(frozen=True)
class FakeConfig(StageConfig):
    factor: float = 1.0


@dataclass(frozen=True)
class Span:
    start_pts: int
    end_pts: int
    n_frames: int = 10
    cut_in: str = "start"
    cut_out: str = "end"
    corrupt_frames: int = 0


@dataclass(frozen=True)
class Split:
    spans: list[Span]
    time_base: Fraction = Fraction(1, 10)
    corrupt: tuple[Span, ...] = ()


class FakeSplitter:
    """Makes clips of one second, as many as the number in the file's name: ``4.mp4`` has four."""

    def __init__(self, config: FakeConfig):
        pass

    def split(self, path: str, limits: MediaLimits) -> Split:
        stem = Path(path).stem.split("_")[0]
        if stem == "bad":
            raise ClipError(ErrorCode.CORRUPT, "made to fail")
        if "_stuck" in path:
            time.sleep(3600)
        if "_late" in path and not Path(path).with_name("arrived").exists():
            raise ClipError(ErrorCode.UNREADABLE, "made to wait")
        return Split([Span(10 * i, 10 * (i + 1)) for i in range(int(stem))])


@dataclass(frozen=True, kw_only=True)
class Number(Measurement):
    number: float | None = None


class FakeScorer:
    """Measures ``number`` = the clip's index in its source times the config's factor; misbehaves on request."""

    def __init__(self, config: FakeConfig):
        if config.factor < 0:
            raise UserError("weights of the fake do not fit its network")
        self._factor = config.factor

    def score(self, clip: ClipMedia) -> Number:
        self._note(clip)
        path = clip.span.path
        index = round(clip.span.start_s)
        if "_boom" in path and index == 1 and not os.environ.get("FAKE_MENDED"):
            raise RuntimeError("made to break")
        if "_die" in path and index == 1:
            os._exit(9)
        if "_fatal_second" in path and index == 1 and isinstance(self, SecondScorer):
            os._exit(9)
        if "_hang" in path and index == 1:
            time.sleep(3600)
        if "_slow" in path:
            time.sleep(0.2)
        if "_away" in path and index == 1 and self._calls(clip) < 3:
            raise ClipError(ErrorCode.UNREACHABLE, "made to be away twice")
        if "_offline" in path:
            raise ClipError(ErrorCode.UNREACHABLE, "made to be away for good")
        if "_none" in path:
            return Number(status="not_applicable", status_detail="nothing there")
        return Number(number=index * self._factor)

    def _calls(self, clip: ClipMedia) -> int:
        """Count how often this scorer has looked at the clip, this time included."""
        return len(list(Path(os.environ["FAKE_CALLS"]).glob(f"{type(self).__name__}-{clip.span.clip_id}-*")))

    def _note(self, clip: ClipMedia) -> None:
        """Leave a trace of each call, so that a test can count what was measured."""
        if folder := os.environ.get("FAKE_CALLS"):
            name = f"{type(self).__name__}-{clip.span.clip_id}-{time.time_ns()}"
            (Path(folder) / name).touch()


class SecondScorer(FakeScorer):
    """Measures the same as FakeScorer, under another name for a second stage."""


def fake_stage(name: str, scorer: str = "FakeScorer", **backend: object) -> Stage:
    split = name == "scene_split"
    made = Backend(f"fake_{name}", f"tests.support.fakes:{'FakeSplitter' if split else scorer}", **backend)  # type: ignore[arg-type]
    return Stage(
        name=name,
        summary="a fake",
        columns=pa.schema([] if split else [column("number", pa.float64(), "index of the clip")]),
        config=FakeConfig,
        backends={"lite": made},
        views=frozenset(),
        key="source_id" if split else "clip_id",
    )


def fake_funnel(
    first: str = "",
    second: str = "",
    length: str = "",
    factor: float = 1.0,
    on_unavailable: str = "pass",
    **backend: object,
) -> Funnel:
    """Make a funnel of scene_split, ``first`` and ``second``, each with at most one rule."""

    def rules(sql: str, columns: tuple[str, ...]) -> tuple[Rule, ...]:
        return (Rule("rule", sql, columns),) if sql else ()

    stages = (
        StagePolicy(fake_stage("scene_split"), rules(length, ("duration_s",)), FakeConfig()),
        StagePolicy(
            fake_stage("first", **backend),
            rules(first, ("number",)),
            FakeConfig(factor),
            on_unavailable,  # type: ignore[arg-type]
        ),
        StagePolicy(fake_stage("second", "SecondScorer"), rules(second, ("number",)), FakeConfig()),
    )
    return resolve(Policy("fake", "lite", MediaConfig(), stages, "stages: []"))

"""What makes the films of jobs: anything that is a ``Generator``; in `funnel serve` a model is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from inference.request import Progress, Request, Result
from inference.serving.options import Options


@dataclass(frozen=True)
class Work:
    """Holds what is to be made: the client's two files, whose names say nothing of their formats, and its options."""

    portrait: Path
    sound: Path
    options: Options


class Generator(Protocol):
    """Makes films, one at a time."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What a client is told of the model, as JSON can hold it."""

    def generate(self, work: Work, out: Path, progress: Callable[[Progress], None], stop: Callable[[], bool]) -> Result:
        """Write the film to ``out``; raise ``Stopped`` soon after ``stop`` returns True.

        What is kept for the same work to go on lies in the folder of ``out``.
        """


class ModelGenerator:
    """Makes films with a model.

    Args:
        folder: the model's.
        device: auto, cpu or cuda.
        encoders: see ``Pipeline.load``'s ``text``.

    Raises:
        UserError: it is no model folder, or a part of it or of its encoders is missing.
    """

    def __init__(self, folder: Path, device: str = "auto", encoders: str | None = None) -> None:
        from inference.pipeline import Pipeline

        self._pipeline = Pipeline.load(folder, device, text=encoders)
        facts = self._pipeline.facts
        self.about: Mapping[str, Any] = {
            "name": folder.resolve().name,
            "preset": facts.preset,
            "fps": facts.fps,
            "width": facts.width,
            "height": facts.height,
        }

    def generate(self, work: Work, out: Path, progress: Callable[[Progress], None], stop: Callable[[], bool]) -> Result:
        """Write the film of a job to ``out``."""
        return self._pipeline.generate(request_of(work), out, progress, stop)


def request_of(work: Work) -> Request:
    """What a client asked for is put into the pipeline's words."""
    asked = {field.name: getattr(work.options, field.name) for field in fields(Options)}
    del asked["title"]
    for name in ("audio_scale", "text_scale"):  # the pipeline also takes schedules over time
        asked[name] = None if asked[name] is None else f"{asked[name]:g}"
    return Request(image=work.portrait, audio=work.sound, **asked)

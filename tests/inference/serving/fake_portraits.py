"""A small generator writes real films without a model; the words of the prompt say what happens to it.

``python -m tests.inference.serving.fake_portraits FOLDER PORT [WAITING]`` serves it in a process of its own.
"""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.errors import UserError
from catalogs.media.film import write_film
from inference.request import Progress, Result, Stopped
from inference.serving.generator import Work
from inference.serving.jobs import Limits
from inference.serving.run import serve
from model.errors import ModelError

TOKEN = "t" * 43
FRAMES, FPS, SIZE = 25, 25, 64


class FakeGenerator:
    """Makes one second of grey pictures and a tone.

    Prompts: ``slow`` goes on until it is stopped, ``held`` until ``gate`` is set, ``deaf`` does the same and does not
    listen to ``stop``; ``no face``, ``bad model``, ``full disk``, ``exit`` and ``bug`` fail in these ways.
    """

    about: dict[str, Any] = {"name": "fake", "preset": "tiny", "fps": 25.0, "width": SIZE, "height": SIZE}  # noqa: RUF012

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.made: list[Work] = []
        self.seen: list[tuple[bytes, bytes]] = []

    def generate(self, work: Work, out: Path, progress: Callable[[Progress], None], stop: Callable[[], bool]) -> Result:
        self.made.append(work)
        self.seen.append((work.portrait.read_bytes(), work.sound.read_bytes()))
        progress(Progress("sampling", 1, 4, 12.0, 0))
        partial = out.with_name("film.mp4.part")
        partial.write_bytes(b"half a film")
        self._fail(work.options.prompt, work)
        prompt = work.options.prompt
        while prompt in ("slow", "held", "deaf") and not (prompt != "slow" and self.gate.is_set()):
            if stop() and prompt != "deaf":
                raise Stopped
            time.sleep(0.01)
        sound = np.sin(np.arange(16_000) / 16_000 * 2 * np.pi * 220).astype(np.float32) / 4
        pictures = (np.full((SIZE, SIZE, 3), 40 + 8 * number, np.uint8) for number in range(FRAMES))
        write_film(out, pictures, sound, FPS)
        progress(Progress("writing", 4, 4, 0.0, FRAMES))
        return Result(out, FRAMES, FPS, 1.0, 0.1, 4, (f"portrait {work.portrait}: of 2 faces the largest",))

    def _fail(self, prompt: str, work: Work) -> None:
        if prompt == "no face":
            raise UserError(f"portrait {work.portrait}: no face is found; --force goes on without one")
        if prompt == "bad model":
            raise ModelError("the model was trained with other sound")
        if prompt == "full disk":
            raise OSError(errno.ENOSPC, "No space left on device", str(work.portrait))
        if prompt == "exit":
            sys.exit(3)
        if prompt == "bug":
            raise ZeroDivisionError(f"secret {work.portrait}")


def main(folder: str, port: str, waiting: str = "8") -> None:
    limits = Limits(waiting=int(waiting), portrait_bytes=1 << 20, sound_bytes=2 << 20)
    serve(FakeGenerator, Path(folder), TOKEN, lambda address: print(address, flush=True), port=int(port), limits=limits)


if __name__ == "__main__":
    main(*sys.argv[1:])

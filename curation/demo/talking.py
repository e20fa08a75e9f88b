"""The talking pool has as many minutes of one person talking as are wanted, and beside it what the lips truly do.

A model that learns to speak can be measured on it: each source is a close-up that says a few made-up sentences, the
opening of the mouth is known for every frame, and a share of the sources says sentences that the others never say.

In the pool's folder there are ``heard/*.mp4`` to learn from, ``unheard/*.mp4`` to be measured on, ``lips/NAME.json``
for each source (see LipTruth), and ``truth.json`` as in the demo pool.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from math import ceil
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from curation.demo.compose import render, truth_of
from curation.demo.pool import TRUTH_FILE
from curation.demo.scenes import Studio, shot_poses
from curation.demo.sentences import Sentences
from curation.demo.soundtrack import shot_voice
from curation.demo.spec import Line, Shot, SourceSpec
from curation.demo.speech import synthesise

VOICES = ("en-us", "en-us+f3", "en-us+m3", "en-us+f2")
FPS = 25
LIPS_FOLDER = "lips"

_RATE = 150  # words per minute: slow enough for lips at 25 frames a second
_LETTERS = 120  # a source has sentences of at least so many letters, which take 7 to 12 s
_SOURCE_S = 8.0  # what a source lasts on average
_CUT_S = 1.0  # shot_voice begins a shot a second into its lines
_GAP_S = 0.2  # and pauses between them
_FORMAT = 1  # raised when the same recipe gives another file
_FEW = 4  # sources that are made sooner in this process than another one starts


@dataclass(frozen=True)
class Recipe:
    """Holds what decides a source.

    Attributes:
        name: File name without suffix, one for the whole pool.
        heard: Whether the source is one to learn from.
        sentences: What is said, in order. The first is cut: the picture begins a second into it.
        voice: See ``speech.synthesise``.
        size: Width and height in pixels.
        seed: Decides blinks, head motion and the noise floor.
    """

    name: str
    heard: bool
    sentences: tuple[str, ...]
    voice: str
    size: int
    seed: int

    @property
    def file(self) -> str:
        """Return the path in the pool, such as ``heard/talk_00000.mp4``."""
        return f"{'heard' if self.heard else 'unheard'}/{self.name}.mp4"

    @property
    def digest(self) -> str:
        """Return a hash of all that decides the file."""
        return hashlib.sha256(json.dumps([_FORMAT, asdict(self)]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class LipTruth:
    """Holds what is known of the lips of one source.

    Attributes:
        file: Path in the pool, such as ``unheard/talk_00001.mp4``.
        heard: Whether the source is one to learn from.
        voice: Who speaks.
        text: What is said; the picture begins a second into the first sentence.
        fps: Frames per second.
        opening: Of the lips in each frame, 0 (closed) to 1; frame k is shown from k / fps on.
        recipe: Hash of what the source was made from.
    """

    file: str
    heard: bool
    voice: str
    text: str
    fps: int
    opening: tuple[float, ...]
    recipe: str

    def openings(self, first: int = 0, count: int | None = None) -> npt.NDArray[np.float32]:
        """Return the openings of ``count`` frames from ``first`` on (all that follow if None), float32 [count].

        Raises:
            ValueError: The source has no such frames.
        """
        last = len(self.opening) if count is None else first + count
        if not 0 <= first <= last <= len(self.opening):
            raise ValueError(f"{self.file} has frames 0 to {len(self.opening) - 1}, not {first} to {last - 1}")
        return np.array(self.opening[first:last], np.float32)


def talking_pool(
    folder: str | Path,
    minutes: float,
    size: int = 320,
    seed: int = 0,
    unheard_share: float = 0.12,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda made, wanted: None,
) -> list[LipTruth]:
    """Make a pool of talking portraits.

    A source that is there, made from the same recipe, is kept: a pool that was interrupted is finished, and one with
    more minutes begins with the sources of one with fewer.

    Args:
        folder: Local folder, made if need be.
        minutes: About so much video; two sources at least.
        size: Width and height in pixels, even.
        seed: Decides sentences and motion.
        unheard_share: Share of the sources that say what the others never say, 0 to 1; one source at least.
        workers: Processes that render.
        progress: Is called with (sources that are there, sources wanted).

    Returns:
        The truth of each source, in the order of their names.

    Raises:
        SpeechError: ``espeakng_loader`` is not installed.
        ImportError: scikit-image is not installed.
        ValueError: The size is odd, or the share is not between 0 and 1.
    """
    folder = Path(folder)
    recipes = list(islice(recipes_of(size, seed, unheard_share), max(2, round(minutes * 60 / _SOURCE_S))))
    for name in ("heard", "unheard", LIPS_FOLDER):
        (folder / name).mkdir(parents=True, exist_ok=True)
    owed = [recipe for recipe in recipes if not _is_made(folder, recipe)]
    progress(len(recipes) - len(owed), len(recipes))
    for made, _ in enumerate(_made(folder, owed, workers), len(recipes) - len(owed) + 1):
        progress(made, len(recipes))
    lips = [_read(folder / LIPS_FOLDER / f"{recipe.name}.json") for recipe in recipes]
    truths = [
        truth_of(_spec(recipe, len(known.opening)), f"{recipe.name}.mp4")
        for recipe, known in zip(recipes, lips, strict=True)
    ]
    _write_json(folder / TRUTH_FILE, [truth.as_json() for truth in truths])
    return lips


def long_take(folder: str | Path, seconds: float, sources: int, size: int = 320, seed: int = 0) -> LipTruth:
    """Make one long source that says what no source of a pool says: ``unheard/take_SECONDS.mp4``, with its truth.

    Args:
        folder: Local folder, made if need be; not the pool's, as a long take is no part of it.
        seconds: Of the take, about.
        sources: How many the pool has, of this size and seed.
        size: Width and height in pixels, even.
        seed: The pool's.

    Raises:
        SpeechError, ImportError: As ``talking_pool``.
    """
    folder, sentences = Path(folder), Sentences(seed)
    for name in ("unheard", LIPS_FOLDER):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for _ in islice(recipes_of(size, seed, sentences=sentences), sources):
        pass  # what the pool says is drawn first, so the take says something else
    said: list[str] = []
    while _spoken_s(said, VOICES[0]) < seconds + _CUT_S:
        said.append(sentences.unheard())
    recipe = Recipe(f"take_{seconds:g}", False, tuple(said), VOICES[0], size, seed * 1_000_003 + sources)
    if not _is_made(folder, recipe):
        _make(folder, recipe)
    return _read(folder / LIPS_FOLDER / f"{recipe.name}.json")


def load_lips(folder: str | Path) -> dict[str, LipTruth]:
    """Read the truth of every source of a talking pool, by file name (``talk_00000.mp4``); empty if there is none."""
    known = [_read(path) for path in sorted((Path(folder) / LIPS_FOLDER).glob("*.json"))]
    return {Path(lips.file).name: lips for lips in known}


def recipes_of(
    size: int = 320, seed: int = 0, unheard_share: float = 0.12, sentences: Sentences | None = None
) -> Iterator[Recipe]:
    """Yield the recipe of one source after the other, without end. The second source is the first unheard one.

    Args:
        size, seed, unheard_share: See ``talking_pool``.
        sentences: Where the sentences are drawn, new ones of this seed; to know what has been drawn.
    """
    if not 0 < unheard_share < 1:
        raise ValueError(f"unheard_share must lie between 0 and 1, not {unheard_share}")
    sentences = sentences or Sentences(seed)
    made = {True: 0, False: 0}
    while True:
        index = sum(made.values())
        heard = made[False] == ceil(index * unheard_share)
        said: list[str] = []
        while sum(map(len, said)) < _LETTERS:
            said.append(sentences.heard() if heard else sentences.unheard())
        voice = VOICES[made[heard] % len(VOICES)]
        yield Recipe(f"talk_{index:05d}", heard, tuple(said), voice, size, seed * 1_000_003 + index)
        made[heard] += 1


def _made(folder: Path, owed: list[Recipe], workers: int) -> Iterator[str]:
    """Make the sources, one after the other or in several processes; yield the name of each that is done."""
    if workers < 2 or len(owed) <= _FEW:
        for recipe in owed:
            yield _make(folder, recipe)
        return
    one_thread_each = (cv2.setNumThreads, (1,))  # the processes share the cores
    with ProcessPoolExecutor(workers, get_context("spawn"), *one_thread_each) as processes:
        yield from processes.map(_make, [folder] * len(owed), owed)


@cache
def _studio() -> Studio:
    """Return the studio of this process, which keeps the portraits that it has prepared."""
    return Studio()


def _make(folder: Path, recipe: Recipe) -> str:
    """Render a source, then write its truth: a source counts only once its truth is there. Return its name."""
    spec = _spec(recipe, round((_spoken_s(recipe.sentences, recipe.voice) - _CUT_S) * FPS))
    unfinished = folder / f"{recipe.file}.part"
    render(spec, unfinished, _studio())
    unfinished.replace(folder / recipe.file)
    (shot,) = spec.shots
    poses = shot_poses(spec, shot, shot_voice(shot))
    lips = LipTruth(
        file=recipe.file,
        heard=recipe.heard,
        voice=recipe.voice,
        text=" ".join(recipe.sentences),
        fps=FPS,
        opening=tuple(round(pose.opening, 5) for pose in poses),
        recipe=recipe.digest,
    )
    _write_json(folder / LIPS_FOLDER / f"{recipe.name}.json", asdict(lips))
    return recipe.name


def _spoken_s(sentences: Sequence[str], voice: str) -> float:
    """Return how long it takes to say sentences with pauses between them."""
    return sum(_sentence_s(text, voice) + _GAP_S for text in sentences) - _GAP_S


@cache
def _sentence_s(text: str, voice: str) -> float:
    return synthesise(text, voice, _RATE).duration_s


def _spec(recipe: Recipe, n_frames: int) -> SourceSpec:
    lines = tuple(Line(text, recipe.voice, _RATE) for text in recipe.sentences)
    shot = Shot(n_frames / FPS, lines, framing="close_up", seed=recipe.seed)
    return SourceSpec(recipe.name, (shot,), width=recipe.size, height=recipe.size, fps=FPS, seed=recipe.seed)


def _is_made(folder: Path, recipe: Recipe) -> bool:
    known = folder / LIPS_FOLDER / f"{recipe.name}.json"
    return (folder / recipe.file).is_file() and known.is_file() and _read(known).recipe == recipe.digest


def _read(path: Path) -> LipTruth:
    row = json.loads(path.read_text("utf-8"))
    return LipTruth(**{**row, "opening": tuple(row["opening"])})


def _write_json(path: Path, value: object) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)

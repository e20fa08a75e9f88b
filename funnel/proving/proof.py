"""A proof's figures are put together here: what was measured, against which bar, and what is left to look at."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from catalogs.media.film import write_film
from curation.demo.talking import LipTruth, long_take
from funnel.proving.chain import Killing
from funnel.proving.figures import Figure, at_least, at_most, skipped, stated
from funnel.proving.loop import Generated, Judged, by_sound, judge, mean_confidence, write_loop_pool
from funnel.proving.minutes import Spoken as Long
from funnel.proving.minutes import Take, speak
from funnel.proving.mouth import Spread
from funnel.proving.sheet import SheetClip, write_sheet
from funnel.proving.speaking import Listener, Spoken
from inference.pipeline import Pipeline
from model.audio import RATE
from training.config import TrainConfig

OWN_R, OTHER_R, WORST_GAP, WORSE_BY = 0.85, 0.3, 0.2, 0.3  #: the bars
LONG_R, SEAM = 0.85, 1.1  #: the bars of a long take
_PART_S = 15.0
_TAKE = "take"  # name of its films in the funnel's pool
_NO_TRUTH = "the truth of these lips is not known"
_SHOWN = 3  # clips on the contact sheet
_FILM_SCALE = 4


@dataclass(frozen=True)
class Measured:
    """Holds the figures of a proof, and the facts that explain them."""

    figures: tuple[Figure, ...]
    facts: dict[str, object]


def measure(
    folder: Path,
    speaking: TrainConfig,
    deaf: TrainConfig | None,
    lips: dict[str, LipTruth],
    killing: Killing | None,
    seeds: Sequence[int],
    take_s: float = 60.0,
) -> Measured:
    """Let the models of a proof speak, measure them, and leave a film and a contact sheet in ``folder``.

    Args:
        speaking, deaf: the trainings; ``deaf`` is the one without audio RoPE.
        lips: the truth by file name; empty for a user's own clips.
        killing: what became of the killed training; None if it was trained before.
        seeds: of the noise: the first decides, the spread is over all.
        take_s: seconds of the long take, 15 or more.
    """
    listener = Listener(speaking, lips)
    model = Path(speaking.run) / "model"
    spoken = [listener.speak(model, seed) for seed in seeds]
    heard = listener.heard(model)
    _leave(folder, listener, spoken[0], model)
    long = _speak_long(folder, len(lips), seeds[0], take_s) if lips else None
    judged = _loop(folder, listener, spoken[0], long)
    figures = [
        *(_mouths(listener, spoken, deaf, seeds) if lips else [skipped("mouth in generated video", _NO_TRUTH)]),
        at_least(
            "held-out loss, another's sound: the worst clip",
            min(heard.gaps),
            WORST_GAP,
            f"lower face; mean {heard.lips_gap:+.0%} of {heard.clips} clips, all cells {heard.gap:+.0%}",
            "+.0%",
        ),
        _killed(killing),
        *_judged(judged),
        *(_long_figures(listener, *long, judged) if long else [skipped("a long take", _NO_TRUTH)]),
    ]
    facts: dict[str, object] = {
        "heldout": asdict(heard),
        "mouths": [{name: list(getattr(s, name).values) for name in ("own", "with_other", "of_other")} for s in spoken],
        "killing": asdict(killing) if killing else None,
        "funnel": [asdict(clip) for clip in judged],
        "latents": {name: listener.clips.store.facts[name] for name in ("snapshot", "codec", "audio", "text", "faces")},
        "clips": {"trained": len(listener.clips.trained), "heldout": len(listener.rows)},
    }
    return Measured(tuple(figures), facts)


def _mouths(listener: Listener, spoken: list[Spoken], deaf: TrainConfig | None, seeds: Sequence[int]) -> list[Figure]:
    first, clips = spoken[0], f"{len(listener.rows)} clips of sentences never heard"
    real = listener.reader_r()
    figures = [
        stated("mouth read from real video through the codec, r", real.mean, "what a perfect model would reach"),
        at_least("mouth, own sound, r", first.own.mean, OWN_R, f"{clips}; {_over_seeds([s.own for s in spoken])}"),
        at_most(
            "mouth, another's sound, r with its own truth",
            first.with_other.mean,
            OTHER_R,
            _over_seeds([s.with_other for s in spoken]),
        ),
        stated("mouth, another's sound, r with that one's truth", first.of_other.mean, "it follows what it hears"),
    ]
    if deaf is not None:
        without = listener.speak(Path(deaf.run) / "model", seeds[0]).own.mean
        note = f"the same training, {first.own.mean:.3f} with it"
        figures.append(at_most("mouth, own sound, without audio RoPE, r", without, first.own.mean - WORSE_BY, note))
    return figures


def _over_seeds(spreads: list[Spread]) -> str:
    means, first = [spread.mean for spread in spreads], spreads[0]
    over = f"; {len(means)} seeds {min(means):.3f} to {max(means):.3f}" if len(means) > 1 else ""
    return f"clips {first.lowest:.2f} to {first.highest:.2f}{over}"


def _killed(killing: Killing | None) -> Figure:
    name = "losses the same again after SIGKILL"
    if killing is None or not killing.repeated:
        return skipped(name, "the model was trained before")
    note = f"killed after step {killing.killed_after}, went on from {killing.resumed_from}"
    return at_least(name, killing.same / killing.repeated, 1.0, f"{note}; {killing.repeated} logged steps", ".0%")


def _speak_long(folder: Path, sources: int, seed: int, seconds: float) -> tuple[Take, Long]:
    """Let the model speak a long take of sentences that no source of the pool says, and leave it as the film."""
    truth = long_take(folder / "take", seconds, sources, seed=seed)
    take = Take(folder / "take" / truth.file, truth)
    made = speak(Pipeline.load(folder / "model", device="cpu"), take.request(seed=seed, seconds=seconds))
    fps = round(made.prepared.plan.fps)
    write_film(folder / "speaks.mp4", made.frames, made.sound, fps, _FILM_SCALE)
    return take, made


def _long_figures(listener: Listener, take: Take, made: Long, judged: list[Judged]) -> list[Figure]:
    own, other = ([clip for clip in clips if _TAKE in clip.file] for clips in by_sound(judged))
    offsets = [abs(clip.sync_offset_frames) for clip in own if clip.sync_offset_frames is not None]
    parts = len(_parts(made))
    windows = len(made.prepared.plan.layout.windows)
    length = f"{len(made.frames) / made.prepared.plan.fps:.0f} s, {windows} windows"
    return [
        at_least("long take: mouth, own sound, r", made.mouth_r(listener.reader, take.truth), LONG_R, length),
        at_most("long take: change at seams over elsewhere", made.seam_ratio, SEAM, "fused", ".2f"),
        at_least("long take: kept by the funnel", _kept(own, parts), 1.0, _why(own, offsets), ".0%"),
        at_least("long take: dropped with other sound", _dropped(other), 1.0, _why(other, []), ".0%"),
    ]


def _why(clips: list[Judged], offsets: list[float]) -> str:
    """Say what the funnel found: the sync, or what dropped a clip."""
    said = f"sync confidence {mean_confidence(clips):.2f}"
    said += f", offset {max(offsets):.0f}" if offsets else ""
    reasons = sorted({clip.why for clip in clips if clip.why})
    return "; ".join([said, *reasons[:2]])


def _kept(clips: list[Judged], given: int = 1) -> float:
    """Return the share of the clips that the funnel keeps: of those that it found, or was given if these are more."""
    return sum(clip.kept for clip in clips) / max(len(clips), given)


def _dropped(clips: list[Judged]) -> float:
    """Return the share of clips that the funnel drops; 0 if it found none."""
    return sum(clip.verdict == "drop" for clip in clips) / max(1, len(clips))


def _judged(judged: list[Judged]) -> list[Figure]:
    own, other = ([clip for clip in clips if _TAKE not in clip.file] for clips in by_sound(judged))
    notes = [f"sync confidence {mean_confidence(clips):.2f}" for clips in (own, other)]
    return [
        stated("the funnel keeps, own sound", _kept(own), notes[0], ".0%"),
        stated("the funnel keeps, another's sound", _kept(other), notes[1], ".0%"),
    ]


def _loop(folder: Path, listener: Listener, spoken: Spoken, long: tuple[Take, Long] | None) -> list[Judged]:
    """Give the generated videos back to the funnel."""
    fps = round(listener.clips.window.fps)
    videos = [
        Generated(listener.clips.clip_id(row), frames, fps, listener.sound(row))
        for row, frames in zip(listener.rows, spoken.frames, strict=True)
    ]
    if long is not None:
        videos += _parts(long[1])
    pool, catalog = folder / "generated" / "pool", folder / "generated" / "catalog"
    shutil.rmtree(folder / "generated", ignore_errors=True)
    write_loop_pool(pool, videos)
    return judge(pool, catalog)


def _parts(made: Long) -> list[Generated]:
    """Cut a long take into parts as long as the funnel wants clips to be; each also gets another's sound."""
    fps = round(made.prepared.plan.fps)
    n, other = round(_PART_S * fps), np.roll(made.sound, len(made.sound) // 2)
    parts = []
    for number, first in enumerate(range(0, len(made.frames) - n + 1, n)):
        heard = slice(round(first / fps * RATE), round((first + n) / fps * RATE))
        parts.append(
            Generated(f"{_TAKE}_{number}", made.frames[first : first + n], fps, made.sound[heard], other[heard])
        )
    return parts


def _leave(folder: Path, listener: Listener, spoken: Spoken, model: Path) -> None:
    """Leave the model, the film and the contact sheet."""
    partial = folder / ".model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(model, partial)
    shutil.rmtree(folder / "model", ignore_errors=True)
    partial.rename(folder / "model")
    fps = round(listener.clips.window.fps)
    frames = np.concatenate(spoken.frames)
    sounds = np.concatenate([listener.sound(row) for row in listener.rows])
    write_film(folder / "speaks.mp4", frames, sounds, fps, _FILM_SCALE)
    clips = []
    for number, row in enumerate(listener.rows[:_SHOWN]):
        curves = {}
        if spoken.openings:
            curves = {"truth": listener.truth(row), "generated": spoken.openings[number]}
        pictures = {"real": listener.real(row), "generated": spoken.frames[number]}
        clips.append(SheetClip(f"clip {listener.clips.clip_id(row)[:12]}, never heard", pictures, curves))
    write_sheet(folder / "contact_sheet.png", clips)

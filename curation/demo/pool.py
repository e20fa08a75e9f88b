"""The demo pool has about two minutes of good sources, and one source of each bad kind, with their truth.

A bad source is bad in one way only, so that the stage which must drop it is known.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from curation.demo.compose import render
from curation.demo.scenes import Studio
from curation.demo.spec import Line, Shot, SourceSpec, Truth

TRUTH_FILE = "truth.json"

ENGLISH = Line(
    "Good morning, and welcome back. Today we talk about the weather, about people who move to the mountains, "
    "and about a small boat that nobody wanted to buy.",
    "en-us+Alicia",
    130,
)
GERMAN = Line(
    "Guten Abend, meine Damen und Herren. Heute sprechen wir über das Wetter, über alte Bücher, "
    "und über einen Mann, der jeden Morgen am Fluss spazieren geht.",
    "de+f2",
    130,
)
FRENCH = Line(
    "Bonjour à tous. Aujourd'hui nous parlons de la pluie et du beau temps, d'un petit bateau, "
    "et de beaucoup de gens qui habitent au bord de la mer.",
    "fr+Alicia",
    130,
)
SPANISH = Line(
    "Hola, muy buenos días. Hoy vamos a hablar de la comida, de la familia, "
    "y de un pueblo pequeño donde nadie tiene prisa por la mañana.",
    "es+f2",
    130,
)
CHINESE = Line("大家早上好，欢迎你们来到这里。今天我们谈一谈天气，也谈一谈我们最喜欢的书和电影。", "cmn+f2", 140)
MAN = Line(
    "That reminds me of a story. My brother bought a purple umbrella, put it in the bathroom, and never opened it.",
    "en-us+adam",
    150,
)
OTHER_TALK = Line(
    "The committee approved seventeen changes on Thursday. Six of them begin at once, the others follow in autumn.",
    "en-us+Alicia",
    140,
)


def demo_specs() -> tuple[SourceSpec, ...]:
    """Return the videos of the demo pool, in the order in which they are made."""
    return _good_specs() + _bad_picture_specs() + _bad_sound_specs()


def demo_pool(folder: str | Path) -> list[Truth]:
    """Make the demo pool.

    Args:
        folder: Local folder, made if need be; files of the same names are overwritten.

    Returns:
        The truth of every file, also written to ``truth.json`` in the folder.

    Raises:
        SpeechError: ``espeakng_loader`` is not installed.
    """
    folder = Path(folder)
    truths = _render_all(folder, demo_specs())
    truths += [_truncated_video(folder, folder / truths[0].file), _text_named_mp4(folder)]
    _write_truth(folder, truths)
    return truths


def sync_pair(folder: str | Path, offsets: Sequence[int] = (-10, -5, 0, 5, 10), duration_s: float = 8.0) -> list[Truth]:
    """Make the same talking shot with shifted sound, a file per offset (frames of 25 per second, + = sound late)."""
    spec = SourceSpec("sync", (Shot(duration_s, (ENGLISH,), framing="close_up", seed=3),))
    specs = tuple(replace(spec, name=f"sync_{offset:+03d}", offset_frames=offset) for offset in offsets)
    truths = _render_all(Path(folder), specs)
    _write_truth(Path(folder), truths)
    return truths


def cut_list(path: str | Path, fps: int = 25) -> Truth:
    """Make a file without sound, of hard cuts (two shots of 8 frames among them) and two dissolves of 12 frames."""
    glimpse_s = 8 / fps
    shots = (
        Shot(2.0, framing="close_up", seed=1),
        Shot(glimpse_s, subject="coffee", seed=2),
        Shot(1.6, subject="cat", seed=3),
        Shot(2.2, framing="half_body", seed=4),
        Shot(glimpse_s, subject="rocket", seed=5),
        Shot(1.4, subject="coffee", seed=6),
        Shot(2.0, framing="half_body", persons=2, seed=7),
    )
    transitions = ("cut", "cut", "dissolve", "cut", "cut", "dissolve")
    return render(SourceSpec(Path(path).stem, shots, transitions, fps=fps, sound=False), path)


def _good_specs() -> tuple[SourceSpec, ...]:
    return (
        SourceSpec("good_close_up_english", (Shot(8, (ENGLISH,), "close_up", seed=10),)),
        SourceSpec("good_half_body_german", (Shot(8, (GERMAN,), seed=11),), width=480, height=640, fps=30),
        SourceSpec(
            "good_two_shots_french", (Shot(6, (FRENCH,), "close_up", seed=12), Shot(6, (FRENCH,), seed=13)), fps=24
        ),
        SourceSpec("good_mild_music_spanish", (Shot(6, (SPANISH,), seed=14),), width=1280, height=720, music_db=-42),
        SourceSpec("good_close_up_chinese", (Shot(7, (CHINESE,), "close_up", seed=15),)),
    )


def _bad_picture_specs() -> tuple[SourceSpec, ...]:
    voice_over = (Shot(4, subject="coffee", heard=(ENGLISH,)), Shot(4, subject="cat", heard=(ENGLISH,)))
    short_shots = tuple(
        Shot(1.6, (ENGLISH,), framing, seed=20 + i)
        for i, framing in enumerate(("close_up", "half_body", "close_up", "half_body"))
    )
    return (
        _bad("two_persons", "person_count", "two people in view", Shot(6, (ENGLISH,), persons=2, seed=21)),
        SourceSpec(
            "no_person", voice_over, verdict="drop", drop_stage="face_count", note="voice-over over things and a cat"
        ),
        _bad("small_face", "face_count", "face of about 60 pixels", Shot(6, (ENGLISH,), "wide", seed=22)),
        SourceSpec(
            "short_shots", short_shots, verdict="drop", drop_stage="scene_split", note="no shot is longer than 1.6 s"
        ),
    )


def _bad_sound_specs() -> tuple[SourceSpec, ...]:
    talking = Shot(8, (ENGLISH,), "close_up", seed=30)
    swapped = replace(talking, heard=(OTHER_TALK,), seed=31)
    turns = Shot(10, (replace(ENGLISH, text="Good morning, and welcome back to our little programme."), MAN), seed=32)
    six_s = replace(talking, duration_s=6, seed=33)
    late = _bad("late_sound", "sync", "sound 480 ms late", talking)
    still = _bad("still_picture", "sync", "a photo with a voice", six_s)
    silent = _bad("silent_face", "language", "no sound track", six_s)
    music = _bad("music_only", "language", "music, no speech", Shot(6, seed=34))
    noisy = _bad("noisy_sound", "audio_quality", "loud noise and clipping", six_s)
    return (
        replace(late, offset_frames=12),
        _bad("swapped_sound", "sync", "somebody else's sentence", swapped),
        replace(still, still=True),
        replace(silent, sound=False),
        replace(music, music_db=-20),
        _bad("two_voices", "speakers", "a woman and a man speak in turn over one face", turns),
        replace(noisy, noise_db=-26, clip_gain_db=14),
    )


def _bad(name: str, drop_stage: str, note: str, shot: Shot) -> SourceSpec:
    return SourceSpec(name, (shot,), verdict="drop", drop_stage=drop_stage, note=note)


def _render_all(folder: Path, specs: Sequence[SourceSpec]) -> list[Truth]:
    folder.mkdir(parents=True, exist_ok=True)
    studio = Studio()
    return [render(spec, folder / f"{spec.name}.mp4", studio) for spec in specs]


def _truncated_video(folder: Path, whole: Path) -> Truth:
    """Cut a good file in half: an MP4 keeps its index at the end, so nothing of it can be decoded."""
    path = folder / "broken_truncated.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return Truth(path.name, path.stem, verdict="drop", drop_stage="ingest", note="cut off in the middle")


def _text_named_mp4(folder: Path) -> Truth:
    path = folder / "broken_text.mp4"
    path.write_text("This is a note to myself, not a video.\n" * 40, encoding="utf-8")
    return Truth(path.name, path.stem, verdict="drop", drop_stage="ingest", note="a text file")


def _write_truth(folder: Path, truths: Sequence[Truth]) -> None:
    text = json.dumps([truth.as_json() for truth in truths], indent=1, ensure_ascii=False)
    (folder / TRUTH_FILE).write_text(text + "\n", encoding="utf-8")

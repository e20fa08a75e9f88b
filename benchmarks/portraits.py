"""This benchmark says how well the picture stages agree with labelled media, and what they cost.

    python -m benchmarks.portraits --media DIR      # default: the folder that FUNNEL_MEDIA names

``DIR/manifest.csv`` has a row per file: ``file, kind (video | image), n_scenes, cuts_first_frame_of_new_scene,
n_persons, n_faces, framing`` (others are ignored). A video with listed cuts is scored shot by shot; labels may differ
by shot (``1 / 1 / 2`` or ``2,1,1``). A still is a clip of one picture. Labels that leave the answer open are skipped.

The thresholds of head_body and person_count were chosen on such a set: on it the agreement is in-sample.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations, pairwise
from pathlib import Path

import av
import cv2
import numpy as np

from catalogs.media import ClipMedia, ClipSpan, Frames
from stages import caption, face_count, head_body, person_count
from stages.base import Measurement, Scorer
from stages.vision.face_embedding import FaceEmbedder
from weights import registry

TARGETS = {"one person or not": 0.85, "one face or not": 0.90, "framing": 0.80}
FRAMINGS = {
    "close_up": ("close-up", "head and shoulders"),
    "half_body": ("half body", "half/three-quarter", "three-quarter", "seated, three-quarter"),
    "full_body": ("full body", "three-quarter", "seated, three-quarter", "half/three-quarter"),
}


@dataclass
class Still(ClipMedia):
    """Shows a picture as a clip of one frame without sound."""

    picture: Frames = field(kw_only=True)

    def sample(self) -> Frames:
        return self.picture

    @property
    def sound(self) -> None:
        return None


@dataclass(frozen=True)
class Example:
    """Holds one labelled shot or still; a label of None leaves the answer open."""

    name: str
    kind: str
    clip: ClipMedia
    one_person: bool | None
    one_face: bool | None
    framings: frozenset[str]


def examples(media: Path) -> Iterator[Example]:
    """Yield every labelled video shot and still."""
    with (media / "manifest.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["kind"] in ("video", "image")]
    for row in rows:
        if not row["file"].startswith(("video/", "image/")):
            continue
        clips = [still(media / row["file"])] if row["kind"] == "image" else shots(media / row["file"], _cuts(row))
        for i, clip in enumerate(clips):
            yield Example(
                name=Path(row["file"]).name + (f" #{i + 1}" if len(clips) > 1 else ""),
                kind="still" if row["kind"] == "image" else "video",
                clip=clip,
                one_person=is_one(_per_shot(row["n_persons"], i, len(clips))),
                one_face=is_one(_per_shot(row["n_faces"], i, len(clips))),
                framings=frozenset(name for name, labels in FRAMINGS.items() if starts_with(row["framing"], labels)),
            )


def still(path: Path) -> Still:
    """Open a picture file as a clip."""
    rgb = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    span = ClipSpan("still", "still", str(path), 0.0, 0.04, 0, 1, Fraction(1, 25))
    return Still(span, picture=Frames(rgb[None], np.zeros(1)))


def shots(path: Path, cuts: list[int]) -> list[ClipMedia]:
    """Cut a video before the frames ``cuts`` (indices in presentation order)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base or Fraction(1, 1000))
        pts = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
    last = pts[-1] + (pts[-1] - pts[-2] if len(pts) > 1 else max(1, int(Fraction(1, 25) / base)))
    edges = [pts[0], *(pts[cut] for cut in cuts), last]
    return [
        ClipMedia(
            ClipSpan("clip", "source", str(path), float(start * base), float(end * base), start, end, base),
            dense_wanted=False,
        )
        for start, end in pairwise(edges)
    ]


def _cuts(row: dict[str, str]) -> list[int]:
    text = row["cuts_first_frame_of_new_scene"]
    return [int(cut) for cut in text.split(",")] if re.fullmatch(r"\d+(,\d+)*", text) else []


def _per_shot(label: str, i: int, n: int) -> str:
    parts = re.split(r"\s*[/,]\s*", label)
    return parts[i] if n > 1 and len(parts) == n else label if n == 1 or len(parts) == 1 else ""


def is_one(label: str) -> bool | None:
    """Say whether a label means one; None for open labels such as ``0-2`` or ``?``."""
    label = label.strip()
    span = re.match(r"(\d+)\s*-\s*(\d+)", label)
    if span:
        low, high = int(span[1]), int(span[2])
        return None if low <= 1 <= high else False
    number = re.match(r"\d+", label)
    return int(number[0]) == 1 if number else False if label == "many" else None


def starts_with(label: str, beginnings: tuple[str, ...]) -> bool:
    return label.startswith(beginnings) or any(f" to {beginning}" in label for beginning in beginnings)


@dataclass
class Tally:
    """Counts right and wrong answers to one question, and seconds of work."""

    right: dict[tuple[str, str], list[bool]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)
    core_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    video_s: float = 0.0

    def answer(self, question: str, example: Example, expected: object, got: object, right: bool) -> None:
        self.right[question, example.kind].append(right)
        if not right:
            self.wrong.append(f"{question:18} {example.kind:6} {example.name:34} expected {expected}, got {got}")


def measure(example: Example, scorers: dict[str, Scorer], tally: Tally) -> dict[str, Measurement]:
    """Return one row per stage; the time of shared finds counts for the stage that asks first."""
    is_video = example.kind == "video"
    begin = time.process_time()
    example.clip.sample()
    tally.core_s["decode"] += is_video * (time.process_time() - begin)
    tally.video_s += is_video * example.clip.duration_s
    rows = {}
    for name, scorer in scorers.items():
        begin = time.process_time()
        rows[name] = scorer.score(example.clip)
        tally.core_s[name] += is_video * (time.process_time() - begin)
    return rows


def judge(example: Example, rows: dict[str, Measurement], tally: Tally) -> None:
    """Compare one example's rows with its labels."""
    persons, faces, body = rows["person_count"], rows["face_count"], rows["head_body"]
    for question, expected, count in (
        ("one person or not", example.one_person, persons.person_count_max),
        ("one face or not", example.one_face, faces.face_count_max),
    ):
        if expected is not None:
            tally.answer(question, example, "one" if expected else "not one", count, (count == 1) == expected)
    if example.framings:
        expected = " or ".join(sorted(example.framings))
        right = body.framing in example.framings
        tally.answer("framing", example, expected, body.framing, right)
        if len(example.framings) == 1:  # three-quarter shots may be called either half or full
            tally.right["framing, one answer", example.kind].append(right)


def identity(found: dict[str, list[np.ndarray]], within: list[float]) -> str:
    """Compare main faces of different single-face videos, and those within one clip, by their cosines."""
    pairs = [(a, b, float(found[a][0] @ found[b][0])) for a, b in combinations(found, 2)]
    different = np.asarray([cosine for *_, cosine in pairs])
    top = ", ".join(f"{a} / {b} {cosine:.2f}" for a, b, cosine in sorted(pairs, key=lambda pair: -pair[2])[:4])
    same = np.asarray(within)
    auc = float(np.mean(same[:, None] > different[None]))
    return (
        f"within a clip (lowest): min {same.min():.2f} p5 {np.quantile(same, 0.05):.2f} median {np.median(same):.2f}"
        f" (n={len(same)})\nbetween clips: median {np.median(different):.2f} p99 {np.quantile(different, 0.99):.2f}"
        f" max {different.max():.2f} (n={len(different)})   AUC {auc:.4f}\nmost alike: {top}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=os.environ.get("FUNNEL_MEDIA"), help="folder with manifest.csv")
    parser.add_argument("--show", action="store_true", help="print every row and caption")
    arguments = parser.parse_args()
    if arguments.media is None or not (arguments.media / "manifest.csv").is_file():
        parser.error("give --media DIR (or FUNNEL_MEDIA): a folder with manifest.csv")
    cv2.setNumThreads(1)
    modules = (person_count, face_count, head_body, caption)
    scorers = {m.STAGE.name: m.STAGE.backends["lite"].load(m.STAGE.config()) for m in modules}
    finder, embedder = face_count.FaceFinder(), FaceEmbedder(registry.require("face_embedder"))
    tally, vectors, within = Tally(), {}, []
    for example in examples(arguments.media):
        rows = measure(example, scorers, tally)
        judge(example, rows, tally)
        main_faces = [face for face in finder.find(example.clip).main if face.mesh is not None]
        if example.kind == "video" and example.one_face and main_faces:
            face = main_faces[len(main_faces) // 2]
            vectors[example.name] = [embedder.embed(example.clip.sample().rgb[face.picture], face.mesh)]
            if rows["face_count"].identity_similarity_min is not None:
                within.append(rows["face_count"].identity_similarity_min)
        if arguments.show:
            print(example.name, *rows.values(), sep="\n  ")
    report(tally)
    print("\nidentity (main face, single-face videos)", identity(vectors, within), sep="\n")
    return 0


def report(tally: Tally) -> None:
    print(f"{'column':20}{'videos':>14}{'stills':>14}{'all':>14}{'target':>8}")
    for question, target in [*TARGETS.items(), ("framing, one answer", None)]:
        groups = [tally.right[question, "video"], tally.right[question, "still"]]
        groups.append(groups[0] + groups[1])
        cells = "".join(f"{f'{np.mean(g):.0%} ({sum(g)}/{len(g)})' if g else '-':>14}" for g in groups)
        print(f"{question:20}{cells}{f'{target:.0%}' if target else '':>8}")
    print("\nwrong", *tally.wrong, sep="\n  ")
    hours = tally.video_s / 3600
    print(f"\ncore-seconds per hour of video ({tally.video_s:.0f} s seen)")
    for name, seconds in tally.core_s.items():
        print(f"  {name:14}{seconds / hours:8.0f}")


if __name__ == "__main__":
    sys.exit(main())

"""This benchmark says how well the sync stage tells a face's own sound from other sound, and how exactly it finds
shifts.

    python -m benchmarks.sync --media DIR [--method light_asd_lag | mouth_mel]

``DIR`` has ``video/*.mp4`` with people who talk and ``derived/sync_*_{m10,m05,00,p05,p10}.mp4``, copies whose sound was
moved by as many frames. Swapped: each face with the sound of each other clip, cut to the shorter of both. A clip that
the method's weights were fitted on is scored with weights fitted without it (leave one out), as is any pair with it.

Prints the shift table, AUC and threshold tables (conclusions are only as good as 18 clips allow), and core-seconds per
hour of video.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

import av
import numpy as np

from catalogs.media import ClipMedia, ClipSpan
from stages.lipsync.asd_lag import CanonicalPair, HeardVoice, LightAsdLag, SeenFace
from stages.lipsync.lag import FPS, MIN_FRAMES, LagReading, read_curve
from stages.lipsync.mouth_mel import HeardLips, MouthMel, SeenLips
from stages.lipsync.tracks import find_tracks
from stages.sync import load_method, load_mouth, track_sound
from stages.vision.faces import FaceDetector
from weights import registry

#: Faces that talk on camera, a clip each. The second group is for evaluation only: nothing was ever fitted on it.
TALKING = (
    "latentsync_demo2", "latentsync_demo3", "retalking_face1", "retalking_face2", "retalking_face4", "retalking_face5",
    "liveportrait_d12", "liveportrait_d20", "real3d_may_5s", "wan_animate_talkshow",
)  # fmt: skip
HELD_OUT = (
    "latentsync_demo1", "retalking_face3", "skyreelsa1_1", "skyreelsa1_2", "skyreelsa1_3", "skyreelsa1_4",
    "skyreelsa1_5", "vasa1_gen_3", "vexpress_radio10",
)  # fmt: skip
SHIFTS = {"m10": -10, "m05": -5, "00": 0, "p05": 5, "p10": 10}
MIN_PAIR_FRAMES = 50  # a shorter overlap of two clips says nothing
Method = LightAsdLag | MouthMel


@dataclass(frozen=True)
class Talker:
    """Holds one clip's main face and its own sound."""

    name: str
    sha256: str
    seen: SeenFace | SeenLips
    heard: HeardVoice | HeardLips
    duration_s: float
    cpu_s: dict[str, float]  # by step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=os.environ.get("FUNNEL_MEDIA"))
    parser.add_argument("--method", choices=("light_asd_lag", "mouth_mel"))
    given = parser.parse_args()
    if given.media is None:
        parser.error("name the folder: --media DIR, or FUNNEL_MEDIA")
    method: Method = load_mouth() if given.method == "mouth_mel" else load_method()  # type: ignore[assignment]
    if given.method and method.name != given.method:
        parser.error("Light-ASD's weights are not installed: funnel models pull light_asd_talkset")
    print(f"method {method.name}")
    bench = Bench(method, given.media)
    bench.shifts()
    bench.swaps()
    bench.cost()


class Bench:
    """Makes the measurements, over features that are computed once per file."""

    def __init__(self, method: Method, media: Path):
        self._method, self._media = method, media
        self._detector = FaceDetector(registry.require("face_detector"))
        self._talkers = {n: t for n in (*TALKING, *HELD_OUT) if (t := self._talker(f"video/{n}.mp4"))}
        self._fits: dict[frozenset[str], CanonicalPair] = {}

    def shifts(self) -> None:
        print("\nshift put in, frames:    " + "".join(f"{shift:+5d}" for shift in SHIFTS.values()))
        for base, source in (("demo1", "latentsync_demo1"), ("face3", "retalking_face3")):
            moved = [self._talker(f"derived/sync_{base}_{name}.mp4") for name in SHIFTS]
            if any(talker is None for talker in moved):
                continue
            found = [self._reading(talker, talker).offset_frames for talker in moved]
            print(f"offset found, {source[:10]:10s} " + "".join(f"{offset:+5d}" for offset in found))

    def swaps(self) -> None:
        own = {name: self._reading(talker, talker) for name, talker in self._talkers.items()}
        swapped = {
            (face, voice): reading
            for face, voice in permutations(self._talkers, 2)
            if (reading := self._pair(self._talkers[face], self._talkers[voice])) is not None
        }
        print("\nown sound:")
        for name, reading in own.items():
            print(
                f"  {name:22s} {len(self._talkers[name].seen):4d} frames  confidence {reading.confidence:.2f}  "
                f"offset {reading.offset_frames:+d}  margin {reading.margin:.2f}"
            )
        print(f"\nown against swapped sound ({len(swapped)} pairs):")
        long = [name for name, talker in self._talkers.items() if len(talker.seen) >= 3 * FPS]
        groups = {"all": list(self._talkers), "leave one out": TALKING, "held out": HELD_OUT, "3 s or more": long}
        for group, names in groups.items():
            mine = [own[name] for name in names if name in own]
            others = [reading for (face, _), reading in swapped.items() if face in names]
            for what, value in (("confidence", _confidence), ("margin", _margin)):
                print(f"  AUC of {what:10s} {group:14s} {auc(list(map(value, mine)), list(map(value, others))):.3f}")
        self._windows()
        print("\nthreshold at a rate of swapped pairs accepted, and own clips accepted there:")
        for limit in (15, 3):
            for rate in (0.05, 0.02, 0.01):
                self._threshold(rate, limit, list(own.values()), list(swapped.values()))

    def _windows(self) -> None:
        for seconds in (4, 8):
            n = seconds * FPS
            cut = [piece for talker in self._talkers.values() for piece in _pieces(talker, n)]
            own = [self._reading(piece, piece).confidence for piece in cut]
            swapped = [
                self._reading(face, voice).confidence for face, voice in permutations(cut, 2) if face.name != voice.name
            ]
            print(f"  AUC of confidence in windows of {seconds} s: {auc(own, swapped):.3f} ({len(own)} own windows)")

    def _threshold(self, rate: float, limit: int, own: list[LagReading], swapped: list[LagReading]) -> None:
        def accepted(readings: list[LagReading], threshold: float) -> float:
            return float(np.mean([r.confidence >= threshold and abs(r.offset_frames) <= limit for r in readings]))

        candidates = np.arange(0, 1.5, 0.005)
        threshold = next(float(t) for t in candidates if accepted(swapped, t) <= rate)
        print(
            f"  |offset| <= {limit:2d}: confidence >= {threshold:.3f} lets {accepted(swapped, threshold):.1%} swapped "
            f"and {accepted(own, threshold):.0%} own pass"
        )

    def cost(self) -> None:
        fresh = [talker for talker in self._talkers.values() if talker.cpu_s]
        hours = sum(talker.duration_s for talker in fresh) / 3600
        if not hours:
            return
        print("\ncore-seconds per hour of video:")
        for step in fresh[0].cpu_s:
            print(f"  {step:16s} {sum(talker.cpu_s[step] for talker in fresh) / hours:8.0f}")

    def _pair(self, face: Talker, voice: Talker) -> LagReading | None:
        n = min(len(face.seen), len(voice.heard))
        return self._reading(_cut(face, 0, n), _cut(voice, 0, n)) if n >= MIN_PAIR_FRAMES else None

    def _reading(self, face: Talker, voice: Talker) -> LagReading:
        method = self._method
        if isinstance(method, LightAsdLag):
            method = replace_projection(method, self._projection_without({face.sha256, voice.sha256}))
        return read_curve(method.curve(face.seen, voice.heard), len(face.seen))  # type: ignore[arg-type]

    def _projection_without(self, files: set[str]) -> CanonicalPair:
        assert isinstance(self._method, LightAsdLag)
        fitted = self._method.projection
        left_out = frozenset(files & set(fitted.fitted_on))
        if not left_out:
            return fitted
        if left_out not in self._fits:
            rest = [t for t in self._talkers.values() if t.sha256 in set(fitted.fitted_on) - left_out]
            self._fits[left_out] = CanonicalPair.fit([(t.seen, t.heard) for t in rest], ())  # type: ignore[misc]
        return self._fits[left_out]

    def _talker(self, name: str) -> Talker | None:
        path = self._media / name
        return self._measure(path) if path.is_file() else None

    def _measure(self, path: Path) -> Talker | None:
        clip, spent = clip_of_file(path), {}
        _timed(spent, "decode", lambda: (clip.dense(), clip.speech))
        rgb = clip.dense().rgb
        tracks = _timed(spent, "face tracks", lambda: find_tracks(rgb, self._detector, MIN_FRAMES))
        if not tracks or clip.speech is None:
            return None
        track = tracks[0]
        seen = _timed(spent, "see", lambda: self._method.see(rgb, track))
        if seen is None:
            return None
        heard = _timed(spent, "hear", lambda: self._method.hear(track_sound(clip, track), len(track)))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Talker(path.stem, digest, seen, heard, len(rgb) / FPS, spent)


def replace_projection(method: LightAsdLag, projection: CanonicalPair) -> LightAsdLag:
    return LightAsdLag(method.mouth, method.network, projection)


def clip_of_file(path: Path) -> ClipMedia:
    """Open the whole file as one clip."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pts = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        base = stream.time_base
    start, end = pts[0], pts[-1] + round(1 / (FPS * base))
    return ClipMedia(
        ClipSpan(path.stem, path.stem, str(path), float(start * base), float(end * base), start, end, base)
    )


def auc(positive: list[float], negative: list[float]) -> float:
    """Return the probability that a positive exceeds a negative."""
    a, b = np.asarray(positive)[:, None], np.asarray(negative)
    return float((a > b).mean() + (a == b).mean() / 2)


def _confidence(reading: LagReading) -> float:
    return reading.confidence


def _margin(reading: LagReading) -> float:
    return reading.margin


def _pieces(talker: Talker, n: int) -> Iterator[Talker]:
    for start in range(0, len(talker.seen) - n + 1, n // 2):
        yield _cut(talker, start, n)


def _cut(talker: Talker, start: int, n: int) -> Talker:
    part = slice(start, start + n)
    return replace(talker, seen=_sliced(talker.seen, part), heard=_sliced(talker.heard, part))


def _sliced(features, part: slice):  # type: ignore[no-untyped-def]
    """Return the frames ``part`` of SeenLips, SeenFace, HeardLips or HeardVoice."""
    fields = {
        name: value[part] if isinstance(value, np.ndarray) else _sliced(value, part)
        for name, value in vars(features).items()
    }
    return replace(features, **fields)


def _timed(spent: dict[str, float], step: str, run: Callable):  # type: ignore[no-untyped-def, type-arg]
    begin = time.process_time()
    result = run()
    spent[step] = time.process_time() - begin
    return result


if __name__ == "__main__":
    main()

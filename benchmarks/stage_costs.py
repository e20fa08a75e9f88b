"""This benchmark measures what an hour of video costs per view and stage of the lite profile, for `funnel cost`.

    python -m benchmarks.stage_costs --media DIR              # default: the folder that FUNNEL_MEDIA names
    python -m benchmarks.stage_costs --media DIR --write      # and keeps them in curation/report/stage_costs.json

``DIR/manifest.csv`` has a row per file: ``file, kind, n_scenes, n_faces, has_audio`` (others are ignored). Measured are
videos of one shot with a face and sound, at most ``--seconds`` of each. CPU seconds of this process, one thread per
library; loading models and the first clip of each stage (which warms up) are not counted. Stages follow each other on
one opened clip as they do in a worker: finds that several share are paid by the first that asks.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import torch

from catalogs.media import ClipMedia, ClipSpan, MediaConfig, MediaLimits
from curation.deciding.bound import BoundStage, resolve
from curation.deciding.policy import load_policy
from stages.base import Scorer
from stages.scene_split import SceneSplitter

TARGET = Path(__file__).parent.parent / "curation" / "report" / "stage_costs.json"


def talking_shots(media: Path, most_s: float) -> Iterator[ClipSpan]:
    """Return the first ``most_s`` seconds of every video of one shot with a face and sound."""
    with (media / "manifest.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        if row["kind"] != "video" or row["n_scenes"] != "1" or row["has_audio"] != "yes":
            continue
        if not row["file"].startswith("video/") or row["n_faces"] in ("", "0"):
            continue
        path = media / row["file"]
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            base = stream.time_base or Fraction(1, 1000)
            pts = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        start, end = pts[0], min(pts[-1], pts[0] + round(most_s / base))
        yield ClipSpan(path.stem, path.stem, str(path), float(start * base), float(end * base), start, end, base)


def cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


class Costs:
    """Sums up CPU seconds and seconds of video, by name."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = defaultdict(float)
        self._seen: dict[str, float] = defaultdict(float)

    def add(self, name: str, spent: float, seen: float) -> None:
        self._spent[name] += spent
        self._seen[name] += seen

    def per_hour(self) -> dict[str, int]:
        return {name: round(3600 * spent / self._seen[name]) for name, spent in self._spent.items()}


def measure_views(spans: list[ClipSpan], config: MediaConfig) -> dict[str, int]:
    """Measure core-seconds per hour of opening and decoding: sparse pictures only, all pictures, sound."""
    costs = Costs()
    for span in spans:
        sparse = ClipMedia(span, config, MediaLimits(), dense_wanted=False)
        costs.add("sample", cpu_seconds(sparse.sample), span.duration_s)
        costs.add("dense", cpu_seconds(ClipMedia(span, config).dense), span.duration_s)
        costs.add("sound", cpu_seconds(lambda: sparse.speech), span.duration_s)  # noqa: B023, called at once
    return costs.per_hour()


def measure_split(spans: list[ClipSpan], bound: BoundStage) -> dict[str, int]:
    """Measure core-seconds per hour of cutting whole sources into shots, decoding included."""
    splitter = cast(SceneSplitter, bound.backend.load(bound.policy.config))
    costs = Costs()
    for span in spans:
        with av.open(span.path) as container:
            seconds = float(container.duration or 0) / av.time_base
        spent = cpu_seconds(lambda: splitter.split(span.path, MediaLimits()))  # noqa: B023, called at once
        costs.add(bound.name, spent, seconds)
    return costs.per_hour()


def measure_stages(spans: list[ClipSpan], stages: list[BoundStage], config: MediaConfig) -> dict[str, int]:
    """Measure core-seconds per hour of each stage, on clips whose pictures and sound are decoded already."""
    scorers: dict[str, Scorer] = {bound.name: bound.backend.load(bound.policy.config) for bound in stages}
    costs = Costs()
    for number, span in enumerate(spans):
        clip = ClipMedia(span, config)
        _ = clip.dense(), clip.sample(), clip.speech
        for name, scorer in scorers.items():
            spent = cpu_seconds(lambda: scorer.score(clip))  # noqa: B023, called at once
            if number:
                costs.add(name, spent, span.duration_s)
    return costs.per_hour()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=os.environ.get("FUNNEL_MEDIA"))
    parser.add_argument("--seconds", type=float, default=10.0, help="at most so much of each video")
    parser.add_argument("--write", action="store_true", help=f"keep the numbers in {TARGET.name}")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    funnel = resolve(load_policy("measure_all"))
    stages = [bound for bound in funnel.measuring if bound.is_available]
    config = replace(funnel.policy.media, dense_max_s=max(given.seconds, funnel.policy.media.dense_max_s))
    spans = list(talking_shots(given.media, given.seconds))
    found = {
        "unit": "core-seconds per hour of video",
        "media": {"clips": len(spans), "seconds": round(sum(span.duration_s for span in spans), 1)},
        "views": measure_views(spans, config),
        "stages": measure_split(spans, funnel.split) | measure_stages(spans, stages, config),
        "weights_missing": {
            bound.name: sorted({*bound.missing, *bound.unavailable_columns.values()})
            for bound in funnel.measuring
            if bound.missing or bound.unavailable_columns
        },
    }
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if given.write:
        TARGET.write_text(text)


if __name__ == "__main__":
    main()

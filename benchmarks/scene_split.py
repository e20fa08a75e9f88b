"""This benchmark says how well sources are split, and at what price.

F1 per list, dissolves, core-seconds per hour, always against suspect.

    python -m benchmarks.scene_split --media DIR        (default: FUNNEL_MEDIA)

Exact lists (derived/*.cuts.json): a cut counts if it is at exactly that picture (tolerance 0). By-eye lists
(manifest.csv, single integers only): tolerance 1; what lies at other places is printed, not judged. Single-shot talking
videos must stay whole. Everything runs in one process with one torch thread; costs are this process's CPU time.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import torch

from catalogs.media import MediaLimits, open_media
from catalogs.media.container import Deadline
from catalogs.media.frames import PictureReader
from stages.scene_split import SceneSplitConfig, SceneSplitter, SplitResult

MODES = ("always", "suspect")
BY_EYE = ("sintel_30s", "psd_testvideo", "psd_counter", "psd_fades", "hamilton_clip", "datajuicer_video1")
TALKING = [
    "latentsync_demo1",
    "latentsync_demo2",
    "liveportrait_d10",
    "liveportrait_d18",
    "liveportrait_s13",
    "musetalk_yongen",
    "real3d_may_5s",
    "retalking_face1",
    "retalking_face2",
    "retalking_face3",
    "retalking_face4",
    "retalking_face5",
    "skyreelsa1_1",
    "skyreelsa1_3",
    "vasa1_gen_3",
    "vexpress_radio10",
    "datajuicer_video3",
]


@dataclass
class Price:
    """Holds the CPU seconds spent on so much video."""

    core_s: float = 0.0
    video_s: float = 0.0

    def per_hour(self) -> float:
        return self.core_s / self.video_s * 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=os.environ.get("FUNNEL_MEDIA"))
    media = parser.parse_args().media
    if media is None:
        parser.error("give --media DIR or set FUNNEL_MEDIA")
    torch.set_num_threads(1)
    splitters = {mode: SceneSplitter(SceneSplitConfig(network=mode)) for mode in MODES}
    by_kind = {
        "exact lists": sorted(media.glob("derived/*.cuts.json")),
        "by eye": [media / "video" / f"{name}.mp4" for name in BY_EYE],
        "talking": [media / "video" / f"{name}.mp4" for name in TALKING],
    }
    labels = _by_eye_labels(media)
    total = {mode: Price() for mode in MODES}
    for kind, paths in by_kind.items():
        price = {mode: Price() for mode in MODES}
        for mode in MODES:
            print(f"\n## {kind}, network: {mode}")
            tally = [0, 0, 0]
            for listed in paths:
                path = listed.with_name(listed.name.removesuffix(".cuts.json"))
                result, pts = _timed_split(splitters[mode], path, price[mode], total[mode])
                _report(kind, listed, result, pts, labels, tally)
            if kind != "talking":
                print(f"F1 {_f1(*tally):.3f}   hits {tally[0]}, false {tally[1]}, missed {tally[2]}")
        _print_prices(kind, price)
    _print_prices("all of the above", total)


def _timed_split(splitter: SceneSplitter, path: Path, *prices: Price) -> tuple[SplitResult, list[int]]:
    with open_media(str(path), MediaLimits()) as container:
        pts = [frame.pts for frame in PictureReader(container, Deadline(MediaLimits()))]
    begun = time.process_time()
    result = splitter.split(str(path), MediaLimits())
    core_s = time.process_time() - begun
    for price in prices:
        price.core_s += core_s
        price.video_s += float((pts[-1] - pts[0]) * Fraction(result.time_base)) * len(pts) / max(1, len(pts) - 1)
    return result, pts


def _report(kind: str, listed: Path, result: SplitResult, pts: list[int], labels: dict, tally: list[int]) -> None:
    index = {p: i for i, p in enumerate(pts)}
    cuts = [index[s.start_pts] for s in result.spans if s.cut_in == "cut"]
    bounds = [(index.get(a.end_pts, len(pts)), index[b.start_pts]) for a, b in pairwise(result.spans)]
    gradual = [b for b in bounds if b[1] > b[0]]
    line = f"{listed.name.removesuffix('.cuts.json'):30} network {result.network_share:4.0%}  cuts {cuts}"
    if kind == "exact lists":
        truth = json.loads(listed.read_text())
        _count(tally, truth["hard_cuts"], cuts, tolerance=0)
        fades = truth["crossfades_frames"]
        found = [f for f in fades if any(a <= f[0] and b >= f[1] for a, b in gradual)]
        line += f"  dissolves clear of both clips {len(found)}/{len(fades)} {gradual or ''}"
    elif kind == "by eye":
        _count(tally, labels[listed.name], cuts, tolerance=1)
        line += f" (by eye {labels[listed.name]})  gradual {gradual}"
    else:
        line += "" if len(result.spans) == 1 else "   NOT WHOLE"
    print(line)


def _count(tally: list[int], truth: Sequence[int], found: Sequence[int], tolerance: int) -> None:
    hits = sum(any(abs(t - f) <= tolerance for f in found) for t in truth)
    tally[0] += hits
    tally[1] += len(found) - hits
    tally[2] += len(truth) - hits


def _f1(hits: int, false: int, missed: int) -> float:
    return 2 * hits / max(1, 2 * hits + false + missed)


def _by_eye_labels(media: Path) -> dict[str, list[int]]:
    """Read hard cuts of the manifest; of free text, what follows ``hard:`` up to a bracket or semicolon."""
    with open(media / "manifest.csv", newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    labels = {}
    for row in rows:
        text = row["cuts_first_frame_of_new_scene"]
        hard = re.search(r"hard: ([\d, ]+)", text)
        numbers = hard.group(1) if hard else text if re.fullmatch(r"[\d, ]+", text) else ""
        labels[Path(row["file"]).name] = [int(n) for n in re.findall(r"\d+", numbers)]
    return labels


def _print_prices(what: str, price: dict[str, Price]) -> None:
    always, suspect = price["always"].per_hour(), price["suspect"].per_hour()
    print(
        f"\n{what}: core-s per hour of video: always {always:.0f}, suspect {suspect:.0f}, ratio {suspect / always:.2f}"
    )


if __name__ == "__main__":
    main()

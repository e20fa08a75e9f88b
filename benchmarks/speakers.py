"""This benchmark counts speakers in labelled media and says what each part costs.

    python -m benchmarks.speakers --media FOLDER

FOLDER holds ``manifest.csv`` with the columns ``file`` and ``n_speakers`` (0, 1, 2 or 3; other rows are left out).
Prints the confusion of counts, every miss, and core-seconds per hour of sound for each part on its own.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from catalogs.media import ClipMedia, ClipSpan
from stages.speakers import SpeakersConfig, SpeakersScorer
from stages.speech.segmentation import SpeakerSegmentation, windows
from stages.speech.voice_activity import VoiceDetector
from weights import registry

KNOWN = ("0", "1", "2", "3")


def labelled(media: Path) -> Iterator[tuple[ClipMedia, int]]:
    """Yield clips with a sound track and a known number of speakers."""
    with open(media / "manifest.csv", newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["n_speakers"] in KNOWN]
    for row in rows:
        if clip := whole_sound(media / row["file"], row["file"]):
            yield clip, int(row["n_speakers"])


def whole_sound(path: Path, name: str) -> ClipMedia | None:
    """Return the whole sound of a sound file or video as a clip of that name; None without a sound track."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        duration_s = (container.duration or 0) / av.time_base
    return ClipMedia(ClipSpan(name, "", str(path), 0.0, duration_s, 0, round(duration_s * 1000), Fraction(1, 1000)))


def core_seconds(work: Callable[[np.ndarray], object], samples: np.ndarray) -> float:
    """Return the CPU time of this process while ``work`` runs on ``samples``."""
    begin = time.process_time()
    work(samples)
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True)
    arguments = parser.parse_args()
    scorer = SpeakersScorer(SpeakersConfig())
    detector = VoiceDetector(registry.require("silero_vad"))
    segmentation = SpeakerSegmentation(registry.require("speaker_segmentation"))
    confusion: Counter[tuple[int, int]] = Counter()
    cost: Counter[str] = Counter()
    heard_s = 0.0
    for clip, known in labelled(arguments.media):
        speech = clip.speech
        assert speech is not None
        heard_s += clip.duration_s
        cost["voice activity"] += core_seconds(detector.detect, speech)
        for begin, end in windows(len(speech), hop_s=10):
            cost["segmentation"] += core_seconds(segmentation.activity, speech[begin:end])
        start = time.process_time()
        found = scorer.score(clip)
        cost["whole stage"] += time.process_time() - start
        confusion[known, found.speaker_count] += 1
        background = found.voice_to_background_db
        print(
            f"{'  ' if found.speaker_count == known else '! '}{clip.span.clip_id:36s} known {known} found "
            f"{found.speaker_count} overlap {found.speaker_overlap_ratio or 0:.2f} voice/background "
            + ("   -" if background is None else f"{background:5.1f} dB"),
            flush=True,
        )
    right = sum(n for (known, found), n in confusion.items() if known == found)
    print(f"\n{right} of {confusion.total()} right ({right / confusion.total():.0%})")
    columns = sorted({found for _, found in confusion})
    print("known \\ found " + " ".join(f"{n:4d}" for n in columns))
    for known in sorted({known for known, _ in confusion}):
        print(f"{known:13d} " + " ".join(f"{confusion[known, n]:4d}" for n in columns))
    for part, seconds in cost.items():
        print(f"{part}: {seconds / heard_s * 3600:.0f} core-seconds per hour")


if __name__ == "__main__":
    main()

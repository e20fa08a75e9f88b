"""This benchmark names the language of labelled recordings and says what that costs.

    python -m benchmarks.languages --media FOLDER

FOLDER holds ``manifest.csv`` with the columns ``file``, ``kind`` and ``language``. A recording is asked about if its
label is one ISO 639-1 code: not a guess (``en?``), not a song (``en (sung)``), not two (``en then de``). Sound files
and the sound of videos are counted apart. Which Whisper answers is decided as in a run: base, else tiny.
"""

from __future__ import annotations

import argparse
import csv
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.speakers import whole_sound
from catalogs.media import ClipMedia
from stages.language import STAGE, LanguageMeasurement


def labelled(media: Path) -> Iterator[tuple[str, ClipMedia, str]]:
    """Yield (kind, clip, language) of every recording with a sound track and one certain language."""
    with open(media / "manifest.csv", newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if re.fullmatch("[a-z]{2}", row["language"])]
    for row in rows:
        if clip := whole_sound(media / row["file"], row["file"]):
            yield row["kind"], clip, row["language"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True)
    arguments = parser.parse_args()
    backend = STAGE.backend("lite")
    lacking = ", ".join(sorted(set(backend.unavailable_columns().values())))
    print(f"{backend.name}{f' (missing: {lacking})' if lacking else ''}")
    scorer = STAGE.scorer("lite")
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    spent_s = heard_s = 0.0
    for kind, clip, language in labelled(arguments.media):
        assert clip.speech is not None  # decodes it, which is not the stage's cost
        begin = time.process_time()
        found = scorer.score(clip)
        spent_s += time.process_time() - begin
        heard_s += clip.duration_s
        assert isinstance(found, LanguageMeasurement)
        asked[kind] += 1
        right[kind] += found.language == language
        mark = " " if found.language == language else "!"
        told = "" if found.language_confidence is None else f"{found.language_confidence:.2f}"
        print(f"{mark} {clip.span.clip_id:40} {language} found {found.language} {told:4} speech {found.speech_s:.1f} s")
    for kind in asked:
        print(f"{kind}: {right[kind]} of {asked[kind]} right ({right[kind] / asked[kind]:.0%})")
    print(f"{spent_s / heard_s * 3600:.0f} core-seconds per hour of sound")


if __name__ == "__main__":
    main()

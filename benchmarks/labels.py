"""This benchmark runs the whole funnel on labelled media and compares its columns with the labels, stage by stage.

    python -m benchmarks.labels --media DIR [--catalog KEEP_IT_HERE]      # default: the folder FUNNEL_MEDIA names

Runs `measure_all` through Ray on ``DIR/video``, on the exact cut lists and on the shifted copies of ``DIR/derived``,
then reads everything back from the catalog by SQL. Sound files with a known number of speakers or a known language are
scored by the scorer itself (a pool holds videos). Nothing here is fitted; which clips the sync models were fitted on is
printed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from benchmarks import languages, speakers
from benchmarks.portraits import FRAMINGS, is_one, starts_with
from benchmarks.sync import SHIFTS, Bench
from catalogs.catalog import Catalog
from curation.deciding.bound import resolve
from curation.deciding.policy import load_policy
from curation.deciding.verdicts import open_views
from curation.demo.pool import sync_pair
from curation.running.options import RunOptions
from curation.running.run import run_funnel
from funnel.progress import PlainProgress
from stages.ingest import Pool, list_pool
from stages.language import STAGE as LANGUAGE
from stages.language import LanguageMeasurement
from stages.speakers import SpeakersConfig, SpeakersScorer
from stages.sync import load_method


@dataclass
class Score:
    """Counts right and wrong answers to one question."""

    target: str
    right: int = 0
    asked: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, name: str, expected: object, found: object, right: bool) -> None:
        self.asked += 1
        self.right += right
        if not right:
            self.wrong.append(f"{name}: expected {expected}, found {found}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=os.environ.get("FUNNEL_MEDIA"))
    parser.add_argument("--catalog", default="", help="where to keep the catalog; default: a temporary folder")
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.media is None:
        parser.error("give --media DIR or set FUNNEL_MEDIA")
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog.open_or_create(arguments.catalog or f"{folder}/catalog")
        connection = measure(catalog, arguments.media, arguments.workers)
        report(connection, arguments.media)
    return 0


def measure(catalog: Catalog, media: Path, workers: int) -> duckdb.DuckDBPyConnection:
    """Run measure_all on the labelled videos; a catalog that has them already is only read."""
    funnel = resolve(load_policy("measure_all"))
    progress = PlainProgress()
    with tempfile.TemporaryDirectory() as folder:
        sync_pair(folder, tuple(SHIFTS.values()))
        for pool in (list_pool(str(media / "video")), derived_pool(media), list_pool(folder, "synthetic")):
            run_funnel(catalog, funnel, RunOptions(workers=workers), progress, pool=pool)
    return open_views(catalog, funnel)


def derived_pool(media: Path) -> Pool:
    """Make a pool of the cut lists and the shifted copies, and nothing else of ``derived``."""
    listed = list_pool(str(media / "derived"))
    wanted = tuple(f for f in listed.files if Path(f.path).name.startswith(("concat_", "sync_")))
    return Pool(listed.url, "derived", wanted)


def report(connection: duckdb.DuckDBPyConnection, media: Path) -> None:
    scores: dict[str, Score] = {
        "one person or not": Score("85 %"),
        "one face or not": Score("90 %"),
        "framing": Score("80 %"),
        "speaker count, sound files": Score("85 %"),
        "spoken language, sound files": Score("95 %"),
    }
    portraits(connection, media, scores)
    voices(media, scores["speaker count, sound files"])
    spoken(media, scores["spoken language, sound files"])
    print("\nstage columns against labels")
    for question, score in scores.items():
        share = score.right / max(1, score.asked)
        print(f"  {question:28} {score.right:3} of {score.asked:3}  {share:6.1%}   target {score.target}")
    cuts(connection, media)
    shifts(connection)
    print("\nsync: own against swapped sound (benchmarks/sync.py)")
    Bench(load_method(), media).swaps()
    failures = connection.execute(
        "SELECT stage, error_code, count(*) FROM failures GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    print("\nfailures by code:", failures or "none")
    print("\nwrong answers")
    for question, score in scores.items():
        for line in score.wrong:
            print(f"  {question}: {line}")


def manifest(media: Path) -> Iterator[dict[str, str]]:
    with open(media / "manifest.csv", newline="", encoding="utf-8") as handle:
        yield from csv.DictReader(handle)


def portraits(connection: duckdb.DuckDBPyConnection, media: Path, scores: dict[str, Score]) -> None:
    """Compare person, face and framing columns of videos that are one shot."""
    found = connection.execute(
        "SELECT parse_filename(path), person_count_max, face_count_max, framing FROM clips "
        "LEFT JOIN person_count USING (clip_id) LEFT JOIN face_count USING (clip_id) "
        "LEFT JOIN head_body USING (clip_id)"
    ).fetchall()
    by_file = defaultdict(list)
    for name, *values in found:
        by_file[name].append(values)
    for row in manifest(media):
        name = Path(row["file"]).name
        if row["kind"] != "video" or row["n_scenes"] != "1" or len(by_file[name]) != 1:
            continue
        persons, faces, framing = by_file[name][0]
        for question, label, count in (
            ("one person or not", row["n_persons"], persons),
            ("one face or not", row["n_faces"], faces),
        ):
            said_one = is_one(label)
            if said_one is not None:
                scores[question].add(name, label, count, (count == 1) == said_one)
        fitting = {key for key, words in FRAMINGS.items() if starts_with(row["framing"], words)}
        if fitting:
            scores["framing"].add(name, row["framing"], framing, framing in fitting)


def voices(media: Path, score: Score) -> None:
    """Compare the speaker count of sound files whose number of voices is known."""
    scorer = SpeakersScorer(SpeakersConfig())
    for clip, known in speakers.labelled(media):
        if Path(clip.span.path).suffix not in (".mp4", ".avi"):
            count = scorer.score(clip).speaker_count
            score.add(clip.span.clip_id, known, count, count == known)


def spoken(media: Path, score: Score) -> None:
    """Compare the language of sound files whose language is certain, if a Whisper is installed."""
    backend = LANGUAGE.backend("lite")
    if backend.unavailable_columns():
        print("no Whisper is installed, so no languages")
        return
    scorer = LANGUAGE.scorer("lite")
    for kind, clip, known in languages.labelled(media):
        if kind == "audio":
            found = scorer.score(clip)
            assert isinstance(found, LanguageMeasurement)
            score.add(clip.span.clip_id, known, found.language, found.language == known)


def cuts(connection: duckdb.DuckDBPyConnection, media: Path) -> None:
    """Compare hard cuts to the frame, and dissolves as boundaries, on the exact lists."""
    hits = false = missed = dissolves = found_dissolves = 0
    for listing in sorted((media / "derived").glob("*.cuts.json")):
        truth = json.loads(listing.read_text("utf-8"))
        rows = connection.execute(
            "SELECT round(start_s * ?)::INT, cut_in FROM clips WHERE parse_filename(path) = ? ORDER BY 1",
            [truth["fps"], truth["file"]],
        ).fetchall()
        hard = {frame for frame, kind in rows if kind == "cut"}
        gradual = [frame for frame, kind in rows if kind in ("dissolve", "fade")]
        expected = set(truth["hard_cuts"])
        hits, false, missed = hits + len(hard & expected), false + len(hard - expected), missed + len(expected - hard)
        for first, last in truth["crossfades_frames"]:
            dissolves += 1
            found_dissolves += any(first <= frame <= last + 3 for frame in gradual)
    f1 = 2 * hits / max(1, 2 * hits + false + missed)
    print(f"  hard cuts (frame-exact)      F1 {f1:.3f}: {hits} found, {false} false, {missed} missed   target 0.98")
    print(f"  dissolves                    {found_dissolves} of {dissolves} found as boundaries   target all")


def shifts(connection: duckdb.DuckDBPyConnection) -> None:
    """Compare offsets of shifted copies, relative to the unshifted one."""
    rows = connection.execute(
        "SELECT parse_filename(path, true), sync_offset_frames, sync_confidence, sync_method "
        "FROM clips JOIN sync USING (clip_id) WHERE parse_filename(path) LIKE 'sync\\_%' ESCAPE '\\'"
    ).fetchall()
    offsets = {name: (offset, confidence, method) for name, offset, confidence, method in rows}
    print("\nsync: shifted copies, offset relative to the unshifted one (25 fps); target 1 synthetic, 2 real")
    for base in ("synthetic", "demo1", "face3"):
        names = {s: f"sync_{shift:+03d}" if base == "synthetic" else f"sync_{base}_{s}" for s, shift in SHIFTS.items()}
        zero = offsets.get(names["00"], (None,))[0]
        for suffix, shift in SHIFTS.items():
            offset, confidence, method = offsets.get(names[suffix], (None, None, ""))
            relative = None if offset is None or zero is None else offset - zero
            error = "" if relative is None else f"error {relative - shift:+d}"
            print(f"  {base:9} {shift:+3d}: found {relative}, {error}, confidence {confidence or 0:.2f}, {method}")


if __name__ == "__main__":
    sys.exit(main())

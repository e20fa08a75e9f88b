"""The loop closes where it began: the funnel that chose the training clips judges what the model has made.

Generated videos are written once with the sound that they were made from and once with another clip's, and run through
the lite funnel like any pool: a good model's videos are kept with the one and dropped with the other.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catalogs.catalog import Catalog
from catalogs.media.film import write_film
from curation.deciding.bound import Funnel, resolve
from curation.deciding.policy import load_policy
from curation.deciding.verdicts import open_views
from curation.running.options import RunOptions
from curation.running.run import run_funnel
from runner.progress import Progress
from stages.ingest import list_pool

OWN, OTHER = "own_sound", "other_sound"
SMALLEST_PX = 320  #: width and height to which pictures are enlarged at least: the funnel wants faces of 96 pixels

_COLUMNS = """
SELECT s.path, c.duration_s, v.verdict, v.drop_stage, v.drop_rule, v.drop_value, f.face_count_max,
       y.sync_offset_frames, y.sync_confidence, y.sync_method, coalesce(s.error_code, x.error_code)
FROM sources s LEFT JOIN clips c USING (source_id) LEFT JOIN verdicts v USING (clip_id)
LEFT JOIN face_count f USING (clip_id) LEFT JOIN sync y USING (clip_id)
LEFT JOIN failures x ON x.id = coalesce(c.clip_id, s.source_id)
ORDER BY s.path, c.start_s
"""


@dataclass(frozen=True, eq=False)
class Generated:
    """Holds a generated video and the sound that it was made from.

    Attributes:
        name: File name without suffix.
        frames: uint8 [T, H, W, 3] RGB.
        fps: Frames per second.
        sound: float32 [N], mono, 16 kHz, -1 to 1.
        other: What it is written with for comparison; None takes the next video's sound.
    """

    name: str
    frames: npt.NDArray[np.uint8]
    fps: int
    sound: npt.NDArray[np.float32]
    other: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Judged:
    """Holds what the funnel says of one clip of a video.

    Attributes:
        file: Path in the pool.
        duration_s: Seconds; 0 for a file that is no video.
        verdict: ``keep``, ``drop``, or ``pending`` when something could not be measured.
        why: The stage, rule and value that dropped it, or the failure's code; empty for a kept one.
        face_count: Most faces in view at once; None if it was dropped before they were counted.
        sync_offset_frames: Delay of the sound, frames of 25 per second; None if it was dropped before.
        sync_confidence: How surely the mouth moves with the sound, on the scale of ``sync_method``; None likewise.
        sync_method: Which lite method measured it.
    """

    file: str
    duration_s: float
    verdict: str
    why: str
    face_count: int | None
    sync_offset_frames: float | None
    sync_confidence: float | None
    sync_method: str | None

    @property
    def kept(self) -> bool:
        """Return whether the funnel keeps it."""
        return self.verdict == "keep"


def write_loop_pool(folder: Path, videos: Sequence[Generated]) -> None:
    """Write each video with its own sound and with that of the next video, enlarged where the funnel needs it.

    Args:
        folder: Local folder; gets ``own_sound/NAME.mp4`` and ``other_sound/NAME.mp4``.
        videos: Two at least, with different sounds, or one with a second sound; the sound of another is cut or
            filled up with silence, so videos should be of about one length.

    Raises:
        ValueError: There is one video, and no other sound for it.
    """
    if len(videos) < 2 and any(video.other is None for video in videos):
        raise ValueError("another clip's sound needs two videos at least")
    for name in (OWN, OTHER):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, video in enumerate(videos):
        scale = -(-SMALLEST_PX // min(video.frames.shape[1:3]))
        other = videos[(index + 1) % len(videos)].sound if video.other is None else video.other
        write_film(folder / OWN / f"{video.name}.mp4", video.frames, video.sound, video.fps, scale)
        write_film(folder / OTHER / f"{video.name}.mp4", video.frames, other, video.fps, scale)


def judge(pool: Path, catalog: Path, workers: int = 0, progress: Progress | None = None) -> list[Judged]:
    """Run the lite funnel on a pool of videos, and return its judgement of every clip, in the order of the files.

    Args:
        pool: Local folder with videos of any length of 3 s and more.
        catalog: Local folder; what it holds of the pool already is not measured again.
        workers: Worker processes; 0 for as many as the machine has room for.
        progress: Told how the run goes on.

    Raises:
        UserError: The pool holds no video, or the catalog's folder cannot be used.
    """
    opened = Catalog.open_or_create(str(catalog))
    funnel = resolve(load_policy("lite"))
    listed = list_pool(str(pool), "generated")
    run_funnel(opened, funnel, RunOptions(workers=workers, max_failure_rate=1.0), progress, pool=listed)
    return _judgements(opened, funnel, pool)


def by_sound(judged: Sequence[Judged]) -> tuple[list[Judged], list[Judged]]:
    """Sort what ``write_loop_pool``'s videos got into those with their own sound, and those with another's."""
    return (
        [clip for clip in judged if clip.file.startswith(f"{OWN}/")],
        [clip for clip in judged if clip.file.startswith(f"{OTHER}/")],
    )


def mean_confidence(judged: Sequence[Judged]) -> float:
    """Return the mean of ``sync_confidence``; a clip that did not get so far counts as 0, no clip as nan."""
    return float(np.mean([clip.sync_confidence or 0.0 for clip in judged])) if judged else float("nan")


def _judgements(catalog: Catalog, funnel: Funnel, pool: Path) -> list[Judged]:
    found = []
    for path, duration_s, verdict, stage, rule, value, *measured, code in (
        open_views(catalog, funnel).execute(_COLUMNS).fetchall()
    ):
        why = f"{stage}: {rule}, {value}" if verdict == "drop" else code or ""
        file = posixpath.relpath(path, pool.absolute().as_posix())
        found.append(Judged(file, duration_s or 0.0, verdict or "drop", why, *measured))
    return found

"""How fast clips are read for training, beside a plain loop over PyAV that decodes the same spans.

    python -m benchmarks.reading --media DIR       # default: the folder that FUNNEL_MEDIA names

Of videos of ``DIR/video`` of at least four seconds, with sound, one clip each is made; an item is 50 pictures of
128 x 128 at 25 a second from its middle, and their sound at 16 kHz. The plain loop seeks, decodes to the end of the
window, takes the pictures nearest to the wanted times and resamples the sound: no check of the file, no code for a
failure, no order. All kinds are read in turns, and take turns at beginning; a round reads every clip once. Ratios are
those of the medians. The first round of each kind, in which workers start, is left out. CPU time is that of this
process, so it is not given for workers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch

from catalogs.errors import ClipError
from catalogs.media import ClipSpan, whole_clip
from catalogs.reading.clips import ClipForm
from catalogs.reading.order import Order, Place, Share
from catalogs.reading.rows import SnapshotReader, open_snapshot
from catalogs.reading.torch_clips import ClipStream, TorchClips
from tests.catalogs.reading.made_snapshot import Cut, make_snapshot

FORM = ClipForm(fps=25, frames=50, size=(128, 128), where="middle")


class Took(NamedTuple):
    """Seconds of a clock and of this process's CPU time."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, default=os.environ.get("FUNNEL_MEDIA"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, default=12)
    given = parser.parse_args()
    if given.media is None:
        parser.error("name a folder with --media or FUNNEL_MEDIA")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        cuts = [Cut(path) for path in sorted((given.media / "video").glob("*.mp4")) if seconds_of(path) >= 4]
        reader = open_snapshot(make_snapshot(Path(name), cuts[: given.clips]), "v1", ["clip_id"])
        spans = [reader.span(number) for number in range(len(reader))]
        kinds: dict[str, Callable[[], Took]] = {"plain PyAV": lambda: timed(plain(span) for span in spans)}
        for workers in (0, 1, 2):
            kinds[f"reader, workers={workers}"] = epochs_of(reader, workers)
        took: dict[str, list[Took]] = {kind: [] for kind in kinds}
        for number in range(given.rounds + 1):
            for kind, read in list(kinds.items())[:: 1 if number % 2 else -1]:
                seconds = read()
                if number:
                    took[kind].append(seconds)
    print(f"{len(spans)} clips a round, {given.rounds} rounds\n")
    print("| what | clips/s | beside plain | CPU ms a clip | beside plain |\n|---|---:|---:|---:|---:|")
    base_wall, base_cpu = map(statistics.median, zip(*took["plain PyAV"], strict=True))
    for kind, rounds in took.items():
        wall, cpu = map(statistics.median, zip(*rounds, strict=True))
        of_cpu = f"{1000 * cpu / len(spans):.0f} | {cpu / base_cpu:.2f}" if kind[-1] not in "12" else "|"
        print(f"| {kind} | {len(spans) / wall:.1f} | {base_wall / wall:.2f} | {of_cpu} |")
    print(f"\na step's rows, in an order of 10 million: {1000 * order_seconds():.2f} ms")


def epochs_of(reader: SnapshotReader, workers: int) -> Callable[[], Took]:
    """Return a function that reads one epoch and says how long that took; its workers go on from call to call."""
    stream = ClipStream(TorchClips(reader, FORM), batch_size=1, tail="next", on_error="raise")
    batches: Iterator[object] = iter(stream.loader(workers))
    return lambda: timed(next(batches) for _ in range(len(reader)))


def timed(items: Iterator[object]) -> Took:
    began = time.perf_counter(), time.process_time()
    for _ in items:
        pass
    return Took(time.perf_counter() - began[0], time.process_time() - began[1])


def order_seconds(steps: int = 2000) -> float:
    """Return what looking up the eight rows of a step costs in an order of 10 million."""
    began = time.perf_counter()
    for _ in islice(Share(Order(10_000_000, 1), batch_size=8).steps(Place()), steps):
        pass
    return (time.perf_counter() - began) / steps


def seconds_of(path: Path) -> float:
    """Return the length of a file that has pictures and sound and decodes; else 0."""
    try:
        clip = whole_clip(path)
        return 0.0 if clip.speech is None else clip.duration_s
    except ClipError:
        return 0.0


def plain(span: ClipSpan) -> tuple[np.ndarray, np.ndarray]:
    """Decode the middle of a file as a short script would: uint8 [50, 128, 128, 3] and float32 [32000]."""
    start_s = span.start_s + FORM.window(span.duration_s)[0] / FORM.fps
    times_s = start_s + np.arange(50) / FORM.fps
    shown_s, pictures, heard = [], [], []
    with av.open(span.path) as container:
        stream = container.streams.video[0]
        container.seek(int(start_s * av.time_base))
        for frame in container.decode(stream):
            if (frame.time or 0.0) >= start_s - 0.05:
                shown_s.append(frame.time)
                pictures.append(frame.to_ndarray(format="rgb24", width=128, height=128))
            if (frame.time or 0.0) > times_s[-1]:
                break
        resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
        container.seek(int(start_s * av.time_base))
        for sound in container.decode(container.streams.audio[0]):
            heard += [piece.to_ndarray()[0] for piece in resampler.resample(sound)]
            if (sound.time or 0.0) > start_s + 2:
                break
    nearest = np.abs(np.array(shown_s)[:, None] - times_s).argmin(axis=0)
    return np.stack(pictures)[nearest], np.concatenate(heard)[:32_000]


if __name__ == "__main__":
    main()

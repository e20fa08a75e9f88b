"""These functions run the funnel with fake stages on tiny real videos, and count the calls of scorers."""

from collections import Counter
from pathlib import Path

from catalogs.catalog import Catalog
from catalogs.runs import RunRecord
from curation.deciding.bound import Funnel
from curation.running.options import RunOptions
from curation.running.run import run_funnel
from stages.ingest import list_pool
from tests.support.written_media import grey_ramp, write_video

QUICK = RunOptions(workers=1, unit_clips=8)  # one worker, as processes take seconds to start


def add(pool: Path, name: str, brightness: int = 0) -> None:
    """Write a tiny real video; the brightness gives it bytes, and so an id, of its own."""
    number = brightness or len(list(pool.iterdir())) + 1
    write_video(pool / name, [frame + number for frame in grey_ramp(4, 32, 32)])


def run(
    catalog: Catalog, funnel: Funnel, pool: Path | None = None, options: RunOptions = QUICK, **more: object
) -> RunRecord:
    return run_funnel(catalog, funnel, options, pool=list_pool(str(pool)) if pool else None, **more)  # type: ignore[arg-type]


def calls_since(folder: Path, before: set[str]) -> Counter[str]:
    """Count how often each scorer was called."""
    return Counter(p.name.split("-")[0] for p in folder.iterdir() if p.name not in before)


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}

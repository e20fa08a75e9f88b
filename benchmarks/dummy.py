"""A catalog without media and a stage without a model show what the runner itself costs, and what it survives.

Imported by the workers too, so benchmarks that use it are started as ``python -m benchmarks.NAME``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

import pyarrow as pa

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode
from catalogs.ids import clip_id
from catalogs.media import ClipMedia, MediaConfig
from curation.deciding.bound import Funnel, resolve
from curation.deciding.policy import Policy, Rule, StagePolicy
from stages.base import Backend, Measurement, Stage, StageConfig

SOURCE_CLIPS = 64  #: clips of a source, one second each
CHUNK = bytes(1 << 16)


@dataclass(frozen=True)
class DummyConfig(StageConfig):
    """Configures the dummy.

    ``rounds``: rounds of hashing 64 KiB, the work of one clip; ``salt``: any number, for a fingerprint of its own;
    ``fail_every``: every n-th clip fails (0: none).
    """

    rounds: int = 0
    salt: int = 0
    fail_every: int = 0


@dataclass(frozen=True, kw_only=True)
class DummyMeasurement(Measurement):
    number: float | None = None


def hash_rounds(rounds: int) -> None:
    """Do work that costs the same every time and leaves nothing behind."""
    digest = hashlib.sha256()
    for _ in range(rounds):
        digest.update(CHUNK)


class DummyScorer:
    """Measures ``number``, the second at which the clip begins."""

    def __init__(self, config: DummyConfig):
        self._config = config

    def score(self, clip: ClipMedia) -> DummyMeasurement:
        if self._config.rounds:
            hash_rounds(self._config.rounds)
        if self._config.fail_every and int(clip.span.clip_id[-6:], 16) % self._config.fail_every == 0:
            raise ClipError(ErrorCode.CORRUPT, "made to fail")
        return DummyMeasurement(number=clip.span.start_s)


class NoSplitter:
    """Stands in for scene_split: the catalog's clips are written by :func:`write_catalog`."""

    def __init__(self, config: DummyConfig):
        raise AssertionError("every source has its clips")


def dummy_funnel(config: DummyConfig | None = None, stages: int = 1, rules: tuple[Rule, ...] = ()) -> Funnel:
    """Make a funnel of scene_split and ``stages`` dummies named ``dummy0`` onwards, each with these rules."""
    names = ["scene_split", *(f"dummy{i}" for i in range(stages))]
    policies = (StagePolicy(_stage(name), rules, config or DummyConfig()) for name in names[1:])
    split = StagePolicy(_stage("scene_split"), (), DummyConfig())
    return resolve(Policy("dummy", "lite", MediaConfig(), (split, *policies), "stages: []"))


def _stage(name: str) -> Stage:
    split = name == "scene_split"
    return Stage(
        name=name,
        summary="a dummy",
        columns=pa.schema([] if split else [schema.column("number", pa.float64(), "where the clip begins", "s")]),
        config=DummyConfig,
        backends={"lite": Backend("dummy", f"{__name__}:{'NoSplitter' if split else 'DummyScorer'}")},
        views=frozenset(),
        key="source_id" if split else "clip_id",
    )


def write_catalog(url: str, clips: int, shard_clips: int = 8192) -> Catalog:
    """Write a catalog of ``clips`` clips of one second whose sources are only names."""
    catalog = Catalog.open_or_create(url)
    split = dummy_funnel().split.digest
    sources = [f"s{hashlib.sha256(str(i).encode()).hexdigest()[:32]}" for i in range(-(-clips // SOURCE_CLIPS))]
    catalog.add_sources(pa.Table.from_pylist([_source(i) for i in sources], schema=schema.SOURCES))
    for begin in range(0, len(sources), shard_clips // SOURCE_CLIPS):
        some = sources[begin : begin + shard_clips // SOURCE_CLIPS]
        rows = [row for source in some for row in _clips(source)]
        del rows[max(0, clips - begin * SOURCE_CLIPS) :]
        catalog.add_clips(split, pa.Table.from_pylist(rows, schema=schema.CLIPS))
    return catalog


def _source(source_id: str) -> dict:
    return dict.fromkeys(schema.SOURCES.names) | {
        "source_id": source_id,
        "path": f"/nowhere/{source_id}.mp4",
        "size_bytes": 1,
        "revision": "1",
        "dataset": "dummy",
        "duration_s": float(SOURCE_CLIPS),
        "ingested_at": datetime.now(timezone.utc),
        "status": "ok",
    }


def _clips(source_id: str) -> Iterator[dict]:
    for second in range(SOURCE_CLIPS):
        start, end = second * 25, (second + 1) * 25
        yield {
            "clip_id": clip_id(source_id, start, end),
            "source_id": source_id,
            "path": f"/nowhere/{source_id}.mp4",
            "start_s": float(second),
            "end_s": float(second + 1),
            "duration_s": 1.0,
            "start_pts": start,
            "end_pts": end,
            "time_base": "1/25",
            "n_frames": 25,
            "cut_in": "cut",
            "cut_out": "cut",
        }

"""A catalog is changed at random, beside a plain dict that says what it must hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest

from catalogs import compact as compaction
from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.compact import compact
from catalogs.gc import find_garbage, remove_garbage
from catalogs.layout import Layout, Shard
from curation.deciding.bound import BoundStage, Funnel
from tests.support.small_catalog import clip_row


@dataclass(frozen=True)
class Failed:
    code: str
    attempt: int


@dataclass
class Model:
    """Holds ``outcomes[stage][clip]``: the measured number, or the last failure; and ``clips``: clip -> source."""

    catalog: Catalog
    funnel: Funnel
    dice: random.Random
    clips: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, dict[str, float | Failed]] = field(default_factory=lambda: {"first": {}, "second": {}})
    remembered: list[Shard] = field(default_factory=list)  #: shards whose clips runs have listed, old ones too
    clock: datetime = datetime(2030, 1, 1, tzinfo=timezone.utc)

    def step(self) -> str:
        actions: list[Callable[[], None]] = [
            *(self.split, self.measure, self.measure, self.measure, self.fail, self.fail),
            *(self.compact, self.crash_while_compacting, self.compact_twice_at_once, self.collect_garbage),
        ]
        action = self.dice.choice(actions)
        action()
        return action.__name__

    def split(self) -> None:
        """Add new sources, and sometimes one that another run has split too."""
        sources = [f"s{len(set(self.clips.values())) + i}" for i in range(self.dice.randint(1, 3))]
        if self.clips and self.dice.random() < 0.4:
            sources.append(self.dice.choice(list(self.clips.values())))
        counts = {source: 1 + sum(map(ord, source)) % 4 for source in sources}
        rows = [clip_row(f"c-{source}-{i}", source) for source, n in counts.items() for i in range(n)]
        self.catalog.add_clips(self.funnel.split.digest, pa.Table.from_pylist(rows, schema.CLIPS))
        self.clips |= {row["clip_id"]: row["source_id"] for row in rows}

    def measure(self) -> None:
        """Measure some clips of a shard, whether measured before or not: the numbers are always the same."""
        bound, shard, clips = self._some_work()
        rows = [{"clip_id": clip, "number": self.number(bound.name, clip), "status": "ok"} for clip in clips]
        if rows:
            table = pa.Table.from_pylist(rows, schema.measurement_schema(bound.stage.columns))
            self.catalog.add_measurements(bound.name, bound.digest, shard, table)
            self.outcomes[bound.name] |= {row["clip_id"]: row["number"] for row in rows}

    def fail(self) -> None:
        """Fail some clips of a shard; a run that listed them earlier may do so after another has measured them."""
        bound, shard, clips = self._some_work()
        known = self.outcomes[bound.name]
        rows = []
        for clip in clips:
            before = known.get(clip)
            failed = Failed(
                self.dice.choice(["corrupt", "unreachable"]), before.attempt + 1 if isinstance(before, Failed) else 1
            )
            if not isinstance(before, float):
                known[clip] = failed
            self.clock += timedelta(seconds=1)
            rows.append(self._failure_row(bound, clip, failed))
        if rows:
            table = pa.Table.from_pylist(rows, schema.FAILURES)
            self.catalog.add_failures(bound.name, bound.digest, shard.stem, table)

    def _failure_row(self, bound: BoundStage, clip: str, failed: Failed) -> dict:
        return {
            "id": clip,
            "stage": bound.name,
            "fingerprint": bound.digest,
            "error_code": failed.code,
            "detail": "made up",
            "traceback": None,
            "attempt": failed.attempt,
            "failed_at": self.clock,
        }

    def compact(self) -> None:
        compact(self.catalog, rows=self.dice.randint(3, 30))

    def crash_while_compacting(self) -> None:
        """Compact, and die after the wide file was written and before its manifest was."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.catalog.store, "write_json", _die)
            with suppress(KeyboardInterrupt):
                self.compact()

    def compact_twice_at_once(self) -> None:
        """Compact twice so that neither sees what the other commits, with work going on between their listings."""
        stale = Layout.read(self.catalog.store, self.funnel.split.digest)
        self.measure()
        self.compact()
        self.remembered += [shard.shard for shard in self._layout().shards]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compaction.Layout, "read", lambda *_: stale)
            patch.setattr(compaction, "manifests_since", lambda *_: [])
            self.compact()

    def collect_garbage(self) -> None:
        """Remove all garbage, as nobody reads meanwhile here."""
        remove_garbage(self.catalog, find_garbage(self.catalog, timedelta(0)))

    def number(self, stage: str, clip: str) -> float:
        return float(sum(map(ord, stage + clip)) % 10)

    def _layout(self) -> Layout:
        return Layout.read(self.catalog.store, self.funnel.split.digest)

    def _some_work(self) -> tuple[BoundStage, Shard, list[str]]:
        """Choose a stage, and clips of a shard as it is now or as some run has seen it before."""
        bound = self.dice.choice(self.funnel.measuring)
        now = [shard.shard for shard in self._layout().shards]
        self.remembered += now
        shards = self.remembered if self.dice.random() < 0.3 else now
        if not shards:
            return bound, Shard("clips/none.parquet"), []
        shard = self.dice.choice(shards)
        held = self._clips_of(shard)
        return bound, shard, sorted(self.dice.sample(held, self.dice.randint(1, len(held))))

    def _clips_of(self, shard: Shard) -> list[str]:
        """Return the clips of the shard that this one was merged into."""
        (found,) = [listed for listed in self._layout().shards if shard.stem in listed.stems]
        tables = [self.catalog.store.read_table(name, ["clip_id"]) for name in found.files]
        return sorted({clip for table in tables for clip in table["clip_id"].to_pylist()})


def _die(*_: object) -> None:
    raise KeyboardInterrupt

"""Items hold the right pictures, the sound of the same moments, and the caption of the row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from torch.utils.data import DataLoader

from catalogs import runs, schema
from catalogs.catalog import Catalog
from catalogs.media import whole_clip
from curation.deciding.bound import Funnel, resolve
from curation.deciding.policy import parse_policy
from curation.exports.snapshot import freeze
from tests.support.drawn_lot import source_row
from tests.support.examples import example
from tests.support.house import ROOT, python
from tests.support.written_media import grey_ramp, write_video

CuratedClips = example("torch_dataset").CuratedClips
POLICY = "stages: [{stage: scene_split, keep: {length: 'duration_s >= 1'}}, caption]"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Three clips: ``ramp`` (4 s, silent for 2 s, then a tone), ``mute`` (2.4 s) and ``short`` (0.4 s)."""
    folder = tmp_path_factory.mktemp("torch")
    catalog, funnel = Catalog.open_or_create(str(folder / "cat")), resolve(parse_policy(POLICY, "tested"))
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(64_000) / 16_000) * (np.arange(64_000) >= 32_000)
    paths = [
        write_video(folder / "ramp.mp4", grey_ramp(100), sound=tone.astype(np.float32)[None]),
        write_video(folder / "mute.mp4", grey_ramp(60, 96, 64)),
        write_video(folder / "short.mp4", grey_ramp(10)),
    ]
    spans = [whole_clip(path).span for path in paths]
    catalog.add_sources(
        pa.Table.from_pylist(
            [source_row(s.source_id, p, p.stat().st_size) for s, p in zip(spans, paths, strict=True)], schema.SOURCES
        )
    )
    clips = [
        dict.fromkeys(schema.CLIPS.names)
        | {name: getattr(span, name) for name in ("clip_id", "source_id", "path", "start_s", "end_s", "duration_s")}
        | {"start_pts": span.start_pts, "end_pts": span.end_pts, "time_base": str(span.time_base)}
        for span in spans
    ]
    catalog.add_clips(funnel.split.digest, pa.Table.from_pylist(clips, schema.CLIPS))
    (shard,) = catalog.clip_shards(funnel.split.digest)
    (caption,) = funnel.measuring
    captions = [{"clip_id": s.clip_id, "caption": Path(s.path).stem, "status": "ok"} for s in spans]
    rows = pa.Table.from_pylist(captions, schema.measurement_schema(caption.stage.columns))
    catalog.add_measurements("caption", caption.digest, shard, rows)
    write_run(catalog, funnel)
    freeze(catalog, funnel, "v1")
    return catalog


def write_run(catalog: Catalog, funnel: Funnel) -> None:
    record = runs.RunRecord(
        run_id="20260101T120000.1",
        pool=None,
        policy="tested",
        policy_text=POLICY,
        profile="lite",
        fingerprints=funnel.digests,
        started="2026-01-01T12:00:00+00:00",
        tool_version="0",
        status="done",
    )
    runs.write_run(catalog, record)


@pytest.mark.parametrize("snapshot", ["v1", None])
def test_an_item_is_the_middle_of_its_clip(catalog: Catalog, snapshot: str | None) -> None:
    items = {item["caption"]: item for item in CuratedClips(catalog.store.url, snapshot, frames=50, size=32)}
    assert items.keys() == {"ramp", "mute"}, "the short one has no 50 pictures"
    frames, sound = items["ramp"]["frames"], items["ramp"]["sound"]
    assert (frames.shape, str(frames.dtype)) == ((50, 3, 32, 32), "torch.uint8")
    levels = frames.float().mean(dim=(1, 2, 3))
    assert levels[0] == pytest.approx(2 * 25 + 10, abs=2), "the 25th picture, at 1 s"
    assert levels[-1] == pytest.approx(2 * 74 + 10, abs=2)
    assert sound.shape == (32_000,)
    assert float(sound[:15_000].abs().max()) < 0.05, "the tone begins at 2 s"
    assert float(sound[17_000:].std()) == pytest.approx(0.5 / 2**0.5, abs=0.05)
    assert not items["mute"]["sound"].any()


def test_a_loader_puts_items_together(catalog: Catalog) -> None:
    (batch,) = DataLoader(CuratedClips(catalog.store.url, "v1", frames=25, size=32), batch_size=4, num_workers=2)
    assert batch["frames"].shape == (2, 25, 3, 32, 32)
    assert batch["sound"].shape == (2, 16_000)
    assert sorted(batch["caption"]) == ["mute", "ramp"]


def test_it_runs_from_a_shell(catalog: Catalog) -> None:
    printed = python(ROOT, "examples/torch_dataset.py", catalog.store.url, "v1")
    assert printed.splitlines()[0] == "2 clips"
    assert "torch.Size([2, 50, 3, 256, 256])" in printed

"""A file of the pool is replaced by another under its name: nothing may show or freeze the new file as the old clips
without saying ``changed``, whether the pool has been ingested again or not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.ids import clip_id
from catalogs.media import MediaLimits
from catalogs.runs import RunRecord, write_run
from catalogs.snapshots import read_snapshot
from catalogs.whereabouts import Whereabouts
from curation.annotation.page.desk import Desk
from curation.annotation.page.lot_clips import LotClips
from curation.annotation.page.scores import scores_of
from curation.annotation.page.server import create_app
from curation.annotation.records import read_lot
from curation.deciding.bound import Funnel, resolve
from curation.deciding.policy import parse_policy
from curation.report.data import collect
from funnel.main import main
from stages.ingest import PoolFile, ingest_file, sources_table
from tests.support.written_media import write_video

POLICY = 'name: cuts\nstages:\n  - {stage: scene_split, keep: {length: "duration_s > 0.5"}}\n'
CLIPS, FPS = 4, 10
ONE_SECOND = 1024 * FPS  #: in ticks of the file's time base


def video(path: Path, level: int) -> Path:
    return write_video(path, [np.full((64, 96, 3), level + i, np.uint8) for i in range(CLIPS * FPS)], fps=FPS)


def ingest(catalog: Catalog, path: Path) -> str:
    """Catalogue the file as it is now; returns the source's id."""
    info = path.stat()
    row = ingest_file(PoolFile(str(path), info.st_size, str(info.st_mtime)), "pool", MediaLimits())
    assert row["status"] == "ok"
    catalog.add_sources(sources_table([row]))
    return str(row["source_id"])


def clip_row(source_id: str, path: Path, second: int, ticks: int) -> dict[str, object]:
    start, end = second * FPS * ticks, (second + 1) * FPS * ticks
    return {
        "clip_id": clip_id(source_id, start, end),
        "source_id": source_id,
        "path": str(path),
        "start_s": float(second),
        "end_s": second + 1.0,
        "duration_s": 1.0,
        "start_pts": start,
        "end_pts": end,
        "time_base": f"1/{FPS * ticks}",
        "n_frames": FPS,
        "cut_in": "start",
        "cut_out": "end",
    }


class World:
    """A catalog of one real file, cut into clips of a second, all kept."""

    def __init__(self, folder: Path):
        self.file = video(folder / "talk.mp4", level=40)
        self.catalog = Catalog.open_or_create(str(folder / "cat"))
        self.url = str(folder / "cat")
        self.funnel: Funnel = resolve(parse_policy(POLICY, "p.yaml"))
        source_id = ingest(self.catalog, self.file)
        rows = [clip_row(source_id, self.file, second, ticks=1024) for second in range(CLIPS)]
        self.clips = [str(row["clip_id"]) for row in rows]
        self.catalog.add_clips(self.funnel.split.digest, pa.Table.from_pylist(rows, schema.CLIPS))
        write_run(
            self.catalog,
            RunRecord(
                "r1", None, "cuts", POLICY, "lite", self.funnel.digests, "2026-01-01T12:00:00+00:00", "0", "done"
            ),
        )

    def replace_file(self) -> None:
        """Put another video of the same length under the name."""
        video(self.file, level=160)
        os.utime(self.file, (2e9, 2e9))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(params=["not ingested again", "ingested again"])
def replaced(request: pytest.FixtureRequest, world: World) -> World:
    world.replace_file()
    if request.param == "ingested again":
        ingest(world.catalog, world.file)
    return world


def said_by(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    assert ended.value.code in (0, None), said.err
    return " ".join((said.out + said.err).split())


def test_nothing_is_said_of_files_that_are_what_they_were(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.file.touch()  # another modification time, the same bytes
    assert "cannot be opened" not in said_by(capsys, "sample", world.url, "--stage", "scene_split", "--n", "2")
    assert "changed" not in said_by(capsys, "explain", world.url, world.clips[0])
    assert "cannot be opened" not in said_by(capsys, "snapshot", world.url, "--name", "v1")
    assert read_snapshot(world.catalog, "v1").unopenable == {}
    strips = collect(world.catalog, world.funnel).strips
    assert strips
    assert all(strip.jpeg and not strip.problem for strip in strips.values())


def test_the_report_shows_no_picture_of_the_new_file(replaced: World) -> None:
    strips = collect(replaced.catalog, replaced.funnel).strips
    assert set(strips) == set(replaced.clips)
    for strip in strips.values():
        assert not strip.jpeg
        assert "changed" in strip.problem


def test_sample_says_changed(replaced: World, capsys: pytest.CaptureFixture[str]) -> None:
    said = said_by(capsys, "sample", replaced.url, "--stage", "scene_split", "--n", "2")
    assert "2 of 2 clips cannot be opened any more (changed 2)" in said


def test_the_annotation_page_says_changed_and_plays_nothing(
    replaced: World, capsys: pytest.CaptureFixture[str]
) -> None:
    said_by(capsys, "sample", replaced.url, "--stage", "scene_split", "--n", "2", "--name", "lot")
    lot, items = read_lot(replaced.catalog, "lot")
    lot_clips = LotClips(replaced.catalog, items)
    assert lot_clips.troubles() == {"changed": 2}
    app = create_app(Desk(replaced.catalog, lot, items), lot_clips, scores_of(lot, items), None, "t", "c")
    with TestClient(app, base_url="http://127.0.0.1") as client:
        client.cookies.set("c", "t")
        for path in ("/api/items/1/first", "/media/1/first.mp4"):
            answer = client.get(path)
            assert answer.status_code >= 400
            assert "changed" in answer.text


def test_explain_says_changed(replaced: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert "its file is changed" in said_by(capsys, "explain", replaced.url, replaced.clips[0])
    with pytest.raises(SystemExit):
        main(["explain", replaced.url, replaced.clips[0], "--json"])
    assert json.loads(capsys.readouterr().out)["file"]["status"] == "changed"


def test_snapshot_says_changed_and_writes_it_down(replaced: World, capsys: pytest.CaptureFixture[str]) -> None:
    said = said_by(capsys, "snapshot", replaced.url, "--name", "v1")
    assert "4 of 4 clips cannot be opened any more (changed 4)" in said
    assert read_snapshot(replaced.catalog, "v1").unopenable == {"changed": 4}
    said_by(capsys, "snapshot", replaced.url, "--name", "v2", "--no-check-files")
    assert read_snapshot(replaced.catalog, "v2").unopenable is None


def test_a_file_that_has_gone_is_not_found(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.file.unlink()
    assert "(not_found 4)" in said_by(capsys, "snapshot", world.url, "--name", "v1")
    assert "its file is not_found" in said_by(capsys, "explain", world.url, world.clips[0])


def test_a_file_that_moved_is_found_where_it_was_seen_last(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    moved = world.file.rename(world.file.with_name("elsewhere.mp4"))
    source_id = ingest(world.catalog, moved)
    assert Whereabouts(world.catalog).file_of(source_id, str(world.file)).path == str(moved)
    assert str(moved) in said_by(capsys, "explain", world.url, world.clips[0])
    assert "cannot be opened" not in said_by(capsys, "snapshot", world.url, "--name", "v1")
    assert all(strip.jpeg for strip in collect(world.catalog, world.funnel).strips.values())

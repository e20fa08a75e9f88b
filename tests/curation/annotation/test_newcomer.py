"""Somebody who has read the README walks the whole way.

They sample, judge 30 clips by keyboard in a browser, accept, calibrate, freeze a snapshot, and open the report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.ids import clip_id
from catalogs.snapshots import read_snapshot
from curation.annotation.records import read_lot
from funnel.main import main
from tests.support.annotator import Annotator, Keys, Server
from tests.support.browser import needs_browser
from tests.support.hand_written import add_measured, funnel, write_run
from tests.support.written_media import whole_span, write_video

pytestmark = needs_browser
FPS, FRAMES, CLIPS = 10, 6, 32
KEPT, DROPPED = 24, 8
POLICY = """\
name: newcomer
stages:
  - stage: scene_split
  - stage: audio_quality
    keep:
      quality: "dnsmos_ovrl >= 2.0" # to be calibrated
"""
QUALITIES = [*np.linspace(1.2, 1.9, DROPPED), *np.linspace(2.1, 4.0, KEPT)]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Catalogue a film of 32 shots of six frames, measured by hand, with the record of a run."""
    sound = (0.3 * np.sin(2 * np.pi * 440 * np.arange(CLIPS * FRAMES * 1600) / 16_000)).astype(np.float32)[None]
    pictures = [np.full((96, 128, 3), 20 + 6 * shot, np.uint8) for shot in range(CLIPS) for _ in range(FRAMES)]
    path = write_video(tmp_path / "film.mp4", pictures, fps=FPS, sound=sound)
    film, tested, source = whole_span(path), funnel(POLICY), f"s{7:032x}"
    opened = Catalog.open_or_create(str(tmp_path / "catalog"))
    opened.add_sources(pa.Table.from_pylist([_source(source, path)], schema.SOURCES))
    ticks = (film.end_pts - film.start_pts) // CLIPS
    rows = [
        {
            "clip_id": clip_id(source, i * ticks, (i + 1) * ticks),
            "source_id": source,
            "path": str(path),
            "start_s": i * FRAMES / FPS,
            "end_s": (i + 1) * FRAMES / FPS,
            "duration_s": FRAMES / FPS,
            "start_pts": i * ticks,
            "end_pts": (i + 1) * ticks,
            "time_base": str(film.time_base),
            "n_frames": FRAMES,
            "cut_in": "cut",
            "cut_out": "cut",
        }
        for i in range(CLIPS)
    ]
    opened.add_clips(tested.split.digest, pa.Table.from_pylist(rows, schema.CLIPS))
    (shard,) = opened.clip_shards(tested.split.digest)
    ids = np.array([row["clip_id"] for row in rows])
    add_measured(opened, tested, "audio_quality", shard, ids, {"dnsmos_ovrl": np.array(QUALITIES)})
    write_run(opened, tested)
    return opened


def _source(source_id: str, path: Path) -> dict:
    return dict.fromkeys(schema.SOURCES.names) | {
        "source_id": source_id,
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "revision": str(path.stat().st_mtime),  # what the storage says of it
        "dataset": "films",
        "duration_s": CLIPS * FRAMES / FPS,
        "ingested_at": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "status": "ok",
    }


def test_from_the_first_lot_to_the_report(
    catalog: Catalog,
    tmp_path: Path,
    closing: ExitStack,
    sit_down: Callable[[str], Annotator],
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = catalog.store.url

    def types(code: int, *words: str) -> str:
        """Run a command as the data lead does; return what it prints."""
        with pytest.raises(SystemExit) as end:
            main(words)
        printed = capsys.readouterr()
        assert (end.value.code or 0) == code, printed
        return printed.out + printed.err

    kept = types(0, "sample", url, "--stage", "audio_quality", "--n", "22")
    assert f"lot audio_quality-kept-1: 22 of {KEPT} clips kept by audio_quality" in kept
    dropped = types(0, "sample", url, "--stage", "audio_quality", "--dropped", "--n", "20")
    assert f"lot audio_quality-dropped-1: {DROPPED} of {DROPPED} clips dropped by audio_quality: all" in dropped

    newcomer = sit_down("newcomer")
    server = closing.enter_context(Server(catalog, *_named(kept)))
    newcomer.open(server.address, "newcomer")
    for number in range(1, 22):
        newcomer.is_at(number)
        newcomer.press("g")
    newcomer.is_at(22)
    newcomer.is_saved()
    assert "need 1 more: 21 of 22 judged" in types(4, "accept", url, *_named(kept))
    newcomer.press("g")
    newcomer.until(lambda: "You have judged every clip" in newcomer.text("done-text"))
    newcomer.is_saved()
    server.stop()

    _, items = read_lot(catalog, *_named(dropped))
    heard = [json.loads(measured)["dnsmos_ovrl"] for measured in items["measured"].to_pylist()]
    server = closing.enter_context(Server(catalog, *_named(dropped), server.port))
    newcomer.open(server.address)  # the same port: the browser knows the name
    for number, quality in enumerate(heard, 1):
        newcomer.is_at(number)
        newcomer.press(*(("g", "1", Keys.ENTER) if quality > 1.5 else ("b", "1", "b")))
    newcomer.until(lambda: "You have judged every clip" in newcomer.text("done-text"))
    newcomer.is_saved()
    assert newcomer.complaints() == []
    assert "22 of 22" in types(0, "lots", url)

    text = types(0, "accept", url, *_named(dropped))
    assert re.search(rf"judged +{DROPPED} of {DROPPED}, of {DROPPED} dropped clips; by newcomer", text)
    assert re.search(r"reasons +quiet_voice 4, noise 4|reasons +noise 4, quiet_voice 4", text)
    text = types(0, "accept", url, *_named(kept))
    assert "pass: at most 4.17% bad cases, no more than 5.0% at 95% confidence" in text
    assert "50.00%; at least 50.00%, at most 50.00%" in text  # of what is dropped is good

    text = types(0, "calibrate", url, "--stage", "audio_quality")
    assert "30 judged clips of audio_quality" in text
    assert '-      quality: "dnsmos_ovrl >= 2.0" # to be calibrated\n' in text
    proposed = re.search(r'\+      quality: "dnsmos_ovrl >= ([\d.]+)" # to be calibrated\n', text)
    assert proposed is not None
    assert 1.5 < float(proposed[1]) <= 1.6

    assert f"snapshot v1: {KEPT} clips" in types(0, "snapshot", url, "--name", "v1", "--require-gates")
    assert read_snapshot(catalog, "v1").gates["audio_quality"]["outcome"] == "pass"

    page = tmp_path / "report.html"
    types(0, "report", url, "--out", str(page))
    newcomer.browser.get(page.as_uri())
    newcomer.until(lambda: "audio_quality" in newcomer.browser.find_element("css selector", "main").text)
    assert "4.17%" in newcomer.browser.find_element("css selector", "main").text


def _named(printed: str) -> tuple[str]:
    """Find the lot's name in what `funnel sample` printed."""
    found = re.match("lot ([^:]+):", printed)
    assert found is not None
    return (found[1],)

"""Nothing is lost, and it is said, when the pool has gone, a file rots, or a disk is full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from curation.annotation import gates
from curation.annotation.records import all_answers
from tests.curation.annotation.page.conftest import Open, give
from tests.support.drawn_lot import CLIPS


def catalog_of(client: TestClient) -> Any:
    return client.desk._catalog  # type: ignore[attr-defined]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Put the test's folder on a disk of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a disk for this test")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_lot_of_a_vanished_pool_can_still_be_judged_and_counted(open_page: Open, tmp_path: Path) -> None:
    client = open_page()
    (tmp_path / "pool").rename(tmp_path / "elsewhere")
    for number in range(1, CLIPS + 1):
        told = client.get(f"/api/items/{number}/first")
        assert (told.status_code, told.json()["code"]) == (422, "not_found")
        assert client.get(f"/api/items/{number}").json()["scores"]  # what was measured is in the lot
        assert give(client, number, verdict="unsure", reasons=["unusable"]).status_code == 201
    gate = gates.accept(catalog_of(client), "first")
    assert (gate.outcome, gate.unsure, gate.reasons) == ("fail", CLIPS, {"unusable": CLIPS})


def test_a_clip_that_does_not_decode_is_told_and_can_be_judged(open_page: Open) -> None:
    client = open_page()
    path = Path(client.desk.items[1]["path"])  # type: ignore[attr-defined]
    data = bytearray(path.read_bytes())
    begins = data.index(b"mdat") + 4
    rotten = (len(data) - begins) // 3
    data[begins : begins + rotten] = bytes(rotten)
    path.write_bytes(data)
    told = client.get("/api/items/1/first")
    assert told.status_code == 422
    assert told.json()["error"]
    assert str(path.parent) not in told.text
    assert give(client, 1, verdict="unsure").status_code == 201


def test_a_full_disk_keeps_what_is_stored_and_takes_the_rest_later(
    open_page: Open, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_page(folder=disk)
    assert give(client, 1, verdict="good").status_code == 201
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(2 << 20))
    refused = give(client, 2, verdict="bad", reasons=["sound_late"])
    assert refused.status_code == 507
    assert "the disk is full" in refused.json()["error"]
    assert client.get("/api/work?annotator=anna").json()["done"] == 1
    filler.unlink()
    assert give(client, 2, verdict="bad", reasons=["sound_late"]).status_code == 201
    assert [answer.verdict for answer in all_answers(catalog_of(client), "first")] == ["good", "bad"]

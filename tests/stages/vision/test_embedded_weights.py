"""The embedded files are the ones on record."""

from __future__ import annotations

import hashlib
from pathlib import Path


def test_every_file_has_its_recorded_content(embedded, weight):
    for entry in embedded:
        content = weight(entry["name"]).read_bytes()
        assert len(content) == entry["size_bytes"], entry["file"]
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], entry["file"]


def test_nothing_is_embedded_without_a_record(embedded, weight):
    folder = weight(embedded[0]["name"]).parent
    assert {path.name for path in folder.iterdir()} == {entry["file"] for entry in embedded}


def test_the_package_stays_small_and_every_licence_is_named(embedded):
    assert sum(entry["size_bytes"] for entry in embedded) <= 25_000_000
    assert {entry["licence"] for entry in embedded} <= {"Apache-2.0", "MIT"}
    assert all(entry["source"] and entry["purpose"] for entry in embedded)


def test_notice_names_every_embedded_file(embedded):
    notice = Path(__file__).parents[3].joinpath("NOTICE").read_text("utf-8")
    assert [entry["file"] for entry in embedded if entry["file"] not in notice] == []

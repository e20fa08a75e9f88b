"""The server sends the lot, an item and the clip by ranges; an answer is on disk once it is confirmed."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path

import av
import numpy as np
import pytest

from catalogs.store import Store
from curation.annotation.records import MAX_NOTE, all_answers
from tests.curation.annotation.page.conftest import POSTING, Open, give
from tests.support.drawn_lot import CLIPS, NASTY, level


def test_the_lot_says_what_is_asked(open_page: Open) -> None:
    lot = open_page().get("/api/lot").json()
    assert (lot["name"], lot["stage"], lot["mode"], lot["size"]) == ("first", "sync", "verdict", CLIPS)
    assert lot["question"].endswith("?")
    assert {"key": "sound_late", "label": "the sound is late"} in lot["reasons"]["bad"]
    assert lot["reasons"]["good"] == []


def test_an_item_shows_scores_and_rules_but_no_folder(open_page: Open) -> None:
    client = open_page()
    item = client.get("/api/items/1").json()
    assert item["source"] == "ramp.mp4"
    assert {rule["name"]: rule["holds"] for rule in item["rules"]} == {"small_offset": True, "in_sync": False}
    scores = {score["name"]: score for score in item["scores"]}
    assert scores["sync_confidence"]["value"] == 1.5
    assert scores["sync_confidence"]["decides"]
    assert client.get(f"/api/items/{CLIPS}").json()["source"] == NASTY
    for path in ("/api/items/1", "/api/lot", "/api/items/1/first", f"/api/items/{CLIPS}/first"):
        assert str(client.desk.items[1]["path"].rsplit("/", 1)[0]) not in client.get(path).text  # type: ignore[attr-defined]


def test_an_annotator_is_sent_what_the_page_shows_and_no_more(open_page: Open, tmp_path: Path) -> None:
    client = open_page()
    lot, item = client.get("/api/lot").json(), client.get("/api/items/1").json()
    asked = {"key", "name", "stage", "mode", "size", "boxes", "annotator", "max_note"}
    assert lot.keys() == asked | {"side", "question", "reasons"}
    assert item.keys() == {"source", "start_s", "end_s", "scores", "rules"}
    assert "sync_method" not in {score["name"] for score in item["scores"]}  # nothing was measured there
    (tmp_path / "dropped").mkdir()
    dropped = open_page(folder=tmp_path / "dropped", side="dropped")
    assert dropped.get("/api/items/1").json().keys() == item.keys() | {"drop_rule"}


@pytest.mark.parametrize("mode", ["scale", "pair"])
def test_user_studies_are_blind(open_page: Open, mode: str) -> None:
    client = open_page(mode=mode)
    assert client.get("/api/items/1?annotator=anna").json() == {}
    lot = client.get("/api/lot").json()
    assert lot.keys() == {"key", "name", "stage", "mode", "size", "boxes", "annotator", "max_note", "axes"}
    assert lot["boxes"] == []
    assert client.get("/api/items/1/boxes").status_code == 404


def test_a_clip_is_served_whole_and_by_ranges(open_page: Open) -> None:
    client = open_page()
    facts = client.get("/api/items/3/first").json()
    assert facts["duration_s"] == pytest.approx(1.0)
    assert len(facts["frame_times_s"]) == 10
    assert max(facts["peaks"]) == pytest.approx(0.5, abs=0.05)
    whole = client.get("/media/3/first.mp4")
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    with av.open(io.BytesIO(whole.content)) as container:
        greys = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    assert np.allclose(greys, level(2), atol=1.5)
    size = len(whole.content)
    part = client.get("/media/3/first.mp4", headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, whole.content[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{size}"
    tail = client.get("/media/3/first.mp4", headers={"Range": "bytes=-50"})
    assert (tail.status_code, tail.content) == (206, whole.content[-50:])
    beyond = client.get("/media/3/first.mp4", headers={"Range": f"bytes={size}-"})
    assert beyond.status_code == 416


def test_a_pair_has_two_clips(open_page: Open) -> None:
    client = open_page(mode="pair")
    for which, clip in (("first", 0), ("other", 1)):
        content = client.get(f"/media/1/{which}.mp4").content
        with av.open(io.BytesIO(content)) as container:
            frame = next(container.decode(video=0))
        assert frame.to_ndarray(format="rgb24").mean() == pytest.approx(level(clip), abs=1.5)


def test_a_clip_that_cannot_be_played_says_why_and_can_be_judged(open_page: Open) -> None:
    client = open_page()
    refused = client.get(f"/api/items/{CLIPS}/first")
    assert refused.status_code == 422
    assert refused.json() == {"error": "the file is not there any more", "code": "not_found"}
    assert give(client, CLIPS, verdict="unsure", reasons=["unusable"]).status_code == 201


def test_a_file_that_was_replaced_is_not_shown(open_page: Open) -> None:
    client = open_page()
    path = Path(client.desk.items[1]["path"])  # type: ignore[attr-defined]
    path.write_bytes(path.read_bytes() + b"more")
    assert client.get("/api/items/1/first").json()["code"] == "changed"


OUTSIDE = [
    "/media/0/first.mp4",
    "/media/99/first.mp4",
    "/media/-1/first.mp4",
    "/media/1/second.mp4",
    "/media/1/..%2f..%2fetc%2fpasswd.mp4",
    "/media/..%2f..%2f..%2fetc%2fpasswd",
    "/media/1/first.mp4/../../../etc/passwd",
    "/static/../server.py",
    "/static/..%2fserver.py",
    "/static/%2e%2e/server.py",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/",
    "/api/items/1/..%2ffirst",
]


def test_no_path_leads_out(open_page: Open) -> None:
    client = open_page()
    for path in OUTSIDE:
        response = client.get(path)
        assert response.status_code in (404, 405), path
        assert response.json()["error"]


def test_an_answer_is_on_disk_once_it_is_confirmed(open_page: Open) -> None:
    client = open_page()
    reply = give(client, 2, verdict="bad", reasons=["sound_late"], note="<b>&\n日本", seconds=3.5)
    assert reply.status_code == 201
    (stored,) = all_answers(client.desk._catalog, "first")  # type: ignore[attr-defined]
    assert (stored.number, stored.verdict, stored.reasons, stored.note) == (2, "bad", ("sound_late",), "<b>&\n日本")
    assert (stored.annotator, stored.seconds, stored.clip_id) == ("anna", 3.5, client.desk.items[2]["clip_id"])  # type: ignore[attr-defined]
    assert reply.json()["saved"]["answered_at"] == stored.answered_at
    assert reply.json()["done"] == 1


def test_the_longest_note_is_taken_in_any_script(open_page: Open) -> None:
    client = open_page()
    assert give(client, 1, verdict="good", note="\U0001f3ac" * MAX_NOTE).status_code == 201


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EROFS, 503)])
def test_an_answer_that_cannot_be_stored_is_not_confirmed(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    client = open_page()
    with monkeypatch.context() as patched:

        def refuse(store: Store, name: str, data: bytes) -> None:
            raise OSError(number, "no room")

        patched.setattr(Store, "write_bytes", refuse)
        refused = give(client, verdict="good")
    assert refused.status_code == status
    assert refused.json()["error"]
    assert client.get("/api/work?annotator=anna").json()["done"] == 0
    assert give(client, verdict="good").json()["done"] == 1


def test_nobody_sees_the_answers_of_another(open_page: Open) -> None:
    client = open_page(overlap=2)
    give(client, 1, "anna", verdict="bad", reasons=["sound_late"], note="secret")
    work = client.get("/api/work?annotator=bea")
    assert work.json()["answers"] == {}
    assert "secret" not in work.text
    mine = client.get("/api/work?annotator=anna").json()["answers"]
    assert mine["1"]["note"] == "secret"


def test_a_page_opened_for_one_annotator_takes_no_other(open_page: Open) -> None:
    client = open_page(annotator="anna")
    assert client.get("/api/lot").json()["annotator"] == "anna"
    assert give(client, 1, "bea", verdict="good").status_code == 400
    assert client.get("/api/work?annotator=bea").status_code == 400
    assert give(client, 1, "anna", verdict="good").status_code == 201


def test_what_is_no_answer_is_refused_in_one_line(open_page: Open) -> None:
    client = open_page()
    for body in (b"", b"{", b"[]", b"null", b"\xff", b'{"number": ' + b"[" * 9000, b"x" * 20_000):
        refused = client.post("/api/answers", content=body, headers={**POSTING, "Content-Type": "application/json"})
        assert refused.status_code in (400, 413)
        assert "\n" not in json.loads(refused.content)["error"]
    assert not all_answers(client.desk._catalog, "first")  # type: ignore[attr-defined]


def test_boxes_are_offered_only_where_they_help(open_page: Open) -> None:
    client = open_page()
    assert client.get("/api/lot").json()["boxes"] == ["face"]
    assert client.get(f"/api/items/{CLIPS}/boxes").json()["code"] == "not_found"

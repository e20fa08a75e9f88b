"""A program sends a form, watches the job, takes the film by ranges, and is told in one line what it did wrong."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from inference.serving.records import JobFolder
from inference.serving.upload import Upload
from tests.inference.serving.conftest import PORTRAIT, SOUND, Open, wait_for
from tests.inference.serving.fake_portraits import FRAMES

Left = Callable[[], set[str]]
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def part(name: str, data: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\n%s\r\n' % (name.encode(), data)


def test_a_film_is_asked_for_watched_and_taken(open_server: Open) -> None:
    client = open_server()
    response = client.submit(title="me & <you>", prompt="held", seed=3, audio_scale=2.5)
    assert response.status_code == 201
    job = response.json()
    assert response.headers["location"] == f"/api/jobs/{job['id']}"
    assert job["options"] == {
        "title": "me & <you>",
        "prompt": "held",
        "seed": 3,
        "steps": None,
        "audio_scale": 2.5,
        "text_scale": None,
        "cache": 0.0,
        "colour": 0.0,
        "scale": 1,
        "face": None,
        "force": False,
    }
    wait_for(lambda: client.job(job["id"])["progress"])
    running = client.job(job["id"])
    progress = {"phase": "sampling", "done": 1, "total": 4, "eta_s": 12.0, "frames_written": 0}
    assert (running["state"], running["progress"]) == ("running", progress)
    early = client.get(f"/api/jobs/{job['id']}/film")
    assert (early.status_code, early.json()) == (409, {"error": "the job is running: it has no film"})
    client.generator.gate.set()
    done = client.until(job["id"], "done")
    assert client.generator.seen == [(PORTRAIT, SOUND)]
    film = client.get(f"/api/jobs/{job['id']}/film")
    assert film.headers["content-type"] == "video/mp4"
    assert len(film.content) == done["film_bytes"]
    with av.open(io.BytesIO(film.content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    some = client.get(f"/api/jobs/{job['id']}/film", headers={"Range": "bytes=10-19"})
    assert (some.status_code, some.content) == (206, film.content[10:20])
    assert client.get(f"/api/jobs/{job['id']}/film", headers={"Range": "bytes=99999999-"}).status_code == 416
    assert client.get("/api/jobs").json() == {"jobs": [done]}


def test_no_path_of_the_server_is_told_and_none_of_the_client_is_used(
    open_server: Open, left: Left, tmp_path: Path
) -> None:
    client = open_server()
    job_id = client.made()
    client.until(job_id, "done")
    wait_for(lambda: left() == {f"jobs/{job_id}/job.json", f"jobs/{job_id}/film.mp4"})
    failed = client.made(prompt="no face")
    client.until(failed, "failed")
    for path in ("/api/server", "/api/jobs", "/openapi.json", f"/api/jobs/{failed}"):
        assert str(tmp_path) not in client.get(path).text


def test_a_cancelled_job_is_gone_at_once(open_server: Open, left: Left) -> None:
    client = open_server()
    job_id = client.made(prompt="slow")
    client.until(job_id, "running")
    assert client.delete(f"/api/jobs/{job_id}").status_code == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/again"), ("GET", "/film")):
        assert client.request(method, f"/api/jobs/{job_id}{path}").status_code == 404
    wait_for(lambda: left() == set())


def test_a_full_queue_says_when_to_come_again(open_server: Open, left: Left) -> None:
    client = open_server(waiting=1)
    first = client.made(prompt="held")
    wait_for(lambda: client.job(first)["progress"])
    assert client.get("/api/server").json()["accepts"]
    client.made()
    assert not client.get("/api/server").json()["accepts"]
    refused = client.submit()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "12")
    assert refused.json()["error"]
    client.generator.gate.set()
    wait_for(lambda: client.submit().status_code == 201)
    assert not any(path.startswith("incoming") for path in left())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the form ends early"),
        (b"--x--\r\n", "portrait is missing"),
        (part("portrait", b"a") + b"--x--\r\n", "sound is missing"),
        (part("portrait", b"a") + part("sound", b"a"), "the form ends early"),
        (part("portrait", b"a") + part("sound", b"a") + part("seed", b"x") + b"--x--\r\n", "seed is a whole number"),
        (part("image", b"/etc/passwd"), "the form has a part 'image'"),
    ],
)
def test_a_form_that_is_none_is_refused_and_leaves_nothing(
    open_server: Open, left: Left, body: bytes, said: str
) -> None:
    client = open_server()
    refused = client.post("/api/jobs", content=body, headers=FORM)
    assert refused.status_code == 400
    assert refused.json()["error"].startswith(said)
    assert left() == set()
    assert client.get("/api/jobs").json() == {"jobs": []}


def test_another_kind_of_body_is_refused(open_server: Open) -> None:
    refused = open_server().post("/api/jobs", json={"portrait": "/etc/passwd"})
    assert refused.status_code == 400
    assert "multipart/form-data" in refused.json()["error"]


def test_uploads_are_limited_while_they_come(open_server: Open, left: Left) -> None:
    client = open_server(portrait_bytes=1000, sound_bytes=1000)
    refused = client.post("/api/jobs", content=part("portrait", b"a" * 1001), headers=FORM)
    assert (refused.status_code, refused.json()) == (413, {"error": "portrait is larger than 1000 bytes"})
    announced = client.post("/api/jobs", content=bytes(1 << 20), headers=FORM)
    assert announced.status_code == 413
    assert left() == set()
    assert client.submit().status_code == 201


def test_a_disk_that_is_full_keeps_nothing(open_server: Open, left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    client = open_server()
    for owner, name in ((Upload, "feed"), (JobFolder, "accept"), (JobFolder, "begin")):
        with monkeypatch.context() as patched:

            def refuse(*args: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")

            patched.setattr(owner, name, refuse)
            refused = client.submit()
        assert refused.status_code == 507
        assert "secret" not in refused.text
        assert left() == set()
    assert client.submit().status_code == 201


OUTSIDE = ["x", "0" * 16, "0123456789ABCDEF", "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "0" * 15 + "%00", "\u0663" * 16]


@pytest.mark.parametrize("job_id", OUTSIDE)
def test_no_id_leads_out(open_server: Open, job_id: str) -> None:
    client = open_server()
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/again"), ("GET", "/film")):
        response = client.request(method, f"/api/jobs/{job_id}{path}")
        assert response.status_code in (404, 405), response.text
        assert response.json()["error"]
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/"):
        assert client.get(path).status_code == 404


def test_the_server_says_what_it_is(open_server: Open) -> None:
    told = open_server(waiting=3).get("/api/server").json()
    assert told["model"] == {"name": "fake", "preset": "tiny", "fps": 25.0, "width": 64, "height": 64}
    assert told["limits"]["waiting"] == 3
    assert told["options"]["seed"]["maximum"] == 2**31 - 1

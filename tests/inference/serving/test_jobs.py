"""Jobs are made in turn, the queue is bounded, a cancelled job leaves nothing, and a restart knows what there was."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from catalogs.errors import UserError
from inference.serving.jobs import Jobs, Limits, NoSuchJob, NotNow, QueueFull, Shown
from inference.serving.options import Options
from inference.serving.records import JobFolder
from tests.inference.serving.conftest import wait_for
from tests.inference.serving.fake_portraits import FakeGenerator

Left = Callable[[], set[str]]


class Server:
    """Has jobs over a folder, as a server has them."""

    def __init__(self, folder: Path, **limits: int) -> None:
        self.generator = FakeGenerator()
        self.jobs = Jobs(JobFolder(folder), self.generator, Limits(**limits))
        self.jobs.start()

    def submit(self, prompt: str = "") -> str:
        with self.jobs.uploading() as (job_id, folder):
            for name in ("portrait", "sound"):
                (folder / name).write_bytes(name.encode())
            return self.jobs.submit(job_id, Options(prompt=prompt)).record.id

    def until(self, job_id: str, state: str) -> Shown:
        wait_for(lambda: self.jobs.get(job_id).record.state == state)
        return self.jobs.get(job_id)

    def idle(self) -> None:
        """Wait until nothing runs, not even what was removed."""
        wait_for(lambda: not self.jobs._running)

    def end(self) -> None:
        self.jobs.close(60)

    def kill(self) -> None:
        """End as a process that is killed: nothing is written any more, and the system frees the lock."""
        self.jobs._folder.write = lambda record: None  # type: ignore[method-assign]
        self.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


def test_jobs_are_made_one_after_the_other_in_their_order(folder: Path) -> None:
    server = Server(folder)
    ids = [server.submit("held") for _ in range(3)]
    server.until(ids[0], "running")
    assert [server.jobs.get(job_id).place for job_id in ids] == [0, 1, 2]
    assert [shown.record.id for shown in server.jobs.all()] == ids[::-1]
    assert len(server.generator.made) == 1
    server.generator.gate.set()
    for job_id in ids:
        server.until(job_id, "done")
    assert [work.portrait.parent.name for work in server.generator.made] == ids
    server.end()


def test_a_film_is_all_that_is_kept_of_a_job_that_is_done(folder: Path, left: Left) -> None:
    server = Server(folder)
    job_id = server.submit()
    done = server.until(job_id, "done")
    server.idle()
    assert left() == {f"jobs/{job_id}/job.json", f"jobs/{job_id}/film.mp4"}
    assert done.record.film_bytes == server.jobs.film(job_id).stat().st_size > 0
    assert done.record.notes == ("portrait: of 2 faces the largest",)
    server.end()


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("no face", "portrait: no face is found; force goes on without one"),
        ("bad model", "the model was trained with other sound"),
        ("full disk", "the storage refused: no space left on device"),
        ("exit", "an error inside the server ended the job; its log says more"),
        ("bug", "an error inside the server ended the job; its log says more"),
    ],
)
def test_a_job_that_fails_says_why_without_paths_and_keeps_nothing_else(
    folder: Path, left: Left, prompt: str, said: str
) -> None:
    server = Server(folder)
    failed, after = server.submit(prompt), server.submit()
    assert server.until(failed, "failed").record.error == said
    server.until(after, "done")
    assert {path for path in left() if failed in path} == {f"jobs/{failed}/job.json"}
    with pytest.raises(NotNow):
        server.jobs.film(failed)
    server.end()


def test_the_queue_is_bounded_and_uploads_count(folder: Path) -> None:
    server = Server(folder, waiting=2)
    running = server.submit("held")
    server.until(running, "running")
    wait_for(lambda: server.jobs.get(running).progress)
    server.submit()
    with server.jobs.uploading():
        assert not server.jobs.accepts()
        with pytest.raises(QueueFull) as full:
            server.submit()
        assert full.value.retry_s == 12  # what the running job needs
    assert server.jobs.accepts()
    server.submit()
    server.generator.gate.set()
    server.end()


def test_an_upload_that_is_given_up_leaves_nothing(folder: Path, left: Left) -> None:
    server = Server(folder)
    with suppress(ZeroDivisionError), server.jobs.uploading() as (_, place):
        (place / "portrait").write_bytes(b"half")
        raise ZeroDivisionError
    assert left() == set()
    assert server.jobs.all() == []
    server.end()


@pytest.mark.parametrize("prompt", ["slow", "deaf"])
def test_a_cancelled_job_leaves_nothing_and_the_next_waits_until_it_has_stopped(
    folder: Path, left: Left, prompt: str
) -> None:
    server = Server(folder)
    running, waiting, last = server.submit(prompt), server.submit(), server.submit()
    server.until(running, "running")
    server.jobs.remove(waiting)
    server.jobs.remove(running)
    for job_id in (running, waiting):
        with pytest.raises(NoSuchJob):
            server.jobs.get(job_id)
    if prompt == "deaf":
        assert server.jobs.get(last).place == 1
        server.generator.gate.set()
    server.until(last, "done")
    server.idle()
    assert left() == {f"jobs/{last}/job.json", f"jobs/{last}/film.mp4"}
    assert len(server.generator.made) == 2
    server.jobs.remove(last)
    assert left() == set()
    server.end()


def test_only_the_newest_that_ended_are_kept(folder: Path, left: Left) -> None:
    server = Server(folder, kept=2)
    ids = [server.submit("no face" if number % 2 else "") for number in range(5)]
    wait_for(lambda: [shown.record.id for shown in server.jobs.all()] == [ids[4], ids[3]])
    server.idle()
    assert {path.split("/")[1] for path in left()} == set(ids[3:])
    server.end()


@pytest.mark.parametrize("ending", ["end", "kill"])
def test_a_restart_lists_films_marks_what_was_interrupted_and_goes_on_with_what_waited(
    folder: Path, ending: str
) -> None:
    server = Server(folder)
    done, running, waiting = server.submit(), server.submit("held"), server.submit()
    server.until(running, "running")
    getattr(server, ending)()
    left_over = folder / "incoming" / "0123456789abcdef"
    left_over.mkdir()
    (left_over / "portrait").write_bytes(b"half")

    again = Server(folder)
    assert not left_over.exists()
    again.until(waiting, "done")
    assert again.jobs.get(done).record.state == "done"
    assert again.jobs.film(done).stat().st_size == again.jobs.get(done).record.film_bytes
    interrupted = again.jobs.get(running).record
    assert (interrupted.state, interrupted.error) == ("interrupted", "the server ended before the film was whole")
    for other in (done, waiting):
        with pytest.raises(NotNow):
            again.jobs.again(other)
    again.generator.gate.set()
    again.jobs.again(running)
    record = again.until(running, "done").record
    assert record.error == ""
    assert again.generator.seen[-1] == (b"portrait", b"sound")
    again.end()


def test_what_an_interrupted_removal_left_is_removed_and_what_is_not_ours_stays(folder: Path, left: Left) -> None:
    Server(folder).end()
    (folder / "jobs" / "0123456789abcdef").mkdir()
    (folder / "jobs" / "0123456789abcdef" / "film.mp4").write_bytes(b"film")
    (folder / "jobs" / "mine").mkdir()
    (folder / "jobs" / "mine" / "notes.txt").write_text("keep")
    (folder / "diary.txt").write_text("keep")
    server = Server(folder)
    assert left() == {"jobs/mine/notes.txt", "diary.txt"}
    assert server.jobs.all() == []
    server.end()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format_version": 99}', "null", '{"format_version": 1}'])
def test_a_record_that_cannot_be_read_is_left_alone(folder: Path, left: Left, content: str) -> None:
    server = Server(folder)
    first, second = server.submit(), server.submit()
    server.until(second, "done")
    server.end()
    (folder / "jobs" / first / "job.json").write_text(content)
    again = Server(folder)
    assert [shown.record.id for shown in again.jobs.all()] == [second]
    assert f"jobs/{first}/film.mp4" in left()
    again.end()


def test_a_record_of_another_job_is_not_taken(folder: Path) -> None:
    server = Server(folder)
    first = server.submit()
    server.until(first, "done")
    server.end()
    path = folder / "jobs" / first / "job.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id": "../../../../etc"}))
    again = Server(folder)
    assert again.jobs.all() == []
    again.end()


def test_a_folder_has_one_server(folder: Path) -> None:
    server = Server(folder)
    with pytest.raises(UserError, match="used by another `funnel serve`"):
        JobFolder(folder)
    server.end()
    Server(folder).end()


def test_what_is_in_the_way_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="is a file, or lies below"):
            JobFolder(path)
    with pytest.raises(UserError, match=r"nothing can be written to /proc/.*; name another folder"):
        JobFolder(Path("/proc/portraits"))

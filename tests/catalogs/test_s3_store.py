"""Catalogs work on a real S3 server: commits, listings, patience, and one clear line for all that can be wrong."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from catalogs import filesystems
from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.filesystems import first_contact
from catalogs.storage_errors import StorageError
from catalogs.store import Store
from tests.support.not_s3 import web_server_without_pages
from tests.support.s3_server import S3, fresh_clients

TABLE = pa.table({"a": list(range(1000)), "b": ["x" * 100] * 1000})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make clients give up after two attempts, so that a test need not sit out half a minute of back-off."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    fresh_clients()


def test_what_is_written_is_read_back_and_listed(s3: S3) -> None:
    store = Store(f"{s3.url}/cat")
    store.write_table("t/part-1.parquet", TABLE)
    store.write_json("runs/1.json", {"a": 1})
    assert store.read_table("t/part-1.parquet").equals(TABLE)
    assert store.read_table("t/part-1.parquet", ["a"]).equals(TABLE.select(["a"]))
    assert store.read_json("runs/1.json") == {"a": 1}
    assert store.find("t") == ["t/part-1.parquet"]
    assert store.find("nothing") == []
    assert store.exists("t/part-1.parquet")
    assert not store.exists("t/part")
    with pytest.raises(FileNotFoundError):
        store.read_table("t/none.parquet")


def test_a_write_is_one_put_and_nothing_else_is_left(s3: S3) -> None:
    Store(f"{s3.url}/cat").write_table("t/part-1.parquet", TABLE)
    assert dict(s3.faults.requests) == {"PUT": 1}
    assert s3.names() == ["cat/t/part-1.parquet"]


def test_a_put_that_fails_leaves_the_old_file_whole(s3: S3, impatient: None) -> None:
    store = Store(f"{s3.url}/cat")
    store.write_bytes("x.parquet", b"old")
    s3.faults.fail_every = 1
    with pytest.raises(StorageError, match="internal error"):
        store.write_bytes("x.parquet", b"new")
    s3.faults.fail_every = 0
    assert store.read_bytes("x.parquet") == b"old"


def test_what_another_process_commits_is_seen_at_once(s3: S3, tmp_path: Path) -> None:
    store = Store(f"{s3.url}/cat")
    store.write_bytes("t/a.parquet", b"1")
    assert store.find("t") == ["t/a.parquet"]
    other = tmp_path / "b"
    other.write_bytes(b"222")
    s3.put("cat/t/a.parquet", other)
    s3.put("cat/t/b.parquet", other)
    assert store.info("t/a.parquet").size_bytes == 3
    assert store.find("t") == ["t/a.parquet", "t/b.parquet"]
    assert store.exists("t/b.parquet")


def test_a_prefix_is_one_listing_request(s3: S3) -> None:
    store = Store(f"{s3.url}/cat")
    for name in ("part-a-1.x.parquet", "part-a-1.y.parquet", "part-a-12.x.parquet", "deep/part-a-1.z.parquet"):
        store.write_bytes(f"m/{name}", b"1")
    s3.faults.reset_counts()
    assert store.find_prefix("m/part-a-1.") == ["m/part-a-1.x.parquet", "m/part-a-1.y.parquet"]
    assert dict(s3.faults.requests) == {"GET": 1}
    assert store.find_prefix("m/none.") == []


def test_many_files_are_removed_in_one_request(s3: S3) -> None:
    store = Store(f"{s3.url}/cat")
    names = [f"t/{number}.parquet" for number in range(5)]
    for name in names:
        store.write_bytes(name, b"1")
    assert store.info(names[0]).size_bytes == 1
    assert abs(store.info(names[0]).modified.timestamp() - time.time()) < 3600
    s3.faults.reset_counts()
    store.remove_many([*names, "t/gone_already.parquet"])
    assert dict(s3.faults.requests) == {"POST": 1}
    assert s3.names() == []


def test_throttling_errors_and_cut_connections_are_survived(s3: S3) -> None:
    store = Store(f"{s3.url}/cat")
    s3.faults.throttle_every, s3.faults.fail_every, s3.faults.cut_every = 5, 7, 4
    for number in range(4):
        store.write_table(f"t/part-{number}.parquet", TABLE)
    assert len(store.find("t")) == 4
    for number in range(4):
        assert store.read_table(f"t/part-{number}.parquet").equals(TABLE)
        assert store.read_table(f"t/part-{number}.parquet", ["b"]).num_rows == 1000
    assert all(s3.faults.injected[kind] for kind in ("SlowDown", "InternalError", "cut")), s3.faults.injected


# -- one clear line


def refused(url: str) -> str:
    """Return the line that both ways of opening a catalog end with."""
    with pytest.raises(UserError) as opening:
        Catalog.open(url)
    with pytest.raises(UserError) as creating:
        Catalog.open_or_create(url)
    line, other = (re.sub(r"\d\d:\d\d:\d\d", "now", str(refusal.value)) for refusal in (opening, creating))
    assert line == other
    assert url in line
    assert "\n" not in line
    return line


def test_a_missing_bucket(s3: S3) -> None:
    assert "bucket does not exist" in refused("s3://no-such-bucket-here/cat")


@pytest.mark.parametrize("page", ["", "<html><body>404 Not Found</body></html>"])
def test_an_endpoint_that_is_no_s3_storage(s3: S3, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    with web_server_without_pages(page) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        fresh_clients()
        assert "no S3 storage; check AWS_ENDPOINT_URL" in refused(f"{s3.url}/cat")


def test_no_bucket_in_the_url(s3: S3) -> None:
    with pytest.raises(UserError, match="names no bucket"):
        Catalog.open("s3://")


def test_an_empty_bucket_has_no_catalog(s3: S3) -> None:
    with pytest.raises(UserError, match="no catalog at"):
        Catalog.open(f"{s3.url}/cat")


def test_a_folder_with_other_things_is_left_alone(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    s3.put("videos/a.mp4", tmp_path / "x")
    with pytest.raises(UserError, match="not empty"):
        Catalog.open_or_create(f"{s3.url}/videos")
    assert s3.names() == ["videos/a.mp4"]


def test_an_endpoint_where_nobody_listens(s3: S3, monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        fresh_clients()
        assert "no connection" in refused(f"{s3.url}/cat")


def test_an_endpoint_that_never_answers_is_given_up(s3: S3) -> None:
    s3.faults.mute = True
    store = Store(f"{s3.url}/cat")
    with pytest.raises(UserError, match=r"no answer within 0\.5 s"):
        first_contact(store.url, lambda: store.read_json("catalog.json"), seconds=0.5)


def test_the_first_answer_is_waited_for_less_than_30_s(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    real = threading.Thread.join

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name == "first-contact":
            waited.append(timeout or 0.0)
            timeout = 0.2
        real(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", join)
    s3.faults.mute = True
    assert "no answer" in refused(f"{s3.url}/cat")
    assert waited == [filesystems.CONTACT_S] * len(waited)
    assert filesystems.CONTACT_S <= 20  # the command itself takes some seconds to start


@pytest.fixture
def reader(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Let the server check keys; put the keys of somebody who may only read into the environment."""
    Catalog.open_or_create(f"{s3.url}/cat")
    with s3.authorised("s3:GetObject", "s3:ListBucket") as keys:
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        fresh_clients()
        yield keys


def test_reading_without_the_right_to_write(s3: S3, reader: dict[str, str]) -> None:
    Catalog.open(f"{s3.url}/cat")
    with pytest.raises(UserError, match=r"cannot write to s3://.*access denied"):
        Catalog.open_or_create(f"{s3.url}/cat")


def test_an_unknown_access_key(s3: S3, reader: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")
    fresh_clients()
    assert "does not know this access key" in refused(f"{s3.url}/cat")


def test_a_wrong_secret(s3: S3, reader: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    fresh_clients()
    assert "secret key does not belong" in refused(f"{s3.url}/cat")


def test_no_credentials_at_all(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    fresh_clients()
    assert "no usable credentials" in refused(f"{s3.url}/cat")


def test_a_clock_that_is_off(s3: S3) -> None:
    s3.faults.refuse = "RequestTimeTooSkewed"
    assert re.search(r"this machine's clock \(\d{4}-\d\d-\d\d now UTC\)", refused(f"{s3.url}/cat"))


def test_a_storage_that_throttles_for_good(s3: S3, impatient: None) -> None:
    s3.faults.throttle_every = 1
    assert "throttles" in refused(f"{s3.url}/cat")


def test_s3_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # what an import finds where it is not installed
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(UserError, match=r'pip install "portrait-funnel\[s3\]"'):
        Store("s3://bucket/cat")


@pytest.mark.parametrize("is_new", [True, False])
def test_a_catalog_probes_once_whether_it_may_write(s3: S3, is_new: bool) -> None:
    if not is_new:
        Catalog.open_or_create(f"{s3.url}/cat")
    s3.faults.reset_counts()
    Catalog.open_or_create(f"{s3.url}/cat")
    assert (s3.faults.requests["PUT"], s3.faults.requests["DELETE"]) == (1 + is_new, 1)

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.store import Store

TABLE = pa.table({"a": [1, 2]})


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "cat"))
    fsspec.filesystem("memory").store.clear()
    return Store("memory://cat")


def test_what_is_written_is_read_back_and_listed(store: Store) -> None:
    store.write_table("t/part-1.parquet", TABLE)
    store.write_json("runs/1.json", {"a": 1})
    assert store.read_table("t/part-1.parquet").equals(TABLE)
    assert store.find("t") == ["t/part-1.parquet"]
    assert store.find("runs", ".json") == ["runs/1.json"]
    assert store.find("nothing") == []


def test_files_that_begin_alike(store: Store) -> None:
    for name in ("part-[a]-1.x", "part-[a]-1.y", "part-[a]-12.x", "deep/part-[a]-1.z"):
        store.write_bytes(f"m/{name}.parquet", b"1")
    assert store.find_prefix("m/part-[a]-1.") == ["m/part-[a]-1.x.parquet", "m/part-[a]-1.y.parquet"]
    assert store.find_prefix("none/part") == []
    assert store.exists("m/part-[a]-1.x.parquet")
    assert not store.exists("m/part-[a]-1")


def test_what_a_file_is_and_that_many_can_be_removed(store: Store) -> None:
    assert store.is_empty()
    for number in range(3):
        store.write_bytes(f"m/{number}.parquet", b"12")
    assert not store.is_empty()
    info = store.info("m/0.parquet")
    assert (info.name, info.size_bytes) == ("m/0.parquet", 2)
    assert abs(info.modified.timestamp() - time.time()) < 60
    store.remove_many(["m/0.parquet", "m/1.parquet", "m/gone_already.parquet"])
    assert store.find("m") == ["m/2.parquet"]
    with pytest.raises(FileNotFoundError):
        store.info("m/0.parquet")


class RenamingFileSystem(MemoryFileSystem):
    """Stands for a remote filesystem that is no object store: what is written is seen while it is written."""

    protocol = "renaming"
    seen: ClassVar[list[str]] = []

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: object) -> None:
        super().pipe_file(path, value)
        self.seen.append(path)
        if value == b"fails":
            raise OSError("the line went dead")


def test_other_remote_filesystems_write_aside_and_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("renaming", RenamingFileSystem, clobber=True)
    RenamingFileSystem.store.clear()
    store = Store("renaming://cat")
    store.write_bytes("t/x.parquet", b"old")
    assert all("/." in path for path in RenamingFileSystem.seen)
    with pytest.raises(OSError, match="went dead"):
        store.write_bytes("t/x.parquet", b"fails")
    assert store.read_bytes("t/x.parquet") == b"old"
    assert store.fs.find(store.root) == [store.path("t/x.parquet")]


def test_a_write_that_fails_midway_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        store.write_bytes("t/part-1.parquet", b"x" * 100)
    assert list((tmp_path / "t").iterdir()) == []


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("t/x.parquet", b"0" * 1_000_000)
    seen = set()

    def read() -> None:
        for _ in range(50):
            seen.add(
                (tmp_path / "t" / "x.parquet").read_bytes()[:1]
                + str(len((tmp_path / "t" / "x.parquet").read_bytes())).encode()
            )

    reader = threading.Thread(target=read)
    reader.start()
    for digit in b"123456789":
        store.write_bytes("t/x.parquet", bytes([digit]) * 1_000_000)
    reader.join()
    assert {entry[1:] for entry in seen} == {b"1000000"}


def test_an_unknown_protocol_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="nosuch"):
        Store("nosuch://bucket/cat")


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        Store(str(tmp_path / "file" / "cat")).check_writable()


@pytest.mark.parametrize("name", ["file/cat", "file/deep/er/cat"])
@pytest.mark.parametrize("opening", [Catalog.open, Catalog.open_or_create])
def test_a_folder_below_a_file_is_said(tmp_path: Path, name: str, opening: Callable[[str], Catalog]) -> None:
    (tmp_path / "file").write_text("x")
    url = str(tmp_path / name)
    with pytest.raises(UserError) as refused:
        opening(url)
    assert str(refused.value) == f"{url} cannot be a folder: {tmp_path / 'file'} is a file"


@pytest.mark.parametrize("opening", [Catalog.open, Catalog.open_or_create])
def test_a_file_in_place_of_a_catalog_is_said(tmp_path: Path, opening: Callable[[str], Catalog]) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file is a file, not a catalog folder"):
        opening(str(tmp_path / "file"))

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from catalogs.errors import UserError
from catalogs.filesystems import open_filesystem
from catalogs.media import MediaLimits
from stages.ingest import PoolFile, ingest_file, list_pool, sources_table
from tests.support.not_s3 import web_server_without_pages
from tests.support.s3_server import S3, fresh_clients
from tests.support.written_media import grey_ramp, write_video


def rows(pool: Path) -> dict[str, dict]:
    return {Path(f.path).name: ingest_file(f, "d", MediaLimits()) for f in list_pool(str(pool)).files}


def test_a_pool_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        list_pool(str(tmp_path / "none"))


def test_an_empty_pool_and_one_without_video(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no video files"):
        list_pool(str(tmp_path))
    (tmp_path / "readme.txt").write_text("x")
    (tmp_path / ".hidden.mp4").write_text("x")
    with pytest.raises(UserError, match="no video files"):
        list_pool(str(tmp_path))


def test_files_are_tried_whatever_their_names_say(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", grey_ramp(5)).rename(tmp_path / "no_extension")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write_video(tmp_path / "deep" / "er" / "b.mp4", grey_ramp(6)).rename(
        tmp_path / "deep" / "er" / "odd %20 'name'.xyz"
    )
    found = rows(tmp_path)
    assert {name: row["status"] for name, row in found.items()} == {"no_extension": "ok", "odd %20 'name'.xyz": "ok"}


def test_the_same_bytes_have_the_same_id_wherever_they_lie(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", grey_ramp(5))
    (tmp_path / "copy.mp4").write_bytes(path.read_bytes())
    write_video(tmp_path / "other.mp4", grey_ramp(6))
    found = rows(tmp_path)
    assert found["a.mp4"]["source_id"] == found["copy.mp4"]["source_id"] != found["other.mp4"]["source_id"]


def test_a_caption_beside_the_video_is_taken(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", grey_ramp(5))
    (tmp_path / "a.txt").write_text("  A woman speaks.\n")
    assert rows(tmp_path)["a.mp4"]["supplied_caption"] == "A woman speaks."


def test_a_bad_file_is_a_row_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all " * 50)
    (tmp_path / "empty.mp4").touch()
    found = rows(tmp_path)
    assert {name: row["error_code"] for name, row in found.items()} == {
        "text.mp4": "not_media",
        "empty.mp4": "empty_file",
    }
    assert sources_table(found.values()).num_rows == 2


def test_a_file_that_went_away_between_listing_and_reading(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", grey_ramp(5))
    (listed,) = list_pool(str(tmp_path)).files
    path.unlink()
    row = ingest_file(listed, "d", MediaLimits())
    assert (row["status"], row["error_code"]) == ("failed", "not_found")


def remembered(file: PoolFile) -> PoolFile:
    """As the catalog has it."""
    return replace(file, is_listed=False)


@pytest.mark.parametrize("where", ["local", "s3"])
def test_a_catalogued_file_is_read_as_it_is_now(tmp_path: Path, where: str, request: pytest.FixtureRequest) -> None:
    url = str(tmp_path / "pool") if where == "local" else f"{request.getfixturevalue('s3').url}/pool"
    filesystem, root = open_filesystem(url)
    filesystem.makedirs(root, exist_ok=True)
    good = write_video(tmp_path / "good.mp4", grey_ramp(40)).read_bytes()
    filesystem.pipe_file(f"{root}/a.mp4", good[:1000])
    (broken,) = list_pool(url).files
    assert ingest_file(broken, "d", MediaLimits())["status"] == "failed"
    filesystem.pipe_file(f"{root}/a.mp4", good)
    row = ingest_file(remembered(broken), "d", MediaLimits())
    assert (row["status"], row["error_detail"]) == ("ok", None)
    (listed,) = list_pool(url).files
    assert (row["path"], row["size_bytes"], row["revision"]) == listed.key != broken.key
    filesystem.rm_file(f"{root}/a.mp4")
    gone = ingest_file(remembered(broken), "d", MediaLimits())
    assert (gone["status"], gone["error_code"], gone["size_bytes"]) == ("failed", "not_found", 1000)


@pytest.mark.parametrize("locked", ["", "deep/er"])
def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: str) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("a.mp4", "deep/er/b.mp4"):
        (tmp_path / name).write_text("x")
    refuse(monkeypatch, tmp_path / locked)  # permission bits would not stop root
    with pytest.raises(UserError) as refused:
        list_pool(str(tmp_path))
    assert str(refused.value) == f"cannot read folder {tmp_path / locked} of the pool: permission denied"


def test_a_folder_that_nothing_is_taken_from_may_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_text("x")
    for name in (".snapshots", "lost+found"):
        (tmp_path / name).mkdir()
    refuse(monkeypatch, tmp_path / ".snapshots", tmp_path / "lost+found")
    assert [file.path for file in list_pool(str(tmp_path)).files] == [str(tmp_path / "a.mp4")]


def test_a_folder_that_goes_away_while_the_pool_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_text("x")
    (tmp_path / "deep").mkdir()
    refuse(monkeypatch, tmp_path / "deep", error=FileNotFoundError)
    assert [file.path for file in list_pool(str(tmp_path)).files] == [str(tmp_path / "a.mp4")]


def refuse(monkeypatch: pytest.MonkeyPatch, *folders: Path, error: type[OSError] = PermissionError) -> None:
    """The system will not list these folders."""
    scandir = os.scandir

    def listed(path: Any = ".") -> Iterator[os.DirEntry]:
        if str(path) in map(str, folders):
            raise error(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listed)


def test_links_are_followed_once(tmp_path: Path) -> None:
    """As in a pool that is a view of a store of files."""
    pool, store = tmp_path / "pool", tmp_path / "store"
    (store / "more").mkdir(parents=True)
    pool.mkdir()
    write_video(store / "a.mp4", grey_ramp(3))
    (store / "more" / "b.mp4").write_bytes((store / "a.mp4").read_bytes())
    (pool / "file.mp4").symlink_to(store / "a.mp4")
    (pool / "folder").symlink_to(store / "more")
    (pool / "again").symlink_to(store / "more")
    (store / "more" / "round").symlink_to(store / "more")
    (pool / "up").symlink_to(tmp_path)
    (pool / "self").symlink_to(pool)
    (pool / "nowhere.mp4").symlink_to(tmp_path / "gone.mp4")
    listed = list_pool(str(pool))
    names = [Path(file.path).relative_to(pool).as_posix() for file in listed.files]
    assert names in (["again/b.mp4", "file.mp4", "nowhere.mp4"], ["file.mp4", "folder/b.mp4", "nowhere.mp4"])
    rows = {Path(file.path).stem: ingest_file(file, "test", MediaLimits()) for file in listed.files}
    assert (rows["file"]["status"], rows["nowhere"]["error_code"]) == ("ok", "not_found")
    assert rows["file"]["source_id"] == rows["b"]["source_id"]
    assert rows["file"]["size_bytes"] == (store / "a.mp4").stat().st_size
    assert rows["file"]["revision"] == list_pool(str(pool / "file.mp4")).files[0].revision


def test_folders_of_a_pool_on_another_filesystem_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("hosted", HostedFileSystem, clobber=True)
    HostedFileSystem.store.clear()
    HostedFileSystem().pipe("/pool/x/a.mp4", b"x")
    ls = HostedFileSystem.ls

    def listed(self: HostedFileSystem, path: str, *args: Any, **kwargs: Any) -> Any:
        if path == "/pool/x":
            raise PermissionError(13, "Permission denied")
        return ls(self, path, *args, **kwargs)

    monkeypatch.setattr(HostedFileSystem, "ls", listed)
    with pytest.raises(UserError, match=r"cannot read folder hosted://me@host/pool/x of the pool"):
        list_pool("hosted://me@host/pool")


def test_a_pool_on_another_filesystem(tmp_path: Path) -> None:
    data = write_video(tmp_path / "a.mp4", grey_ramp(5)).read_bytes()
    fsspec.filesystem("memory").pipe("/pool2/x/a.mp4", data)
    (listed,) = list_pool("memory://pool2").files
    row = ingest_file(listed, "d", MediaLimits())
    assert (row["status"], row["width"]) == ("ok", 96)
    assert listed.path.startswith("memory://")


class HostedFileSystem(MemoryFileSystem):
    """A filesystem whose own paths do not name the host, as those of sftp."""

    protocol = "hosted"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        bare = path.removeprefix("hosted://me@host") if path.startswith("hosted://") else path
        return "/" + bare.strip("/")


def test_paths_keep_the_host_of_the_url(tmp_path: Path) -> None:
    fsspec.register_implementation("hosted", HostedFileSystem, clobber=True)
    HostedFileSystem.store.clear()
    HostedFileSystem().pipe("/pool/x/a.mp4", write_video(tmp_path / "a.mp4", grey_ramp(5)).read_bytes())
    (listed,) = list_pool("hosted://me@host/pool/").files
    assert listed.path == "hosted://me@host/pool/x/a.mp4"
    assert ingest_file(listed, "d", MediaLimits())["status"] == "ok"


def test_a_pool_on_s3(s3: S3, tmp_path: Path) -> None:
    local = write_video(tmp_path / "a.mp4", grey_ramp(5))
    (tmp_path / "a.txt").write_text("A woman speaks.\n")
    s3.put("pool/deep/a.mp4", local)
    s3.put("pool/deep/a.txt", tmp_path / "a.txt")
    for url in (f"{s3.url}/pool", f"{s3.url}/pool/", f"{s3.url}", f"{s3.url}/pool/deep/a.mp4"):
        (listed,) = list_pool(url).files
        assert listed.path == f"{s3.url}/pool/deep/a.mp4"
    row, beside = ingest_file(listed, "d", MediaLimits()), rows(tmp_path)["a.mp4"]
    assert row["source_id"] == beside["source_id"]
    assert (row["status"], row["width"], row["supplied_caption"]) == ("ok", 96, "A woman speaks.")


def test_a_large_object_is_hashed_from_ranges(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(60 << 20))
    s3.put("pool/a.bin", tmp_path / "a.bin")
    (listed,) = list_pool(f"{s3.url}/pool").files
    s3.faults.reset_counts()
    row = ingest_file(listed, "d", MediaLimits(), sparse_over_bytes=1 << 20)
    assert row["source_id"] == ingest_file(list_pool(str(tmp_path)).files[0], "d", MediaLimits(), 1 << 20)["source_id"]
    assert 12 << 20 < s3.faults.sent_bytes < 30 << 20


@pytest.mark.parametrize(
    ("code", "line"), [("RequestTimeTooSkewed", "clock"), ("AccessDenied", "denied"), ("InvalidAccessKeyId", "key")]
)
def test_a_pool_that_the_storage_refuses(s3: S3, code: str, line: str) -> None:
    s3.faults.refuse = code
    with pytest.raises(UserError, match=f"{s3.url}/pool.*{line}"):
        list_pool(f"{s3.url}/pool")


def test_a_pool_in_a_bucket_that_does_not_exist(s3: S3) -> None:
    with pytest.raises(UserError, match="bucket does not exist"):
        list_pool("s3://no-such-bucket-here/pool")
    with pytest.raises(UserError, match=r"pool .* does not exist"):
        list_pool(f"{s3.url}/pool")


@pytest.mark.parametrize("page", ["", "<html><body>404 Not Found</body></html>"])
def test_a_pool_at_an_endpoint_that_is_no_s3_storage(s3: S3, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    with web_server_without_pages(page) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        fresh_clients()
        with pytest.raises(UserError, match=f"{s3.url}/pool: .*no S3 storage; check AWS_ENDPOINT_URL"):
            list_pool(f"{s3.url}/pool")


def test_a_storage_that_fails_while_a_file_is_read(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fresh_clients()
    s3.put("pool/a.mp4", write_video(tmp_path / "a.mp4", grey_ramp(5)))
    (listed,) = list_pool(f"{s3.url}/pool").files
    s3.faults.cut_after_bytes = s3.faults.sent_bytes + 100
    row = ingest_file(listed, "d", MediaLimits())
    assert (row["status"], row["error_code"]) == ("failed", "unreadable")

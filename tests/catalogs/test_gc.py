import os
from datetime import timedelta
from pathlib import Path

import boto3
import pytest

from catalogs.catalog import Catalog
from catalogs.compact import compact
from catalogs.gc import find_garbage, remove_garbage, search
from catalogs.verify import verify
from tests.support.s3_server import S3, fresh_clients
from tests.support.small_catalog import SPLIT, layout_of, measure, small_catalog

NOW = timedelta(0)


def files(catalog: Catalog) -> set[str]:
    return {path.name for path in Path(catalog.store.root).rglob("*") if path.is_file()}


def test_a_catalog_without_compactions_has_no_garbage(tmp_path: Path) -> None:
    assert find_garbage(small_catalog(tmp_path), NOW) == []


def test_replaced_parts_stay_while_somebody_may_read_them(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path)
    compact(catalog)
    young = search(catalog, timedelta(hours=1))
    assert (young.garbage, len(young.waiting)) == ([], 6)
    found = find_garbage(catalog, NOW)
    assert (len(found), search(catalog, NOW).waiting) == (6, [])
    assert {garbage.since for garbage in found} == {garbage.since for garbage in young.waiting}
    assert all(garbage.size_bytes > 0 and garbage.why.startswith("replaced by wide/") for garbage in found)


def test_after_two_rounds_only_what_is_read_is_left(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path, shards=12)
    for stage in ("second", "third"):
        compact(catalog)
        (shard,) = layout_of(catalog).shards
        measure(catalog, shard.shard, {"s0-c0": 7.0}, stage=stage)
    compact(catalog)
    before = verify(catalog)
    for _ in range(2):
        remove_garbage(catalog, find_garbage(catalog, NOW))
    assert find_garbage(catalog, NOW) == []
    after = verify(catalog)
    assert (after.measured, after.clips, after.sources, after.problems) == (before.measured, 24, 12, [])
    (shard,) = layout_of(catalog).shards
    assert files(catalog) == {
        "catalog.json",
        Path(shard.wide[0]).name,
        f"{shard.shard.stem}.json",
        *(Path(name).name for name in catalog.source_parts()),
        *(Path(merged.manifest).name for merged in catalog.merged_parts("sources")),
    }


def test_a_part_that_comes_later_still_finds_its_shard(tmp_path: Path) -> None:
    catalog = small_catalog(tmp_path)
    (old, *_) = catalog.clip_shards(SPLIT)
    compact(catalog)
    remove_garbage(catalog, find_garbage(catalog, NOW))
    measure(catalog, old, {"s0-c0": 7.0}, stage="second")
    assert not layout_of(catalog).unknown_stems()
    compact(catalog)
    assert verify(catalog).measured["second@ffff"] == 1


def test_the_manifest_of_a_compaction_that_ends_after_the_listing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = small_catalog(tmp_path, shards=12)
    compact(catalog)
    monkeypatch.setattr("catalogs.gc._list", lambda _: (set(), set()))
    assert find_garbage(catalog, timedelta(hours=1)) == []


def test_files_of_a_compaction_that_died_and_half_written_ones_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = small_catalog(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(catalog.store, "write_json", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compact(catalog)
    half = Path(catalog.store.root) / "clips" / ".part-x.parquet.abc.tmp"
    half.write_bytes(b"PAR1")
    young = search(catalog, timedelta(hours=1))
    assert (young.garbage, young.waiting) == ([], [])  # somebody may be writing them
    os.utime(half, (0, 0))
    assert [garbage.why for garbage in find_garbage(catalog, timedelta(hours=1))] == ["half-written"]
    found = find_garbage(catalog, NOW)
    assert {garbage.why for garbage in found} == {"half-written", "of a compaction that did not end"}


# -- incomplete uploads on S3


def begin_upload(s3: S3, key: str) -> None:
    """Upload a writer's first part of several, and end there."""
    client = boto3.client("s3", endpoint_url=s3.direct)
    upload = client.create_multipart_upload(Bucket=s3.bucket, Key=key)["UploadId"]
    client.upload_part(Bucket=s3.bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 1000)


def uploads(s3: S3) -> list[str]:
    listed = boto3.client("s3", endpoint_url=s3.direct).list_multipart_uploads(Bucket=s3.bucket)
    return sorted(upload["Key"] for upload in listed.get("Uploads", []))


def test_incomplete_uploads_below_the_catalog_are_aborted(s3: S3) -> None:
    catalog = Catalog.open_or_create(f"{s3.url}/cat")
    for key in ("cat/wide/part-x.parquet", "catalogue/video.mp4"):
        begin_upload(s3, key)
    assert find_garbage(catalog, timedelta(days=36_500)) == []
    found = find_garbage(catalog, NOW)
    assert [(garbage.name, garbage.size_bytes) for garbage in found] == [("wide/part-x.parquet", 1000)]
    remove_garbage(catalog, found)
    assert uploads(s3) == ["catalogue/video.mp4"]
    remove_garbage(catalog, found)  # gone already
    assert find_garbage(catalog, NOW) == []
    assert s3.names() == ["cat/catalog.json"]


def test_without_the_permission_for_uploads_the_rest_goes(
    s3: S3, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = Catalog.open_or_create(f"{s3.url}/cat")
    catalog.store.write_bytes("clips/.part-x.parquet.abc.tmp", b"PAR1")
    begin_upload(s3, "cat/wide/part-x.parquet")
    with s3.authorised("s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:DeleteObject") as keys:
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        fresh_clients()
        found = find_garbage(Catalog.open(f"{s3.url}/cat"), NOW)
    assert [garbage.why for garbage in found] == ["half-written"]
    assert f"incomplete uploads below {s3.url}/cat: access denied" in caplog.text

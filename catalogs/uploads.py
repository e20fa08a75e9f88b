"""Incomplete uploads on S3 are parts of a large object whose writer died before it put them together.

They appear in no listing of objects, they are paid for, and only an abort removes them. Other storages have none that
can be listed: those of Google and Azure forget them after a week.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fsspec.asyn import sync

from catalogs.filesystems import is_s3
from catalogs.storage_errors import as_storage_error
from catalogs.store import Store

if TYPE_CHECKING:
    from s3fs import S3FileSystem


@dataclass(frozen=True)
class Upload:
    """Describes one incomplete upload: ``name`` is the file of the store that it should become, ``begun`` is in UTC."""

    name: str
    upload_id: str
    begun: datetime
    size_bytes: int


def find_uploads(store: Store, before: datetime) -> list[Upload]:
    """List the incomplete uploads below the store's folder that began before that moment; only S3 has them.

    Raises:
        StorageError: also where the permission for it is missing (``s3:ListBucketMultipartUploads``).
    """
    if not is_s3(store.fs):
        return []
    with as_storage_error(f"incomplete uploads below {store.url}"):
        return sync(store.fs.loop, _find, store.fs, store, before)


def abort_uploads(store: Store, uploads: Iterable[Upload]) -> None:
    """Abort uploads; it is no error if some of them have gone already.

    Raises:
        StorageError: also where the permission for it is missing (``s3:AbortMultipartUpload``).
    """
    for upload in uploads:
        bucket, key, _ = store.fs.split_path(store.path(upload.name))
        with as_storage_error(f"incomplete uploads below {store.url}"):
            try:
                store.fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload.upload_id)
            except FileNotFoundError:  # completed or aborted by somebody else
                continue


async def _find(fs: S3FileSystem, store: Store, before: datetime) -> list[Upload]:
    """List uploads through the client that s3fs holds; s3fs itself lists them neither by prefix nor beyond the first
    1000.
    """
    await fs.set_session()
    bucket, folder, _ = fs.split_path(store.root)
    prefix = f"{folder}/" if folder else ""
    client = await fs.get_s3(bucket)
    found = []
    async for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        for upload in page.get("Uploads", []):
            if upload["Initiated"] <= before:
                size = await _size(client, bucket, upload)
                name = upload["Key"].removeprefix(prefix)
                found.append(Upload(name, upload["UploadId"], upload["Initiated"], size))
    return found


async def _size(client: Any, bucket: str, upload: dict[str, Any]) -> int:
    pages = client.get_paginator("list_parts").paginate(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    try:
        return sum([part["Size"] async for page in pages for part in page.get("Parts", [])])
    except client.exceptions.NoSuchUpload:  # completed or aborted by somebody else since it was listed
        return 0

"""Filesystems are opened by URL, and set up to retry, to list without a cache, and to give up in time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import fsspec
from fsspec import AbstractFileSystem

from catalogs.errors import UserError
from catalogs.storage_errors import as_storage_error, describe, is_missing, is_storage_trouble

T = TypeVar("T")

#: The first answer of a storage may take this long, so that the user hears of a dead one within 30 s.
CONTACT_S = 18.0

_S3 = ("s3", "s3a")
_OBJECT_STORES = frozenset((*_S3, "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "memory"))
_CONNECT_S, _READ_S = 5, 20
# With the standard mode's back-off (up to 20 s a step) a request survives about half a minute of throttling.
_ATTEMPTS = 8
# s3fs repeats botocore's attempts when an answer breaks off; with its default of five a dead store would take an hour.
_ATTEMPTS_AT_BODY = 3

# Ranged reads take 32 MiB of memory per open file. A container is read in several places by turns (head, index,
# pictures and sound of a span); with one read-ahead buffer each turn would fetch again. Sending a block of this size
# takes a store about as long as finding it.
_BLOCK_BYTES, _BLOCKS = 2 << 20, 16


def open_filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the fsspec filesystem of a URL or local path, and the path within it.

    Credentials, endpoint and region come from where the store's own tools take them: the environment, the profile
    files, or fsspec's configuration.

    Raises:
        UserError: the protocol is unknown, its package is not installed, or the URL names no bucket.
    """
    protocol = fsspec.core.split_protocol(url)[0]
    try:
        filesystem, path = fsspec.core.url_to_fs(url, **(_s3_options() if protocol in _S3 else {}))
    except ImportError as error:
        hint = 'pip install "portrait-funnel[s3]"' if protocol in _S3 else f"install the fsspec package for {protocol}"
        raise UserError(f"cannot open {url}: {hint} ({error})") from error
    except ValueError as error:
        raise UserError(f"cannot use {url!r} as a location: {error}") from error
    if protocol in _S3:
        if not path:
            raise UserError(f"{url} names no bucket; expected {protocol}://BUCKET/FOLDER")
        filesystem.retries = _ATTEMPTS_AT_BODY
    return filesystem, path


def is_object_store(filesystem: AbstractFileSystem) -> bool:
    """Say whether an object appears in this storage only when its last byte has arrived, so that a put is a commit."""
    return not _OBJECT_STORES.isdisjoint(_protocols(filesystem))


def is_s3(filesystem: AbstractFileSystem) -> bool:
    """Say whether this filesystem speaks S3's protocol, whoever runs the storage."""
    return not set(_S3).isdisjoint(_protocols(filesystem))


def _protocols(filesystem: AbstractFileSystem) -> tuple[str, ...]:
    return (filesystem.protocol,) if isinstance(filesystem.protocol, str) else tuple(filesystem.protocol)


def open_ranged(url: str) -> BinaryIO:
    """Open a file for reading parts of it: a remote file is fetched block by block, as it is read.

    Raises:
        OSError: the storage refuses; see :func:`~catalogs.storage_errors.as_storage_error`.
    """
    filesystem, path = open_filesystem(url)
    with as_storage_error(url):
        options = {"block_size": _BLOCK_BYTES, "cache_type": "blockcache", "cache_options": {"maxblocks": _BLOCKS}}
        return filesystem.open(path, "rb", **options)


def _s3_options() -> dict[str, Any]:
    client: dict[str, Any] = {"connect_timeout": _CONNECT_S, "read_timeout": _READ_S}
    if not {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & os.environ.keys():  # the user's own setting comes first
        client["retries"] = {"mode": "standard", "total_max_attempts": _ATTEMPTS}
    configured = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    # Another process's commits must be seen, so no listing is remembered.
    return {"config_kwargs": client | configured, "use_listings_cache": False}


def first_contact(url: str, call: Callable[[], T], seconds: float = CONTACT_S) -> T:
    """Call ``call`` and raise UserError when the storage refuses or does not answer within ``seconds``.

    The call runs in a thread of its own: a client may retry for minutes before it reports what is wrong, and a dead
    network mount never answers.

    Raises:
        UserError: storage trouble of any kind.
        FileNotFoundError, NotADirectoryError: what was asked for is not there; the caller knows what that means.
    """
    answers: list[T] = []
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # raised below, in the caller's thread
            failures.append(error)

    asking = threading.Thread(target=ask, name="first-contact", daemon=True)
    asking.start()
    asking.join(seconds)
    if answers:
        return answers[0]
    if not failures:
        raise UserError(f"{url}: no answer within {seconds:g} s; check the network and, for S3, AWS_ENDPOINT_URL")
    error = failures[0]
    if is_storage_trouble(error) and not is_missing(error) and not isinstance(error, NotADirectoryError):
        raise UserError(describe(error, url)) from error
    raise error


def revision_of(info: dict[str, Any]) -> str:
    """Return the ETag or modification time that tells one content of a path from the next; empty if storage has
    neither.
    """
    for key in ("ETag", "etag", "mtime", "LastModified", "created"):
        if info.get(key):
            return str(info[key])
    return ""

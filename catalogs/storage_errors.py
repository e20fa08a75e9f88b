"""Errors of storage are told in one clear line: what happened, where, and what to do.

Clients of object stores raise their own exceptions, which do not even share a base class with :class:`OSError`. They
are told apart by error code and class name, because the packages they come from are optional.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

#: Top-level packages whose exceptions mean trouble with the storage rather than a bug of ours.
_CLIENTS = frozenset(
    ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "adlfs", "azure", "fsspec", "paramiko")
)

_DENIED = "access denied; these credentials lack the permission (list, get, put and delete are needed)"
_THROTTLED = "the storage still throttles after many retries; try again later or with fewer workers"
_BROKEN = "the storage keeps answering with an internal error; try again later"
_REGION = "the bucket is in another region or behind another endpoint; set AWS_DEFAULT_REGION or AWS_ENDPOINT_URL"
_SIGNATURE = "the secret key does not belong to the access key; check AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
_EXPIRED = "the session token is not valid any more; renew the credentials"
_UNREACHABLE = "no connection to the storage; check the network and AWS_ENDPOINT_URL"
_NO_S3 = "404 without a code"  #: our own code, for the answer of a proxy or web server that is no S3 storage
_NO_CREDENTIALS = "no usable credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"

_BY_CODE = {
    "NoSuchBucket": "the bucket does not exist; create it or correct the URL",
    "InvalidBucketName": "that is not a valid bucket name; correct the URL",
    "InvalidAccessKeyId": "the storage does not know this access key; check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": _SIGNATURE,
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "403": "forbidden; the credentials are unknown or lack the permission, or this machine's clock is off",
    "SlowDown": _THROTTLED,
    "ServiceUnavailable": _THROTTLED,
    "503": _THROTTLED,
    "InternalError": _BROKEN,
    "500": _BROKEN,
    "502": _BROKEN,
    "504": _BROKEN,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "301": _REGION,
    _NO_S3: "the endpoint answers 404 without S3's reason, so it is no S3 storage; check AWS_ENDPOINT_URL",
}
_BY_CLASS = {
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "CredentialRetrievalError": _NO_CREDENTIALS,
    "ProfileNotFound": "AWS_PROFILE names a profile that is not configured",
    "ParamValidationError": "that is not a valid bucket name or key; correct the URL",
    "EndpointConnectionError": _UNREACHABLE,
    "ConnectTimeoutError": _UNREACHABLE,
    "ConnectionClosedError": "the storage keeps cutting the connection; check the network and AWS_ENDPOINT_URL",
    "ReadTimeoutError": "the storage accepts connections but does not answer; check AWS_ENDPOINT_URL",
    "HTTPClientError": _UNREACHABLE,
    "FSTimeoutError": "the storage does not answer in time",
}


class StorageError(OSError):
    """The storage refused or could not be reached, even after retries. ``str(error)`` is one clear line."""


def describe(error: BaseException, where: str) -> str:
    """Describe, in one line for people, an exception that storage raised at ``where`` (a URL or path)."""
    if isinstance(error, StorageError):
        return str(error)
    for link in _chain(error):
        code = _code(link)
        if code == "RequestTimeTooSkewed":
            now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
            return f"{where}: this machine's clock ({now}) differs too much from the storage's; set it (NTP)"
        if code in _BY_CODE:
            return f"{where}: {_BY_CODE[code]}"
        for kind in type(link).__mro__:
            if kind.__name__ in _BY_CLASS:
                return f"{where}: {_BY_CLASS[kind.__name__]}"
    return f"{where}: {_plain(error)}"


def is_storage_trouble(error: BaseException) -> bool:
    """Say whether an exception comes from the storage or its client: any OSError, or a class of a client's package."""
    return isinstance(error, OSError) or any(
        kind.__module__.partition(".")[0] in _CLIENTS for kind in type(error).__mro__
    )


def is_missing(error: BaseException) -> bool:
    """Say whether only the object itself is not there, while the place that should hold it is."""
    return isinstance(error, FileNotFoundError) and {"NoSuchBucket", _NO_S3}.isdisjoint(map(_code, _chain(error)))


def has_changed(error: BaseException) -> bool:
    """Say whether an object was replaced while it was being read."""
    return any(kind.__name__ == "FileExpired" for link in _chain(error) for kind in type(link).__mro__)


@contextmanager
def as_storage_error(where: str) -> Iterator[None]:
    """Turn a client's exceptions into :class:`StorageError`; a missing object stays FileNotFoundError."""
    try:
        yield
    except Exception as error:
        if isinstance(error, StorageError) or is_missing(error) or not is_storage_trouble(error):
            raise
        raise StorageError(describe(error, where)) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes; s3fs hides the storage's own code one step down."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _code(error: BaseException) -> str:
    """Return S3's code for what is wrong; where the answer has none, its HTTP status."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return ""
    code = response.get("Error", {}).get("Code") or response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    # Answers to HEAD requests have no body, so no code; to any other request, S3's 404 says what is missing.
    is_head = getattr(error, "operation_name", "Head").startswith("Head")
    return _NO_S3 if str(code) == "404" and not is_head else str(code)


def _plain(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno and error.strerror:
        named = os.strerror(error.errno).lower()
        return named if error.filename is None else f"{named}: {error.filename}"
    first = next(iter(str(error).splitlines()), "")
    return first or type(error).__name__

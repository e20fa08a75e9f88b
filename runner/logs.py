"""Log lines are written for people, or as one JSON object a line (``FUNNEL_LOG=json``) for Loki, Elasticsearch and jq.

Code that works on something names it with :class:`about`; every record written inside, by whichever library, then has
``run_id``, ``stage`` and ``clip_id``. The driver writes to its own standard error, a worker to its file in Ray's
session folder (``worker-*.err``), which Ray's dashboard shows and log shippers collect.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any, Literal, cast

from catalogs.errors import UserError

LogFormat = Literal["plain", "json"]

VARIABLE = "FUNNEL_LOG"
#: Every package of this distribution; tests/test_architecture.py holds the list complete.
OUR_PACKAGES = (
    "catalogs",
    "http_server",
    "weights",
    "runner",
    "stages",
    "curation",
    "model",
    "training",
    "inference",
    "funnel",
)

_about: ContextVar[about | None] = ContextVar("about", default=None)


def log_format() -> LogFormat:
    """Return the format that the environment asks for; raise UserError for an unknown one."""
    asked = os.environ.get(VARIABLE) or "plain"
    if asked not in ("plain", "json"):
        raise UserError(f"{VARIABLE}={asked}: log lines are `plain` or `json`")
    return cast(LogFormat, asked)


class about:
    """Names what is being worked on (``run_id``, ``stage``, ``clip_id``, ``source_id``) in every record written inside.

    Args:
        now: returns more fields at the moment a record is written, for values that change often.
    """

    def __init__(self, now: Callable[[], Mapping[str, str | float]] = dict, /, **fields: str | float):
        self._now, self._fields = now, fields

    def __enter__(self) -> None:
        self._outer = _about.get()
        self._token = _about.set(self)

    def __exit__(self, *_: object) -> None:
        _about.reset(self._token)

    def all_fields(self) -> dict[str, str | float]:
        """Return the fields of this context and of those around it."""
        outer = self._outer.all_fields() if self._outer else {}
        return outer | self._fields | dict(self._now())


def _fields() -> Mapping[str, Any]:
    inner = _about.get()
    return inner.all_fields() if inner else {}


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object: time, level, logger, message, what it is about, and a traceback if there is
    one.
    """

    def __init__(self, always: Mapping[str, Any] | None = None):
        super().__init__()
        self._always = dict(always or {})

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._always,
            **_fields(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class PlainLines(logging.Formatter):
    """Writes a record as time, level, logger and message, with what it is about in brackets."""

    def __init__(self, always: Mapping[str, Any] | None = None):
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._always = dict(always or {})

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in {**self._always, **_fields()}.items())
        return super().formatMessage(record) + (f" [{fields}]" if fields else "")


def write_logs(form: LogFormat, run_id: str | None = None) -> None:
    """Send records to standard error: our own from INFO on, those of other libraries from WARNING on.

    It is called once per process.

    Args:
        form: in a worker, the driver's :func:`log_format`, as another machine has another environment.
        run_id: written with every record.
    """
    always = {"run_id": run_id} if run_id else {}
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(always) if form == "json" else PlainLines(always))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for package in OUR_PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO)


def writes_json() -> bool:
    """Say whether this process writes its log as JSON lines."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)

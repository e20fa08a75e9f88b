"""The weights that are embedded in this package, by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import weights

WEIGHTS = Path(weights.__file__).parent


@pytest.fixture(scope="session")
def embedded() -> list[dict]:
    """The records of ``embedded.json``."""
    return json.loads((WEIGHTS / "embedded.json").read_text())


@pytest.fixture(scope="session")
def weight(embedded: list[dict]) -> Callable[[str], Path]:
    """The file of an embedded network by its name."""
    paths = {entry["name"]: WEIGHTS / "files" / entry["file"] for entry in embedded}
    return paths.__getitem__

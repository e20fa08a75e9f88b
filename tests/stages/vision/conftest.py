"""The astronaut photo (one woman, half body) and the embedded weights by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from skimage import data

import stages.weights

WEIGHTS = Path(stages.weights.__file__).parent


@pytest.fixture(scope="session")
def embedded() -> list[dict]:
    """The records of ``embedded.json``."""
    return json.loads((WEIGHTS / "embedded.json").read_text())


@pytest.fixture(scope="session")
def weight(embedded: list[dict]) -> Callable[[str], Path]:
    """The file of an embedded network by its name."""
    paths = {entry["name"]: WEIGHTS / "files" / entry["file"] for entry in embedded}
    return paths.__getitem__


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """uint8 [512, 512, 3]; the face is about x 170–275, y 75–215."""
    return data.astronaut()


@pytest.fixture(scope="session")
def landscape() -> np.ndarray:
    """A picture with nobody in it (coffee on a table)."""
    return data.coffee()

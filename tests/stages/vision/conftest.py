"""The astronaut photo (one woman, half body), and a test's own files as weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from weights import registry


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """uint8 [512, 512, 3]; the face is about x 170–275, y 75–215."""
    return data.astronaut()


@pytest.fixture(scope="session")
def landscape() -> np.ndarray:
    """A picture with nobody in it (coffee on a table)."""
    return data.coffee()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``installed(name=path, ...)``: these weights are there, and no others."""

    def install(**paths: Path) -> None:
        monkeypatch.setattr(registry, "find", paths.get)
        monkeypatch.setattr(registry, "require", lambda name: paths[name])

    return install


@pytest.fixture(scope="session")
def weights_folder() -> Path:
    """The folder that FUNNEL_WEIGHTS names."""
    folder = os.environ.get("FUNNEL_WEIGHTS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("FUNNEL_WEIGHTS is not set to a folder with weights")
    return Path(folder)

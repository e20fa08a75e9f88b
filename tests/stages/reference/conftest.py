"""Puts a test's own files in the place of downloaded weights, past their sha256."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.weights import registry


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

"""Every test here has a cache folder of its own: none may fill, or see, a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.scripted_web import Registry, ScriptedServer, cache_folder, models, server

__all__ = ["cache_folder", "models", "server"]


@pytest.fixture(autouse=True)
def _own_cache(cache_folder: Path) -> None:
    """The fixture's folder, asked for or not."""


@pytest.fixture
def net(models: Registry, server: ScriptedServer) -> str:
    """The one entry of a registry, offered by the server."""
    return models.add("net", server.url).name

"""Fixtures: SyncNet files of our own where the registry finds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stages.lipsync.syncnet.network import Network
from tests.support import made_up_syncnet as made_up
from weights import registry

Install = Callable[[Network], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a network into FUNNEL_WEIGHTS as syncnet_v2, by the hash that it has; nothing else is installed there."""
    known = registry.all_weights()
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("FUNNEL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "weights").mkdir()

    def put(network: Network) -> Path:
        entry = known["syncnet_v2"]
        path = made_up.save_as_published(network, tmp_path / "weights" / entry.file)
        trusted = replace(entry, sha256=registry.file_sha256(path), size_bytes=path.stat().st_size)
        monkeypatch.setattr(registry, "all_weights", lambda: {**known, "syncnet_v2": trusted})
        return path

    return put

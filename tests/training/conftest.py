"""What tests of precompute share: a snapshot of talking clips, and a codec."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.codecs import LinearCodec
from tests.support.talking_snapshot import Talking, talking_snapshot


@pytest.fixture(scope="session")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Talking:
    return talking_snapshot(tmp_path_factory.mktemp("talking"))


@pytest.fixture(scope="session")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec in a folder, for tests that only plan: fitting one takes longer than they do."""
    folder = tmp_path_factory.mktemp("codec") / "codec"
    noise = torch.rand(3, 33, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    LinearCodec.fit([noise]).save(folder)
    return folder

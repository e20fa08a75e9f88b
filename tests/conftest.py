"""Fixtures shared by all tests: where real media and weights lie, and small files made on the spot.

``FUNNEL_MEDIA`` and ``FUNNEL_WEIGHTS`` name folders with labelled media and downloaded weights; tests that need them
skip without. Everything else runs on what the packages ship.
"""

import os
from pathlib import Path

import pytest

from tests.support.s3_server import s3, s3_server

__all__ = ["s3", "s3_server"]


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder with labelled real media."""
    folder = os.environ.get("FUNNEL_MEDIA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("FUNNEL_MEDIA is not set to a folder with labelled media")
    return Path(folder)


@pytest.fixture(autouse=True, scope="session")
def _one_thread_per_library() -> None:
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)

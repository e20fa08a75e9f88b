"""These fixtures give a Ray for the module, an empty catalog and an empty pool."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from catalogs.catalog import Catalog


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a local Ray whose workers leave a file per scorer call in this folder."""
    folder = tmp_path_factory.mktemp("calls")
    os.environ["FAKE_CALLS"] = str(folder)
    ray.shutdown()  # whoever ran before in this process
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield folder
    ray.shutdown()
    del os.environ["FAKE_CALLS"]


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    folder.mkdir()
    return folder


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.open_or_create(str(tmp_path / "cat"))

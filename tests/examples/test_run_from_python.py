"""The lines of examples/README.md run a funnel, as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from catalogs.runs import latest_run
from tests.support.house import ROOT, grey_and_red_pool, python


@pytest.mark.cluster
def test_a_run_needs_a_catalog_a_policy_and_a_pool(tmp_path: Path) -> None:
    (lines,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "examples" / "README.md").read_text(), re.M | re.S)
    grey_and_red_pool(tmp_path / "MY_VIDEOS")
    python(ROOT, "-c", lines, cwd=tmp_path)
    record = latest_run(Catalog.open(str(tmp_path / "my_catalog")))
    assert record is not None
    assert (record.status, record.policy) == ("done", "lite")
    assert record.phases["ingest"].items == 2

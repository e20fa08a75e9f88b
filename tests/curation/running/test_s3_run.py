"""A run works whose pool and catalog both lie on a real S3 server that throttles, fails and cuts connections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from catalogs.catalog import Catalog
from curation.deciding.verdicts import open_views
from curation.running.options import RunOptions
from curation.running.run import run_funnel
from stages.ingest import list_pool
from tests.support.fake_runs import calls_since, names
from tests.support.fakes import fake_funnel
from tests.support.s3_server import S3
from tests.support.written_media import grey_ramp, write_video

pytestmark = pytest.mark.cluster


@pytest.fixture
def calls(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Start a local Ray once the environment points at the bucket; its workers leave a file per scorer call."""
    folder = tmp_path / "calls"
    folder.mkdir()
    monkeypatch.setenv("FAKE_CALLS", str(folder))
    ray.shutdown()  # whoever ran before in this process
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield folder
    ray.shutdown()


def test_a_run_on_a_storage_that_misbehaves_loses_nothing_and_repeats_nothing(
    s3: S3, calls: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("4.mp4", "3.mp4", "7.mp4")):
        video = write_video(tmp_path / name, [frame + number for frame in grey_ramp(4, 32, 32)])
        s3.put(f"pool/{name}", video)
    s3.faults.throttle_every, s3.faults.fail_every, s3.faults.cut_every = 31, 43, 17
    catalog = Catalog.open_or_create(f"{s3.url}/catalog")
    funnel = fake_funnel(first="number < 3")
    options = RunOptions(workers=2, unit_clips=4)

    before = names(calls)
    summary = run_funnel(catalog, funnel, options, pool=list_pool(f"{s3.url}/pool"))
    assert summary.status == "done"
    assert calls_since(calls, before) == {"FakeScorer": 14, "SecondScorer": 9}
    assert open_views(catalog, funnel).execute("SELECT count(*) FROM curated").fetchone() == (9,)

    before = names(calls)
    again = run_funnel(catalog, funnel, options, pool=list_pool(f"{s3.url}/pool"))
    assert not again.worked
    assert not calls_since(calls, before)
    assert all(s3.faults.injected[kind] for kind in ("SlowDown", "InternalError", "cut")), s3.faults.injected
    assert not [name for name in s3.names() if "/." in name]

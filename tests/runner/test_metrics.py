"""Prometheus can scrape a node on which workers count their units."""

import re
import socket
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator

import pytest
import ray

from runner.metrics import FIGURES, Meter
from runner.tally import Failure, Tally

TALLY = Tally(
    items=3,
    video_seconds=12.5,
    measured=Counter(sync=2),
    kept=Counter(sync=1),
    failed=Counter({Failure("sync", "corrupt"): 1}),
    seconds={"sync": 2.0},
    decode_seconds={"sync": 0.5},
    wait_seconds=0.25,
    peak_memory_mb=120.0,
)


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Start a local Ray that exports metrics four times a second; return the address for Prometheus."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray.shutdown()  # whoever ran before in this process
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        _metrics_export_port=port,
        _system_config={"metrics_report_interval_ms": 250},
    )
    yield f"http://127.0.0.1:{port}/metrics"
    ray.shutdown()


@ray.remote(num_cpus=0)
class Counting:
    def __init__(self) -> None:
        self._meter = Meter("measure")

    def unit(self, tally: Tally) -> None:
        self._meter.unit(tally)


def scraped(endpoint: str, wanted: int) -> dict[str, float]:
    """Read the funnel's series with their tags, once there are ``wanted`` of them, or after a minute."""
    series: dict[str, float] = {}
    deadline = time.monotonic() + 60
    while len(series) < wanted and time.monotonic() < deadline:
        time.sleep(0.25)
        with urllib.request.urlopen(endpoint, timeout=10) as answer:
            lines = [line for line in answer.read().decode().splitlines() if line.startswith("ray_funnel")]
        for line in lines:
            name, labels, value = re.fullmatch(r"(\w+){(.*)} (\S+)", line).groups()  # type: ignore[union-attr]
            tags = dict(re.findall(r'(phase|stage|code|le)="([^"]*)"', labels))
            series[" ".join([name, *(f"{tag}={tags[tag]}" for tag in ("stage", "code", "le") if tag in tags)])] = float(
                value
            )
            assert tags["phase"] == "measure"
    return series


@pytest.mark.cluster
def test_every_figure_can_be_scraped_under_the_name_that_the_dashboard_uses(endpoint: str) -> None:
    worker = Counting.remote()  # type: ignore[attr-defined]
    ray.get([worker.unit.remote(TALLY), worker.unit.remote(TALLY)])
    names = {name for name, figure in FIGURES.items() for name in figure.scraped(name)}
    series = scraped(endpoint, len(names) + 8)  # the histogram has nine buckets
    assert {name.split()[0] for name in series} == names
    counts = {name.removeprefix("ray_funnel_"): value for name, value in series.items() if "bucket" not in name}
    assert counts == {
        "clips_total": 6,
        "video_seconds_total": 25,
        "measured_total stage=sync": 4,
        "kept_total stage=sync": 2,
        "failed_total stage=sync code=corrupt": 2,
        "decode_seconds_total stage=sync": 1,
        "infer_seconds_total stage=sync": 3,
        "wait_seconds_total": 0.5,
        "unit_seconds_count": 2,
        "unit_seconds_sum": 4,
        "peak_memory_mb": 120,
    }


def test_outside_ray_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    Meter("measure").unit(TALLY)


def test_a_metric_that_fails_costs_no_unit(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr("runner.metrics._made", lambda name, figure: None)
    meter = Meter("measure")
    meter.unit(TALLY)
    meter.unit(TALLY)
    assert [record.message for record in caplog.records] == ["metrics are off for the rest of this worker's life"]

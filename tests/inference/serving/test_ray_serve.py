"""The same server runs as a Ray Serve deployment."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from inference.serving.run import deployment
from tests.inference.serving.conftest import PORTRAIT, SOUND, wait_for
from tests.inference.serving.fake_portraits import TOKEN, FakeGenerator

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def ray_serve() -> Iterator[tuple[Any, int]]:
    """Yield Ray Serve, and the port of its proxy."""
    pytest.importorskip("fastapi", reason='pip install "ray[serve]"')
    import ray
    from ray import serve

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray.shutdown()  # of whoever ran before in this process
    ray.init(address="local", num_cpus=2, object_store_memory=100 << 20, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield serve, port
        serve.shutdown()
    finally:
        ray.shutdown()


def test_a_film_is_made_behind_ray_serve(tmp_path: Path, ray_serve: tuple[Any, int]) -> None:
    serve, port = ray_serve
    made = deployment(partial(FakeGenerator), str(tmp_path / "to"), TOKEN, ray_actor_options={"num_cpus": 1})
    serve.run(made, route_prefix="/")
    base = f"http://127.0.0.1:{port}"
    assert httpx2.get(f"{base}/api/jobs").status_code == 401
    assert "Portraits" in httpx2.get(f"{base}/", params={"token": TOKEN}).text
    with httpx2.Client(base_url=base, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
        response = client.post("/api/jobs", files={"portrait": PORTRAIT, "sound": SOUND}, data={"seed": "3"})
        assert response.status_code == 201, response.text
        job_id = response.json()["id"]
        wait_for(lambda: client.get(f"/api/jobs/{job_id}").json()["state"] == "done")
        film = client.get(f"/api/jobs/{job_id}/film", headers={"Range": "bytes=4-7"})
        assert (film.status_code, film.content) == (206, b"ftyp")
        assert client.delete(f"/api/jobs/{job_id}").status_code == 204
    assert not list((tmp_path / "to" / "jobs").iterdir())

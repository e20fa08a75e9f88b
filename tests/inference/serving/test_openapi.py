"""The description is valid OpenAPI 3.1, names every route, and holds for what the server answers."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from starlette.routing import Route

from inference.serving.app import create_app
from inference.serving.jobs import Jobs, Limits
from inference.serving.openapi import document
from inference.serving.records import JobFolder
from tests.inference.serving.conftest import Client, Open
from tests.inference.serving.fake_portraits import FakeGenerator

DOCUMENT = document(Limits())
NOT_API = {"/", "/openapi.json"}


def schema_of(path: str, method: str, status: int) -> dict[str, Any]:
    """The schema of an answer, with all named schemas beside it."""
    answers = DOCUMENT["paths"][path][method]["responses"]
    content = answers[str(status)]["content"]["application/json"]["schema"]
    return {**content, "components": DOCUMENT["components"]}


def test_the_document_is_openapi() -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="comes with moto's server")
    validator.validate(DOCUMENT)


def test_every_route_is_described_and_nothing_else(tmp_path: Any) -> None:
    jobs = Jobs(JobFolder(tmp_path), FakeGenerator(), Limits())
    routes = [route for route in create_app(jobs, "t" * 16).routes if isinstance(route, Route)]
    served = {(route.path, method.lower()) for route in routes for method in route.methods or () if method != "HEAD"}
    described = {
        (path, method) for path, item in DOCUMENT["paths"].items() for method in item if method != "parameters"
    }
    assert {pair for pair in served if pair[0] not in NOT_API} == described


def check(client: Client, method: str, path: str, template: str, status: int, **kept: Any) -> Any:
    response = client.request(method, path, **kept)
    assert response.status_code == status, response.text
    jsonschema.Draft202012Validator(schema_of(template, method.lower(), status)).validate(response.json())
    return response.json()


def test_answers_are_as_described(open_server: Open) -> None:
    client = open_server(waiting=1)
    check(client, "GET", "/api/server", "/api/server", 200)
    job_id = client.made(prompt="held")
    client.until(job_id, "running")
    one = "/api/jobs/{id}"
    waiting = client.made(title="waits")
    check(client, "GET", f"/api/jobs/{job_id}", one, 200)
    check(client, "GET", f"/api/jobs/{waiting}", one, 200)
    check(client, "GET", f"/api/jobs/{job_id}/film", f"{one}/film", 409)
    check(client, "POST", f"/api/jobs/{job_id}/again", f"{one}/again", 409)
    check(client, "POST", "/api/jobs", "/api/jobs", 429)
    client.generator.gate.set()
    client.until(waiting, "done")
    assert check(client, "GET", "/api/jobs", "/api/jobs", 200)["jobs"][0]["id"] == waiting
    check(client, "POST", "/api/jobs", "/api/jobs", 400)
    check(client, "GET", "/api/jobs/none", one, 404)
    check(client, "GET", "/api/jobs", "/api/jobs", 401, headers={"Authorization": ""})
    check(client, "GET", "/api/jobs", "/api/jobs", 403, headers={"Host": "evil.example"})

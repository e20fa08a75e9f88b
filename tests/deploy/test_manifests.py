"""The files of deploy/ parse, hold what their readers require, and agree with pyproject.toml and with each other."""

import json
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.support.deploy_paths import DEPLOY, ROOT

DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
IMAGE = "registry.example/portrait-funnel:0.1.0"


def manifest(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text("utf-8"))
    return loaded


def clusters() -> dict[str, dict[str, Any]]:
    """Specifications of Ray clusters by file."""
    return {
        "raycluster.yaml": manifest("kuberay/raycluster.yaml")["spec"],
        "rayjob.yaml": manifest("kuberay/rayjob.yaml")["spec"]["rayClusterSpec"],
    }


def groups(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield cluster["headGroupSpec"]
    yield from cluster["workerGroupSpecs"]


def values(tree: Any, key: str) -> Iterator[Any]:
    """Everything that is called ``key``, however deep."""
    if isinstance(tree, dict):
        yield from (value for name, value in tree.items() if name == key)
    for branch in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from values(branch, key)


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_yaml_file_parses(path: Path) -> None:
    assert list(yaml.safe_load_all(path.read_text("utf-8")))


@pytest.mark.parametrize(("name", "cluster"), clusters().items(), ids=list(clusters()))
def test_ray_clusters_have_what_kuberay_requires(name: str, cluster: dict[str, Any]) -> None:
    assert cluster["authOptions"] == {"mode": "token"}
    for group in groups(cluster):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "KubeRay takes strings only"
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"] == IMAGE
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        assert "metrics" in {port["name"] for port in container["ports"]}
        mounts = {mount["name"] for mount in container.get("volumeMounts", ())}
        assert mounts <= {volume["name"] for volume in group["template"]["spec"].get("volumes", ())}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert re.fullmatch("[a-z]+", group["groupName"])
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > 30, "Ray drains a node that long"


def test_kinds_and_names() -> None:
    for name, kind in (("raycluster", "RayCluster"), ("rayjob", "RayJob")):
        found = manifest(f"kuberay/{name}.yaml")
        assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", kind)
        assert re.fullmatch("[a-z0-9-]{1,47}", found["metadata"]["name"])
    job = manifest("kuberay/rayjob.yaml")["spec"]
    assert job["submissionMode"] == "K8sJobMode"
    assert yaml.safe_load(job["runtimeEnvYAML"])["env_vars"] == {"FUNNEL_LOG": "json"}
    monitor = manifest("kuberay/podmonitor.yaml")
    assert (monitor["kind"], monitor["spec"]["podMetricsEndpoints"][0]["port"]) == ("PodMonitor", "metrics")


def test_the_vm_cluster_satisfies_rays_own_schema() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text("utf-8"))
    found = manifest("vm/cluster.yaml")
    jsonschema.validate(found, schema)
    assert found["head_node_type"] in found["available_node_types"]
    assert found["docker"]["image"] == IMAGE
    most = sum(kind.get("max_workers", 0) for kind in found["available_node_types"].values())
    assert found["max_workers"] == most


def test_versions_agree_with_pyproject() -> None:
    (image_ray,) = re.findall(r"^ARG RAY=(\S+)$", DOCKERFILE, re.MULTILINE)
    (image_python,) = re.findall(r"^FROM python:(\d+\.\d+)", DOCKERFILE, re.MULTILINE)
    pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
    (needed_python,) = re.findall(r'^requires-python = "(.+)"$', pyproject, re.MULTILINE)
    needed = [r for r in map(Requirement, requires("portrait-funnel") or ()) if r.name == "ray"]
    assert image_python in SpecifierSet(needed_python)
    assert needed
    assert all(image_ray in ray.specifier for ray in needed), "also that of the extra serve"
    assert {spec["rayVersion"] for spec in clusters().values()} == {image_ray}
    (version,) = re.findall(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    assert IMAGE.endswith(f":{version}")


def test_the_image_copies_what_the_package_is_made_of() -> None:
    copied = {name for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]}
    assert {"catalogs", "stages", "curation", "pyproject.toml"} <= copied
    assert all((ROOT / name).exists() for name in copied)
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split()
    assert {f"!{name}" for name in copied} <= set(let_in)
    extras = set(re.findall(r"EXTRAS=([\w,]+)", DOCKERFILE))
    known = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE))
    assert {name for extra in extras for name in extra.split(",")} <= known


@pytest.mark.parametrize("script", sorted(DEPLOY.rglob("*.sbatch")), ids=lambda path: path.name)
def test_shell_scripts_are_well_formed(script: Path) -> None:
    checked = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "set -euo pipefail" in script.read_text("utf-8")

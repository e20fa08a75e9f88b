"""A test may build in a copy of all our packages, with packages of somebody else's beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.support.written_media import write_video

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent
_BUILT_ON = (
    "catalogs",
    "http_server",
    "model",
    "runner",
    "stages",
    "curation",
    "training",
    "inference",
    "funnel",
    "docs",
    "scripts",
    "tests",
)


def copy_house(folder: Path) -> Path:
    """Copy the packages, docs, scripts and tests; weights are linked, as nobody writes there."""
    house = folder / "house"
    for name in _BUILT_ON:
        shutil.copytree(ROOT / name, house / name, ignore=shutil.ignore_patterns("__pycache__"))
    (house / "weights").symlink_to(ROOT / "weights")
    shutil.copy(ROOT / "pyproject.toml", house)
    return house


def install(project: Path, target: Path) -> None:
    """Install a project of single modules as `pip install --target` does, without asking an index for build tools."""
    about = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    name, version = about["project"]["name"], about["project"]["version"]
    metadata = target / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = about["project"]["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in those.items()) for group, those in groups]
    (metadata / "entry_points.txt").write_text("".join(lines))
    for module in about["tool"]["setuptools"]["py-modules"]:
        shutil.copy(project / f"{module}.py", target)


def python(place: Path, *words: object, cwd: Path | None = None, code: int = 0) -> str:
    """Run Python with the modules of ``place`` before all others; returns what it prints."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd or place,
        env=os.environ | {"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == code, f"{words}: {done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout if code == 0 else done.stderr


def grey_and_red_pool(folder: Path) -> Path:
    """Write two videos of two seconds: grey.mp4 and red.mp4."""
    folder.mkdir()
    for name, colour in (("grey", (90, 90, 90)), ("red", (200, 40, 40))):
        write_video(folder / f"{name}.mp4", [np.full((64, 96, 3), colour, np.uint8)] * 20, fps=10)
    return folder

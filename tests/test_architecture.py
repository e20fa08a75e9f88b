"""Imports run one way (DESIGN section 2): catalogs <- stages <- curation."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from stages.listing import STAGES

ROOT = Path(__file__).parent.parent
HOUSE = {"catalogs", "stages", "curation", "model", "training", "inference"}
MAY_IMPORT = {
    "catalogs": set(),
    "stages": {"catalogs"},
    "curation": {"catalogs", "stages"},
    "model": set(),
    "training": {"catalogs", "model"},
    "inference": {"model", "stages"},
}


def imported_packages(path: Path) -> set[str]:
    """Top-level packages that a module imports anywhere, except in its ``if __name__ == "__main__":`` block, where it
    is a program and not a module (`python -m stages.sync` starts the runner in curation)."""
    found: set[str] = set()
    body = [
        node
        for node in ast.parse(path.read_text("utf-8")).body
        if not (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))
    ]
    for top in body:
        for node in ast.walk(top):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found


MODULES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert imported_packages(path) & HOUSE - {package} <= MAY_IMPORT[package]


def test_the_check_can_fail(tmp_path: Path) -> None:
    module = tmp_path / "bad.py"
    module.write_text("def f():\n    from curation import run\n")
    assert "curation" in imported_packages(module)


def test_a_worker_starts_light() -> None:
    """Stages, and the parts of scipy, load when they are used: together they cost every worker half a second."""
    code = "import curation.running.clip_worker, curation.running.host, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "stages.listing" in loaded
    assert not loaded & {*(f"stages.{name}" for name in STAGES), "scipy.signal", "scipy.special", "cv2", "onnxruntime"}


def test_stages_are_listed_under_their_names() -> None:
    assert {name: stage.name for name, stage in STAGES.items()} == {name: name for name in STAGES}
    with pytest.raises(KeyError):
        STAGES["base"]


@pytest.mark.parametrize("package", [p for p in MAY_IMPORT if (ROOT / p).is_dir()])
def test_every_folder_says_what_lives_there(package: str) -> None:
    for init in (ROOT / package).rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(init.read_text("utf-8"))), f"{init} has no docstring"


def test_scorers_do_not_know_ray() -> None:
    for path in [*(ROOT / "stages").rglob("*.py"), *(ROOT / "catalogs").rglob("*.py")]:
        assert "ray" not in imported_packages(path), path

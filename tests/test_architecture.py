"""The house: which package may know which (ARCHITECTURE.md draws it), no module knows itself in a circle, every folder
says what lives there, and the wheel holds every package and nothing else."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomllib

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from runner.logs import OUR_PACKAGES
from stages.listing import STAGES

ROOT = Path(__file__).parent.parent
#: Package -> the packages that it may import. ``stages`` may also import the one module of BELOW_STAGES.
MAY_IMPORT = {
    "catalogs": set(),
    "model": set(),
    "http_server": {"catalogs"},
    "weights": {"catalogs"},
    "runner": {"catalogs"},
    "stages": {"catalogs", "weights"},
    "curation": {"catalogs", "http_server", "weights", "runner", "stages"},
    "training": {"catalogs", "model", "weights", "runner", "stages"},
    "inference": {"catalogs", "http_server", "model", "weights", "stages"},
    "funnel": {"catalogs", "http_server", "model", "weights", "runner", "stages", "curation", "training", "inference"},
}
#: The rooms of curation, from the ground up: a room knows those before it.
ROOMS = ("deciding", "running", "annotation", "exports", "report", "demo")
BELOW_STAGES = "runner.resources"  #: the plain record of what a worker needs; it imports nothing of ours
HOUSE = [package for package in MAY_IMPORT if (ROOT / package).is_dir()]
MODULES = {
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__"): path
    for package in HOUSE
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Every (module, name) that a module imports anywhere, in functions and for type checkers too; ``name`` is empty
    for ``import module``. Its ``if __name__ == "__main__":`` block is left out: there it is a program and not a module
    (`python -m stages.sync` starts the runner)."""
    for top in ast.parse(path.read_text("utf-8")).body:
        if isinstance(top, ast.If) and "__main__" in ast.unparse(top.test):
            continue
        for node in ast.walk(top):
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from ((node.module, alias.name) for alias in node.names)


def needed_modules(path: Path) -> set[str]:
    """Our modules that a module imports when it runs: what only type checkers see (``TYPE_CHECKING``) is left out."""
    tree = ast.parse(path.read_text("utf-8"))
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = inside & MODULES.keys()
            found |= modules if modules == inside else modules | {node.module}
    return found & MODULES.keys()


def breaches(path: Path, package: str) -> list[str]:
    """The imports of a module in ``package`` that the house does not allow."""
    found = []
    for module, name in imports(path):
        top = module.split(".")[0]
        whole = f"{module}.{name}" if name else module
        is_resources = package == "stages" and whole.startswith(BELOW_STAGES)
        if top in MAY_IMPORT and top != package and top not in MAY_IMPORT[package] and not is_resources:
            found.append(whole)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module: str) -> None:
    path = MODULES[module]
    assert not breaches(path, module.split(".")[0])


def test_the_check_can_fail(tmp_path: Path) -> None:
    module = tmp_path / "bad.py"
    module.write_text(
        "def f():\n    from curation.running import run\n    import runner.pool\n    import runner.resources\n"
    )
    assert breaches(module, "stages") == ["curation.running.run", "runner.pool"]
    assert breaches(module, "inference") == ["curation.running.run", "runner.pool", "runner.resources"]
    assert breaches(module, "funnel") == []


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("curation.")])
def test_rooms_of_curation_know_only_those_before_them(module: str) -> None:
    room = module.split(".")[1]
    assert room in ROOMS, "nothing lies loose beside the rooms"
    above = ROOMS[ROOMS.index(room) + 1 :]
    known = {name.split(".")[1] for name, _ in imports(MODULES[module]) if name.startswith("curation.")}
    assert not known & set(above)


def circle_in(needs: dict[str, set[str]]) -> list[str]:
    """Modules that need each other in a circle, or nothing."""
    done: set[str] = set()

    def look(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for other in sorted(needs.get(module, ())):
            if found := look(other, [*way, module]):
                return found
        done.add(module)
        return []

    return next((found for module in needs if (found := look(module, []))), [])


def test_no_modules_need_each_other_in_a_circle() -> None:
    """Imports inside functions count: they hide a circle and do not break it."""
    assert not circle_in({module: needed_modules(path) - {module} for module, path in MODULES.items()})


def test_a_circle_is_found() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not circle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_lists_of_packages_are_complete() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert found == [name for package in HOUSE_IN_ORDER for name in (package, f"{package}.*")]
    assert sorted(project["tool"]["mypy"]["packages"]) == sorted(HOUSE)
    assert set(OUR_PACKAGES) == set(MAY_IMPORT), "the log filter"
    copied = re.findall(r"(?m)^COPY (\w+) \1$", (ROOT / "deploy/Dockerfile").read_text("utf-8"))
    let_in = re.findall(r"(?m)^!(\w+)$", (ROOT / "deploy/Dockerfile.dockerignore").read_text("utf-8"))
    assert copied == [name for name in let_in if name not in ("LICENSE", "NOTICE")] == HOUSE_IN_ORDER, "the image"


HOUSE_IN_ORDER = [package for package in OUR_PACKAGES if package in HOUSE]


def test_spans_that_are_opened_are_made_in_one_place() -> None:
    """Whoever opens a clip has asked where its file is now; files that are in no catalog have no other place."""
    makers = {
        module for module, path in MODULES.items() if re.search(r"\bClipSpan\(|, ClipSpan\)", path.read_text("utf-8"))
    }
    assert makers == {"catalogs.whereabouts", "catalogs.media.whole", "catalogs.media.clip"}


def test_a_worker_starts_light() -> None:
    """Stages, and the parts of scipy, load when they are used: together they cost every worker half a second."""
    code = "import curation.running.clip_worker, runner.host, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "stages.listing" in loaded
    assert not loaded & {*(f"stages.{name}" for name in STAGES), "scipy.signal", "scipy.special", "cv2", "onnxruntime"}


def test_stages_are_listed_under_their_names() -> None:
    assert {name: stage.name for name, stage in STAGES.items()} == {name: name for name in STAGES}
    with pytest.raises(KeyError):
        STAGES["base"]


@pytest.mark.parametrize("package", HOUSE)
def test_every_folder_says_what_lives_there(package: str) -> None:
    for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
        init = folder / "__init__.py"
        assert ast.get_docstring(ast.parse(init.read_text("utf-8"))), f"{init} has no docstring"


def test_scorers_do_not_know_ray() -> None:
    for package in ("catalogs", "weights", "stages"):
        for path in (ROOT / package).rglob("*.py"):
            assert "ray" not in {module.split(".")[0] for module, _ in imports(path)}, path

"""This module finds out what this machine and this installation can run, without starting anything.

Two kinds of trouble: a *problem* means that nothing works until it is repaired; a *warning* names something that will
surprise sooner or later.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from catalogs.errors import UserError
from weights import registry

if TYPE_CHECKING:  # stages.base opens media libraries, which a broken installation may not have
    from stages.base import Backend, Profile, Stage

DISTRIBUTION = "portrait-funnel"
RUNNABLE, WEIGHTS_MISSING, PACKAGE_MISSING, NO_BACKEND = (
    "runnable",
    "weights missing",
    "package missing",
    "no backend yet",
)


@dataclass(frozen=True)
class Package:
    """Describes a Python package that is needed: by everything (``core``), or by named stages."""

    name: str
    needs: str  #: version specifier; empty for any
    version: str | None  #: installed version; None if it is not there
    needed_by: str
    fits: bool


@dataclass(frozen=True)
class Machine:
    """Describes the machine that it would run on."""

    python: str
    system: str
    cpus: float  #: usable by this process, control-group quota included
    memory_bytes: int | None  #: usable by this process, control-group limit included
    gpus: tuple[str, ...]
    cache_folder: str
    cache_free_bytes: int
    cache_writable: bool


@dataclass(frozen=True)
class Readiness:
    """Says whether a stage can run under a profile.

    Attributes:
        state: runnable | weights missing | package missing | no backend yet.
        null_columns: column -> the optional weights file without which it stays empty.
        own_weights: those of its weights that the user's own files replace (weights/own.py).
        todo: what a person does about it; empty if nothing.
    """

    stage: str
    profile: str
    state: str
    backend: str | None = None
    missing_weights: tuple[str, ...] = ()
    missing_packages: tuple[str, ...] = ()
    null_columns: Mapping[str, str] | None = None
    own_weights: tuple[str, ...] = ()
    todo: str = ""


@dataclass(frozen=True)
class Installation:
    """Holds everything that ``funnel doctor`` shows."""

    version: str
    machine: Machine
    packages: tuple[Package, ...]
    opencv: tuple[str, ...]  #: distributions that write the cv2 folder
    ffmpeg: str  #: version of the FFmpeg libraries inside PyAV; empty if they do not load
    stages: tuple[Readiness, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def version() -> str:
    """Return the installed version of this distribution."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "unknown (running from a source folder, not installed)"


def inspect() -> Installation:
    """Look at everything. Imports torch, PyAV and OpenCV, because an import is the only proof that they work."""
    problems: list[str] = []
    warnings: list[str] = []
    stages = _listed_stages(problems)
    packages = (*_core_packages(), *_backend_packages(stages))
    problems += [
        f"package {p.name} {p.version or 'is missing'}{f' does not satisfy {p.needs}' if p.version else ''}: "
        f"pip install '{p.name}{p.needs}'"
        for p in packages
        if p.needed_by == "core" and not p.fits
    ]
    found = Installation(
        version=version(),
        machine=_machine(warnings),
        packages=packages,
        opencv=_opencv(problems, warnings),
        ffmpeg=_ffmpeg(problems),
        stages=_stage_readiness(stages, problems),
        problems=(),
        warnings=(),
    )
    if not found.machine.cache_writable:
        warnings.append(f"cannot write to the cache folder {found.machine.cache_folder}: set FUNNEL_CACHE")
    return Installation(**{**vars(found), "problems": tuple(problems), "warnings": tuple(warnings)})


def _listed_stages(problems: list[str]) -> Mapping[str, Stage]:
    try:
        from stages.listing import STAGES

        return dict(STAGES)  # each is imported when it is asked for
    except (ImportError, UserError) as error:  # UserError: a stage of somebody else's package
        problems.append(f"the stages cannot be loaded: {error}")
        return {}


# --- packages ---------------------------------------------------------------------------------------------------------


def _core_packages() -> Iterator[Package]:
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            have = _installed_version(requirement.name)
            fits = have is not None and requirement.specifier.contains(have, prereleases=True)
            yield Package(requirement.name, str(requirement.specifier), have, "core", fits)


def _backend_packages(stages: Mapping[str, Stage]) -> Iterator[Package]:
    needed_by: dict[str, list[str]] = {}
    for stage in stages.values():
        for profile, backend in stage.backends.items():
            for package in backend.packages:
                needed_by.setdefault(package, []).append(f"{stage.name} {profile}")
    distributions = importlib.metadata.packages_distributions() if needed_by else {}
    for package, users in sorted(needed_by.items()):
        names = distributions.get(package.partition(".")[0], [package])
        there = importlib.util.find_spec(package.partition(".")[0]) is not None
        have = _installed_version(names[0]) or ("unknown" if there else None)
        yield Package(package, "", have, ", ".join(users), there)


def _installed_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _opencv(problems: list[str], warnings: list[str]) -> tuple[str, ...]:
    flavours = sorted(set(importlib.metadata.packages_distributions().get("cv2", [])))
    if len(flavours) > 1:
        warnings.append(
            f"{' and '.join(flavours)} overwrite each other's files: pip uninstall -y {' '.join(flavours)}, "
            "then pip install opencv-python-headless"
        )
    try:
        import cv2  # noqa: F401
    except ImportError as error:  # a missing libGL, for instance, with the flavours that open windows
        problems.append(f"OpenCV does not load: {error}")
    return tuple(f"{name} {_installed_version(name)}" for name in flavours)


def _ffmpeg(problems: list[str]) -> str:
    try:
        import av
    except ImportError as error:
        problems.append(f"PyAV does not load: {error}")
        return ""
    codec = "libavcodec " + ".".join(map(str, av.library_versions["libavcodec"]))
    release = getattr(av, "ffmpeg_version_info", "")  # newer PyAV only
    return f"{release} ({codec})" if release else codec


# --- machine ----------------------------------------------------------------------------------------------------------


def _machine(warnings: list[str]) -> Machine:
    cache = registry.cache_folder()
    there = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpus=_usable_cpus(),
        memory_bytes=_usable_memory_bytes(),
        gpus=_gpus(warnings),
        cache_folder=str(cache),
        cache_free_bytes=shutil.disk_usage(there).free,
        cache_writable=there.is_dir() and os.access(there, os.W_OK | os.X_OK),
    )


def _usable_cpus() -> float:
    cpus = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    quota, _, period = _control_group("cpu.max").partition(" ")
    return min(cpus, int(quota) / int(period)) if quota.isdigit() and period.isdigit() else cpus


def _usable_memory_bytes() -> int | None:
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    limit = _control_group("memory.max")
    return min(memory, int(limit)) if limit.isdigit() else memory


def _control_group(file: str) -> str:
    """Read a limit of the container that this runs in (cgroup v2); nothing where there is none."""
    try:
        return (Path("/sys/fs/cgroup") / file).read_text().strip()
    except OSError:
        return ""


def _gpus(warnings: list[str]) -> tuple[str, ...]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of CUDA that does not load
        warnings.append(f"PyTorch does not load: {error}")
        return ()
    if not torch.cuda.is_available():
        return ()
    devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return tuple(f"{device.name}, {device.total_memory / 2**30:.0f} GiB" for device in devices)


# --- stages -----------------------------------------------------------------------------------------------------------


def _stage_readiness(stages: Mapping[str, Stage], problems: list[str]) -> tuple[Readiness, ...]:
    try:
        return tuple(_readiness(stages))
    except UserError as error:  # own_weights.json is not right, and nothing can be looked up until it is
        problems.append(str(error))
        return ()


def _readiness(stages: Mapping[str, Stage]) -> Iterator[Readiness]:
    if not stages:
        return
    from stages.base import PROFILES

    for stage in stages.values():
        for profile in PROFILES:
            if profile in stage.backends:
                yield _backend_readiness(stage, profile, stage.backend(profile))
            else:
                yield Readiness(stage.name, profile, NO_BACKEND)


def _backend_readiness(stage: Stage, profile: Profile, backend: Backend) -> Readiness:
    packages, weights = tuple(backend.missing_packages()), tuple(backend.missing_weights())
    null_columns = backend.unavailable_columns()
    state = PACKAGE_MISSING if packages else WEIGHTS_MISSING if weights else RUNNABLE
    names = dict.fromkeys((*weights, *null_columns.values()))
    steps = [f"install the Python package {name!r}" for name in packages] + [registry.way_to_get(n) for n in names]
    return Readiness(
        stage=stage.name,
        profile=profile,
        state=state,
        backend=backend.name,
        missing_weights=weights,
        missing_packages=packages,
        null_columns=null_columns,
        own_weights=tuple(n for n in backend.all_weights if registry.get(n).own_folder),
        todo="; ".join(steps),
    )

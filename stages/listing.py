"""Every stage is found here by its name: those of this package, and those that installed packages bring.

A module beside this one that declares ``STAGE`` is a stage; nobody has to list it. The ten of the default funnel come
first, in its order: cheap and sparse first, dense later, captions last; the others follow by name.

A package of somebody else's brings a stage by an entry point of the group ``portrait_funnel.stages``, whose name is the
stage's and whose value is ``module:STAGE``. Names come from policies, which strangers write, so only what is listed is
ever imported: installing a package is what lets its code in, naming a module is not.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from catalogs.errors import UserError
from stages.base import Stage

log = logging.getLogger(__name__)

GROUP = "portrait_funnel.stages"
_DEFAULT_FUNNEL = (
    "scene_split",
    "person_count",
    "face_count",
    "head_body",
    "video_quality",
    "language",
    "audio_quality",
    "speakers",
    "sync",
    "caption",
)
_DECLARATION = re.compile(r"^STAGE\b[^=\n]*=", re.MULTILINE)


class Stages(Mapping[str, Stage]):
    """Maps names to stages, and imports each when it is asked for: a worker of one stage loads that one's libraries."""

    def __getitem__(self, name: str) -> Stage:
        if self._is_shipped(name):
            stage: Stage = import_module(self.module(name)).STAGE
            if stage.name != name:
                raise ValueError(f"stages/{name}.py declares a stage named {stage.name!r}; its name must be {name!r}")
            return stage
        return _loaded(self.installed[name])

    def __contains__(self, name: object) -> bool:
        return self._is_shipped(name) or name in self.installed

    def __iter__(self) -> Iterator[str]:
        yield from self.shipped
        yield from self.installed

    def __len__(self) -> int:
        return len(self.shipped) + len(self.installed)

    @cached_property
    def shipped(self) -> tuple[str, ...]:
        """Names the stages of this package. The files are read as text: to import them all takes seconds."""
        modules = (path for path in Path(__file__).parent.glob("*.py") if path.stem.isidentifier())  # no editor's file
        others = (path for path in modules if path.stem not in _DEFAULT_FUNNEL)
        return (*_DEFAULT_FUNNEL, *sorted(path.stem for path in others if _declares_stage(path)))

    @cached_property
    def installed(self) -> Mapping[str, EntryPoint]:
        """Maps the stages of other packages to where they are declared.

        Raises:
            UserError: a name is taken, so that nobody could say whose numbers it stands for.
        """
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=GROUP):
            if entry.name in found or entry.name in self.shipped:
                other = _package(found[entry.name]) if entry.name in found else "portrait-funnel"
                raise UserError(
                    f"package {_package(entry)} brings a stage {entry.name!r}, and {other} has one too; "
                    "rename one of them, or uninstall the package"
                )
            found[entry.name] = entry
        return dict(sorted(found.items()))

    def loadable(self) -> dict[str, Stage]:
        """Load every stage. One whose package is broken is left out with a warning: the rest can do without it."""
        found = {}
        for name in self:
            try:
                found[name] = self[name]
            except UserError as error:
                log.warning("%s", error)
        return found

    def module(self, name: str) -> str:
        """Return the module in which a stage is declared; ``python -m`` runs it."""
        if self._is_shipped(name) or name not in self.installed:
            return f"stages.{name}"
        return self.installed[name].module

    def _is_shipped(self, name: object) -> bool:
        return name in _DEFAULT_FUNNEL or name in self.shipped


def _declares_stage(path: Path) -> bool:
    return _DECLARATION.search(path.read_text("utf-8")) is not None


def _loaded(entry: EntryPoint) -> Stage:
    where = f"stage {entry.name} of package {_package(entry)}"
    try:
        stage = entry.load()
    except Exception as error:  # whatever somebody else's module raises while it is imported
        raise UserError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(stage, Stage) or stage.name != entry.name:
        raise UserError(f"{where}: {entry.value} must be a stages.base.Stage with name={entry.name!r}")
    return stage


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown"


STAGES = Stages()


def stage_named(name: str, where: str = "") -> Stage:
    """Return the stage of that name. Raises UserError with the nearest valid name."""
    if name in STAGES:
        return STAGES[name]
    near = get_close_matches(name, STAGES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"stages are: {', '.join(STAGES)}; a package may bring others"
    raise UserError(f"{where + ': ' if where else ''}unknown stage {name!r}; {hint}")

"""Every stage, in the default funnel order: cheap and sparse first, dense later, captions last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module

from catalogs.errors import UserError
from stages.base import Stage

_NAMES = (
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


class _Stages(Mapping[str, Stage]):
    """Stage by name. Each is imported when it is asked for: a worker of one stage loads the libraries of that one."""

    def __getitem__(self, name: str) -> Stage:
        if name not in _NAMES:
            raise KeyError(name)
        stage: Stage = import_module(f"stages.{name}").STAGE
        return stage

    def __contains__(self, name: object) -> bool:
        return name in _NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


STAGES: Mapping[str, Stage] = _Stages()


def stage_named(name: str, where: str = "") -> Stage:
    """Raises UserError with the nearest valid name."""
    if name in STAGES:
        return STAGES[name]
    near = get_close_matches(name, STAGES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"stages are: {', '.join(STAGES)}"
    raise UserError(f"{where + ': ' if where else ''}unknown stage {name!r}; {hint}")

"""This module says what a stage is: columns, config, backends by profile, resources, and the fingerprint that names its
numbers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol, TypeGuard

import pyarrow as pa

from catalogs.errors import UserError
from catalogs.media import ClipMedia, MediaConfig
from catalogs.schema import CLIPS
from runner.resources import Resources
from stages.declared import Boxes, Question, named
from weights import registry

Profile = Literal["lite", "reference"]
MISSING = "missing"  #: stands for the sha256 of weights that are not there
PROFILES: tuple[Profile, ...] = ("lite", "reference")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
#: Every catalog has these tables, and every row of a stage these columns: no stage and no column may be called so.
_TABLES = frozenset({"sources", "clips", "failures", "verdicts", "curated", "private", "ingest"})
_KEYS = frozenset({*CLIPS.names, "status", "status_detail"})


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Holds what a scorer returns: subclasses add one field per column of their stage, all defaulting to None.

    Attributes:
        status: ok | not_applicable (nothing there to measure: no sound, no face) | unavailable (a model that some
            columns need is not installed); see catalogs.schema.STATUSES.
        status_detail: why, when the status is not ok.
    """

    status: Literal["ok", "not_applicable", "unavailable"] = "ok"
    status_detail: str | None = None


class Scorer(Protocol):
    """Measures clips, and does nothing else; it is constructed once per process, which loads its models."""

    def score(self, clip: ClipMedia) -> Measurement:
        """Measure a clip. Raises ClipError for one that cannot be measured."""
        ...


class BatchScorer(Scorer, Protocol):
    """Measures several clips at once, as it asks a server that works on many questions together.

    Attributes:
        concurrency: clips in hand at once; 1: it measures one after the other, like any scorer.
        patience_s: the longest that one clip may take beside its decoding.
    """

    concurrency: int
    patience_s: float

    def score_many(self, clips: Iterable[ClipMedia]) -> Generator[tuple[int, Callable[[], Measurement]], None, None]:
        """Measure clips, at most ``concurrency`` of them at a time; ``clips`` is read as places become free.

        Yields (position in ``clips``, result) as each is finished, in any order: ``result()`` returns the measurement
        or raises what :meth:`score` would have raised for that clip. Pictures are decoded shortly before they are
        needed and none stay behind in a clip. Closing the generator gives up what is in hand.
        """
        ...


def takes_several(scorer: Scorer) -> TypeGuard[BatchScorer]:
    """Say whether clips should come together for this scorer."""
    return getattr(scorer, "concurrency", 1) > 1


def operational(default: Any) -> Any:
    """Declare a config field that says where or how patiently to work, not what to measure.

    It is no part of the fingerprint.
    """
    return field(default=default, metadata={"operational": True})


@dataclass(frozen=True)
class StageConfig:
    """Is the base of the stages' configs: frozen, and without place for unknown keys.

    Every field but :func:`operational` ones changes numbers.
    """

    def numbers(self) -> dict[str, Any]:
        """Return what of this config changes numbers, which is its part of the fingerprint."""
        return {f.name: getattr(self, f.name) for f in fields(self) if not f.metadata.get("operational")}

    def needs(self) -> Resources | None:
        """Return what one worker needs, where these settings decide it: a model in this process or behind a server."""
        return None

    @classmethod
    def parse(cls, given: Mapping[str, Any], where: str) -> StageConfig:
        """Build from a mapping (a policy's ``config:``). Raises UserError on an unknown key or a wrong type."""
        known = {f.name: f for f in fields(cls)}
        for key, value in given.items():
            if key not in known:
                names = ", ".join(sorted(known)) or "none"
                raise UserError(f"{where}: unknown config key {key!r}; this stage knows: {names}")
            default = getattr(cls(), key)
            if default is not None and not _same_kind(value, default):
                raise UserError(f"{where}: config {key!r} must be like {default!r}, got {value!r}")
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})


def _same_kind(value: object, default: object) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, tuple):
        return isinstance(value, (list, tuple))
    return isinstance(value, type(default))


@dataclass(frozen=True)
class Backend:
    """Declares one way to measure a stage's columns.

    Attributes:
        name: recorded with every number, e.g. ``nanodet``.
        scorer: ``module:Class`` of the scorer; its constructor takes the stage's config.
        version: raise it whenever the code changes numbers.
        weights: names in the model registry without which nothing can be measured.
        optional_weights: name -> columns that stay null without it.
        packages: import names that must be installed beyond the core dependencies.
        config: its own config class, where it shares no settings with the stage's other backends.
        resources: what one worker needs, where that differs from the stage's.
        check: ``module:function``, called with the config before any work starts; raises UserError if the backend
            cannot work now (a server that does not answer).
        cost: what an hour of video costs, as measured ('' = not yet), for docs/stages.md; no decoding.
        stand_in: a backend that measures the same columns, with the same settings, where only its weights are here.
    """

    name: str
    scorer: str
    version: int = 1
    weights: tuple[str, ...] = ()
    optional_weights: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    config: type[StageConfig] | None = None
    resources: Resources | None = None
    check: str = ""
    cost: str = ""
    stand_in: Backend | None = None

    def installed(self) -> Backend:
        """Return the backend that measures on this machine: this one or its stand-in.

        The stand-in does where its weights are here and this one's are not, and where the user declared weights of
        their own for it. Where neither is complete, people are told what this one lacks.
        """
        other = self.stand_in
        if other is None:
            return self
        ours, theirs = set(self.all_weights), set(other.all_weights)
        if any(registry.get(name).own_folder for name in theirs - ours):
            return other
        return other if not _all_here(ours - theirs) and _all_here(theirs - ours) else self

    def called(self, name: str) -> Backend:
        """Return the stand-in if it has that name, else this backend."""
        return self.stand_in if self.stand_in and self.stand_in.name == name else self

    @property
    def all_weights(self) -> tuple[str, ...]:
        """Name the weights that it uses, required or not."""
        return (*self.weights, *self.optional_weights)

    def missing_weights(self) -> list[str]:
        """Name the weights that are not here and without which nothing can be measured."""
        return [name for name in self.weights if registry.find(name) is None]

    def missing_packages(self) -> list[str]:
        """Name the packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]

    def unavailable_columns(self) -> dict[str, str]:
        """Map columns to the missing optional weights that would fill them."""
        return {
            column: name
            for name, columns in self.optional_weights.items()
            if registry.find(name) is None
            for column in columns
        }

    def load(self, config: StageConfig) -> Scorer:
        """Import and construct the scorer (loads its models)."""
        scorer: Scorer = named(self.scorer)(config)
        return scorer

    def verify(self, config: StageConfig) -> None:
        """Run :attr:`check`. Raises UserError if what it looks at would keep every clip from being measured."""
        if self.check:
            named(self.check)(config)


def _all_here(names: Iterable[str]) -> bool:
    return all(registry.find(name) for name in names)


@dataclass(frozen=True)
class Stage:
    """Declares one measurement of clips, and what the rest of the house wants to know of it.

    Attributes:
        name: module name, folder name in the catalog, view name in queries.
        summary: one line: what is measured and how.
        columns: the measured columns, in order, each with unit and meaning (catalogs.schema.column).
        config: its config class; every field is part of the fingerprint.
        backends: by profile. The same Backend object may serve both.
        views: which parts of a clip it looks at: ``sample`` (sparse pictures), ``dense`` (25 fps), ``sound``.
        resources: what one worker needs.
        key: what a row is about: ``clip_id``, or ``source_id`` for scene_split.
        question: what annotators are asked about its clips; the default asks about the stage by its name.
        boxes: what the annotation page frames in the picture when it is asked to.
    """

    name: str
    summary: str
    columns: pa.Schema
    config: type[StageConfig]
    backends: Mapping[Profile, Backend]
    views: frozenset[str]
    resources: Resources = Resources()
    key: str = "clip_id"
    question: Question = Question()
    boxes: tuple[Boxes, ...] = ()

    def __post_init__(self) -> None:
        """Check the names. Raises ValueError for one that no table or column of a catalog can have."""
        if not _NAME.fullmatch(self.name) or self.name in _TABLES:
            raise ValueError(f"stage {self.name!r}: a lower_case name is needed, and not that of a catalog's own table")
        if self.key == "clip_id":
            for name in self.columns.names:
                if not _NAME.fullmatch(name) or name in _KEYS or self.columns.names.count(name) > 1:
                    why = "is there twice, belongs to every clip or row, or is no lower_case name"
                    raise ValueError(f"stage {self.name}: column {name!r} {why}")

    def backend(self, profile: Profile) -> Backend:
        """Return the backend by which this machine measures under a profile. Raises UserError if there is none."""
        if profile not in self.backends:
            have = ", ".join(self.backends)
            raise UserError(f"stage {self.name} has no {profile} backend yet (it has: {have})")
        return self.backends[profile].installed()

    def config_of(self, profile: Profile) -> type[StageConfig]:
        """Return the config class of that profile's backend; the stage's own where the profile has none."""
        backend = self.backends.get(profile)
        return (backend and backend.config) or self.config

    def scorer(self, profile: Profile = "lite", config: StageConfig | None = None) -> Scorer:
        """Load what measures a clip, for use without a catalog. Raises UserError if weights are missing."""
        return self.backend(profile).load(config or self.config_of(profile)())


@dataclass(frozen=True)
class Fingerprint:
    """Holds everything that changes a stage's numbers; its short hash names them in the catalog."""

    stage: str
    backend: str
    version: int
    weights: Mapping[str, str]  #: registry name -> sha256, or "missing" for optional weights that are not there
    config: Mapping[str, Any]
    media: Mapping[str, Any]  #: MediaConfig, for stages that look at pictures

    @property
    def digest(self) -> str:
        """Return 16 hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the text that is hashed, and kept in the catalog."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


def fingerprint(stage: Stage, backend: Backend, config: StageConfig, media: MediaConfig) -> Fingerprint:
    """Return the fingerprint of what this installation would measure now."""
    return Fingerprint(
        stage=stage.name,
        backend=backend.name,
        version=backend.version,
        weights={name: registry.sha256(name) or MISSING for name in backend.all_weights},
        config=config.numbers(),
        media=asdict(media) if stage.views & {"sample", "dense"} else {},
    )

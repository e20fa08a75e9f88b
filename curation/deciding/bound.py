"""This module binds a policy to this installation: it finds each stage's backend, weights and fingerprint here.

It also finds out whether each stage can run, as a catalog can be read where it could not be made.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from catalogs.errors import UserError
from catalogs.media import MediaConfig
from curation.deciding.policy import Policy, StagePolicy
from stages.base import Backend, Fingerprint, Resources, Stage, fingerprint
from weights import registry


@dataclass(frozen=True)
class BoundStage:
    """Holds one stage as it runs on this installation, or as it ran in a recorded run.

    Attributes:
        missing: weights without which the stage cannot run at all: nothing is measured, on_unavailable decides.
        unavailable_columns: column -> the optional weights that it lacks; the rest is measured.
    """

    policy: StagePolicy
    backend: Backend
    fingerprint: Fingerprint
    missing: tuple[str, ...] = ()
    unavailable_columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def stage(self) -> Stage:
        return self.policy.stage

    @cached_property  # asked for several times per clip
    def name(self) -> str:
        return self.stage.name

    @property
    def digest(self) -> str:
        return self.fingerprint.digest

    @property
    def is_available(self) -> bool:
        return not self.missing

    @property
    def resources(self) -> Resources:
        return self.policy.config.needs() or self.backend.resources or self.stage.resources

    def check_installed(self, media: MediaConfig) -> None:
        """Check that numbers measured on this machine are those that the fingerprint stands for.

        The fingerprint may come from another machine (a worker's node has its own weights) or from a run of the past.

        Raises:
            UserError: this machine would measure under another fingerprint.
        """
        here = fingerprint(self.stage, self.backend, self.policy.config, media)
        if here.digest == self.digest:
            return
        differ = [name for name, sha256 in self.fingerprint.weights.items() if here.weights.get(name) != sha256]
        what = f"weights {', '.join(differ)}" if differ else "code or settings"
        raise UserError(
            f"{self.name}: {what} on {platform.node()} are not those of fingerprint {self.digest}; "
            "install the same on every node, or start a run of its own with `funnel run`"
        )


@dataclass(frozen=True)
class Funnel:
    """A funnel is a policy whose stages are bound to fingerprints.

    ``split`` makes the clips; ``measuring`` are the stages that measure clips, in the policy's order.
    """

    policy: Policy
    stages: tuple[BoundStage, ...]

    @property
    def split(self) -> BoundStage:
        return self.stages[0]

    @property
    def measuring(self) -> tuple[BoundStage, ...]:
        return self.stages[1:]

    def stage(self, name: str) -> BoundStage | None:
        return next((bound for bound in self.stages if bound.name == name), None)

    @property
    def digests(self) -> dict[str, str]:
        return {bound.name: bound.digest for bound in self.stages}


def resolve(policy: Policy) -> Funnel:
    """Bind a policy to this installation. Raises UserError for a stage without a backend of the policy's profile."""
    return Funnel(policy, tuple(_resolve_stage(policy, stage_policy) for stage_policy in policy.stages))


def check_runnable(funnel: Funnel, only: frozenset[str] | None = None) -> None:
    """Check, before a worker starts, all that can be known to be wrong by then.

    Args:
        only: the stages that will run; None for all.

    Raises:
        UserError: packages missing, a weights file with the wrong hash, other weights than the fingerprint's, a device
            or a server that is not there.
    """
    if funnel.split.missing:
        raise UserError(f"scene_split cannot run: weights {', '.join(funnel.split.missing)} are missing")
    for bound in funnel.stages:
        if only is not None and bound.name not in only:
            continue
        backend, profile = bound.backend, funnel.policy.profile
        for name in dict.fromkeys((*bound.stage.backends[profile].all_weights, *backend.all_weights)):
            if registry.find(name) is None and registry.copies(name):
                registry.require(name)  # says which copy is wrong: a wrong file is a mistake, not a missing model
        if packages := backend.missing_packages():
            need = f"{bound.name}: the {profile} backend {backend.name} needs {', '.join(packages)}"
            raise UserError(f'{need}: pip install "portrait-funnel[{profile}]"')
        if bound.is_available:
            bound.check_installed(funnel.policy.media)
            backend.verify(bound.policy.config)


def _resolve_stage(policy: Policy, stage_policy: StagePolicy) -> BoundStage:
    backend = stage_policy.stage.backend(policy.profile)
    return BoundStage(
        policy=stage_policy,
        backend=backend,
        fingerprint=fingerprint(stage_policy.stage, backend, stage_policy.config, policy.media),
        missing=tuple(backend.missing_weights()),
        unavailable_columns=backend.unavailable_columns(),
    )

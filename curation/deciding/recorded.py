"""This module finds the policy that speaks for a catalog: one that the caller names, or that of the catalog's last run.

What is read is decided with the fingerprints of the last run; what is measured gets those of this installation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from catalogs.catalog import Catalog
from catalogs.runs import RunRecord, latest_run
from curation.deciding.bound import BoundStage, Funnel, resolve
from curation.deciding.policy import Policy, load_policy, parse_policy
from stages.base import MISSING, Fingerprint, Profile

DEFAULT_POLICY = "lite"  #: of a catalog without a run


@dataclass(frozen=True)
class ChosenPolicy:
    """Holds a policy, and the run that it was found in.

    Attributes:
        run: None for a policy that the caller named, and for the default before the first run.
    """

    policy: Policy
    run: RunRecord | None = None

    def as_installed(self) -> Funnel:
        """Bind the policy to the fingerprints of this installation, under which this machine measures."""
        return resolve(self.policy)

    def as_recorded(self, catalog: Catalog) -> Funnel:
        """Bind the policy to the fingerprints of its run: a catalog reads the same on a machine that has other weights.

        A policy without a run gets the fingerprints of this installation.
        """
        funnel = self.as_installed()
        if self.run is None:
            return funnel
        fingerprints = self.run.fingerprints
        profile = funnel.policy.profile
        stages = tuple(
            _bound_as_recorded(catalog, bound, profile, fingerprints.get(bound.name)) for bound in funnel.stages
        )
        return Funnel(funnel.policy, stages)


def measured_elsewhere(funnel: Funnel) -> list[str]:
    """Name the stages whose numbers were measured with other weights, code or settings than this installation has."""
    here = resolve(funnel.policy).digests
    return [name for name, digest in funnel.digests.items() if here[name] != digest]


def choose_policy(catalog: Catalog | None, name: str | None, profile: Profile | None = None) -> ChosenPolicy:
    """Find the policy that is named; without a name, the policy of the last run; before the first run, ``lite``.

    Args:
        catalog: None where there is none yet.
        name: a shipped policy, or the path of a YAML file.
        profile: the models to use; that of the policy, or of the run, by default.

    Raises:
        UserError: there is no such policy, or something in it is wrong.
    """
    latest = latest_run(catalog) if catalog and not name else None
    if latest is None:
        return ChosenPolicy(load_policy(name or DEFAULT_POLICY, profile))
    where = f"policy of run {latest.run_id}"
    policy = parse_policy(latest.policy_text, where, profile or cast(Profile, latest.profile))
    return ChosenPolicy(replace(policy, name=latest.policy), latest)  # its text need not say its name


def funnel_of(catalog: Catalog, policy: str | None) -> Funnel:
    """Find the funnel to read a catalog by: the named policy, or the last run's with the fingerprints of that run."""
    return choose_policy(catalog, policy).as_recorded(catalog)


def _bound_as_recorded(catalog: Catalog, bound: BoundStage, profile: Profile, digest: str | None) -> BoundStage:
    if digest is None or digest == bound.digest:
        return bound
    recorded = Fingerprint(**catalog.fingerprint_document(bound.name, digest))
    backend = bound.stage.backends[profile].called(recorded.backend)
    missing = {name for name, sha256 in recorded.weights.items() if sha256 == MISSING}
    return replace(
        bound,
        backend=backend,
        fingerprint=recorded,
        missing=tuple(name for name in backend.weights if name in missing),
        unavailable_columns={
            column: name for name, columns in backend.optional_weights.items() if name in missing for column in columns
        },
    )

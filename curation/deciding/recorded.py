"""The funnel that speaks for a catalog: that of its last run, or a policy that the caller names."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from catalogs.catalog import Catalog
from catalogs.runs import latest_run
from curation.deciding.bound import BoundStage, Funnel, resolve
from curation.deciding.policy import load_policy, parse_policy
from stages.base import MISSING, Fingerprint, Profile


def funnel_of(catalog: Catalog, policy: str | None) -> Funnel:
    """The funnel to decide by.

    Without a name it is the last run's, with the fingerprints of that run: a catalog reads the same on a machine that
    has other weights. A named policy gets the fingerprints of this installation. Before the first run: ``lite``.
    """
    if policy:
        return resolve(load_policy(policy))
    latest = latest_run(catalog)
    if latest is None:
        return resolve(load_policy("lite"))
    where = f"policy of run {latest.run_id}"
    funnel = resolve(parse_policy(latest.policy_text, where, cast(Profile, latest.profile)))
    stages = tuple(_as_recorded(catalog, bound, latest.fingerprints.get(bound.name)) for bound in funnel.stages)
    return Funnel(funnel.policy, stages)


def _as_recorded(catalog: Catalog, bound: BoundStage, digest: str | None) -> BoundStage:
    if digest is None or digest == bound.digest:
        return bound
    recorded = Fingerprint(**catalog.fingerprint_document(bound.name, digest))
    missing = {name for name, sha256 in recorded.weights.items() if sha256 == MISSING}
    return replace(
        bound,
        fingerprint=recorded,
        missing=tuple(name for name in bound.backend.weights if name in missing),
        unavailable_columns={
            column: name
            for name, columns in bound.backend.optional_weights.items()
            if name in missing
            for column in columns
        },
    )

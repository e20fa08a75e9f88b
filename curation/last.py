"""The funnel that speaks for a catalog: that of its last run, or a policy that the caller names."""

from __future__ import annotations

from dataclasses import replace

from catalogs.catalog import Catalog
from curation.policy import load_policy, parse_policy
from curation.resolve import FunnelPlan, StagePlan, resolve
from stages.base import MISSING, Fingerprint


def funnel_of(catalog: Catalog, policy: str | None) -> FunnelPlan:
    """The funnel to decide by.

    Without a name it is the last run's, with the fingerprints of that run: a catalog reads the same on a machine that
    has other weights. A named policy gets the fingerprints of this installation. Before the first run: ``lite``.
    """
    if policy:
        return resolve(load_policy(policy))
    latest = catalog.latest_run()
    if latest is None:
        return resolve(load_policy("lite"))
    where = f"policy of run {latest['run_id']}"
    funnel = resolve(parse_policy(latest["policy_text"], where, latest["profile"]))
    stages = tuple(_as_recorded(catalog, plan, latest["fingerprints"].get(plan.name)) for plan in funnel.stages)
    return FunnelPlan(funnel.policy, stages)


def _as_recorded(catalog: Catalog, plan: StagePlan, digest: str | None) -> StagePlan:
    if digest is None or digest == plan.digest:
        return plan
    recorded = Fingerprint(**catalog.fingerprint_document(plan.name, digest))
    missing = {name for name, sha256 in recorded.weights.items() if sha256 == MISSING}
    return replace(
        plan,
        fingerprint=recorded,
        missing=tuple(name for name in plan.backend.weights if name in missing),
        unavailable_columns={
            column: name
            for name, columns in plan.backend.optional_weights.items()
            if name in missing
            for column in columns
        },
    )

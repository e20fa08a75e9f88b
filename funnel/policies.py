"""A command chooses its policy here, and says on standard error which one it is and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from funnel import console

if TYPE_CHECKING:
    from catalogs.catalog import Catalog
    from curation.deciding.bound import Funnel
    from curation.deciding.recorded import ChosenPolicy


def funnel_to_read(catalog: Catalog, policy: str | None) -> Funnel:
    """Choose the funnel that a catalog is read by, and say so.

    Args:
        policy: as the caller named it; None stands for that of the last run, with the fingerprints of that run.
    """
    from curation.deciding.recorded import choose_policy, measured_elsewhere

    chosen = choose_policy(catalog, policy)
    say_policy(chosen, is_named=policy is not None)
    funnel = chosen.as_recorded(catalog)
    if other := measured_elsewhere(funnel):
        console.notice(
            f"funnel: {', '.join(other)} measured in that run with other weights, code or settings than this "
            f"installation has; give --policy to decide by what this installation measures"
        )
    return funnel


def funnel_to_run(catalog: Catalog, policy: str | None, profile: str | None) -> Funnel:
    """Choose the funnel that this installation measures by, and say so.

    Args:
        policy: as the caller named it; None stands for that of the last run.
        profile: as the caller named it; None stands for that of the policy, or of the last run.
    """
    from curation.deciding.recorded import choose_policy

    chosen = choose_policy(catalog, policy, profile)  # type: ignore[arg-type]  # checked there
    say_policy(chosen, is_named=policy is not None)
    return chosen.as_installed()


def say_policy(chosen: ChosenPolicy, *, is_named: bool) -> None:
    """Say which policy a command uses."""
    if is_named:
        origin = "named by --policy"
    elif chosen.run:
        origin = f"that of the last run ({chosen.run.run_id})"
    else:
        origin = "because no run is recorded yet"
    console.notice(f"funnel: policy {chosen.policy.name} ({chosen.policy.profile}), {origin}")

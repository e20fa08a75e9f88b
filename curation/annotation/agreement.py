"""Agreement says how far annotators agree beyond chance: 1 = always, 0 = as by chance (nominal verdicts).

Cohen's kappa (1960) is for exactly two annotators, over the items that both judged. Krippendorff's alpha (2011,
"Computing Krippendorff's Alpha-Reliability") is for any number of annotators, any of whom may have left items out. Both
are None where they are not defined: nothing was judged twice, or everybody always gave the same verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Ratings = Mapping[Any, Mapping[str, Hashable]]  #: item -> annotator -> verdict


@dataclass(frozen=True)
class Agreement:
    """Says how far annotators agree.

    Attributes:
        items: number of items that at least two annotators judged.
        same: share of pairs of annotators, over these items, that gave the same verdict.
        kappa: Cohen's kappa; None unless there are exactly two annotators.
        alpha: Krippendorff's alpha.
    """

    items: int
    same: float | None
    kappa: float | None
    alpha: float | None


def agreement(ratings: Ratings) -> Agreement:
    """Compute all measures of agreement."""
    shared = {item: given for item, given in ratings.items() if len(given) > 1}
    annotators = sorted({name for given in shared.values() for name in given})
    kappa = None
    if len(annotators) == 2:
        first, second = annotators
        kappa = cohens_kappa([(given[first], given[second]) for given in shared.values()])
    units = [list(given.values()) for given in shared.values()]
    pairs = sum(len(unit) * (len(unit) - 1) for unit in units)
    alike = sum(count * (count - 1) for unit in units for count in Counter(unit).values())
    return Agreement(len(shared), alike / pairs if pairs else None, kappa, krippendorffs_alpha(units))


def cohens_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Return ``(observed - expected) / (1 - expected)`` over the pairs of verdicts of two annotators."""
    n = len(pairs)
    if not n:
        return None
    observed = sum(first == second for first, second in pairs) / n
    left, right = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    expected = sum(left[verdict] * right[verdict] for verdict in left) / n**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def krippendorffs_alpha(units: Sequence[Sequence[Hashable]]) -> float | None:
    """Return ``1 - observed / expected disagreement`` over units, each with the verdicts that it was given.

    A unit with m verdicts adds 1 / (m - 1) for each ordered pair of them to the coincidence matrix; a unit with one
    verdict adds nothing.
    """
    totals: Counter[Hashable] = Counter()
    agreeing = 0.0
    for unit in units:
        if len(unit) < 2:
            continue
        counts = Counter(unit)
        totals.update(counts)
        agreeing += sum(count * (count - 1) for count in counts.values()) / (len(unit) - 1)
    n = sum(totals.values())
    by_chance = n * (n - 1) - sum(count * (count - 1) for count in totals.values())  # pairs that differ
    return 1 - (n - 1) * (n - agreeing) / by_chance if by_chance else None

"""The answers of all annotators become one judgement per item of a lot.

An item is judged once as many annotators have answered as the lot asks for (``overlap``). The most frequent verdict
counts. Of equally frequent ones the worst for the stage counts: bad before unsure before good in a lot of kept clips,
good before unsure before bad in a lot of dropped ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from catalogs.errors import UserError
from curation.annotation.agreement import Agreement, agreement
from curation.annotation.records import Answer, Lot, Side, Verdict, current_answers

_WORST_FIRST: dict[Side, tuple[Verdict, ...]] = {
    "kept": ("bad", "unsure", "good"),
    "dropped": ("good", "unsure", "bad"),
}


@dataclass(frozen=True)
class Judgements:
    """Holds a lot's items in order, with the verdict on each.

    Attributes:
        verdicts: verdict on each item; None while it is not judged.
        weights: number of clips of the population that each item stands for.
        reasons: reason -> items for which at least one annotator named it.
        agreement: agreement over the items that several annotators answered.
    """

    lot: Lot
    verdicts: tuple[Verdict | None, ...]
    weights: np.ndarray
    reasons: Mapping[str, int]
    annotators: tuple[str, ...]
    agreement: Agreement

    @property
    def judged(self) -> int:
        return len(self.verdicts) - self.open

    @property
    def open(self) -> int:
        """Return the number of items that still need an answer."""
        return self.verdicts.count(None)

    @property
    def judged_in_order(self) -> int:
        """Return the number of items judged from the first on without a gap: a sequential plan reads only these."""
        return self.verdicts.index(None) if self.open else len(self.verdicts)

    @property
    def against(self) -> Verdict:
        """Return the verdict that is against the stage: it kept a bad clip, or dropped a good one."""
        return _WORST_FIRST[self.lot.side][0]

    def is_against(self) -> np.ndarray:
        """Say which items were judged against the stage, ``(items,)`` bool."""
        return np.array([verdict == self.against for verdict in self.verdicts], bool)

    def is_unsure(self) -> np.ndarray:
        return np.array([verdict == "unsure" for verdict in self.verdicts], bool)

    def is_open(self) -> np.ndarray:
        return np.array([verdict is None for verdict in self.verdicts], bool)


def judge(lot: Lot, items: pa.Table, answers: Iterable[Answer]) -> Judgements:
    """Judge the items of a lot; raise UserError for a user study, which has scores and no verdicts."""
    if lot.mode != "verdict":
        raise UserError(
            f"lot {lot.name} is a user study (mode {lot.mode}): it has scores, not verdicts; `funnel lots` shows them"
        )
    current = current_answers(answers)
    votes: dict[int, dict[str, Verdict]] = {}
    named: set[tuple[str, int]] = set()
    for answer in current:
        if answer.verdict is not None:
            votes.setdefault(answer.number, {})[answer.annotator] = answer.verdict
        named |= {(reason, answer.number) for reason in answer.reasons}
    reasons = Counter(reason for reason, _ in named)
    return Judgements(
        lot=lot,
        verdicts=tuple(_verdict(lot, votes.get(number, {})) for number in items["number"].to_pylist()),
        weights=items["weight"].to_numpy(),
        reasons=dict(sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))),
        annotators=tuple(sorted({answer.annotator for answer in current})),
        agreement=agreement(votes),
    )


def _verdict(lot: Lot, votes: Mapping[str, Verdict]) -> Verdict | None:
    if len(votes) < lot.overlap:
        return None
    counts = Counter(votes.values())
    return max(_WORST_FIRST[lot.side], key=lambda verdict: counts[verdict])  # of equals, max takes the first

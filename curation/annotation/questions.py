"""An annotator is asked one question per stage, and answers with reasons from fixed lists, so that they can be counted.

What is asked stands in the stage's own declaration (stages/declared.py). The question is the same for kept and for
dropped clips, and ``good`` always means that the clip is good on that question: an annotator need not know which side a
clip comes from. A kept clip judged bad is a bad case; a dropped clip judged good is a false drop, and the reasons that
are offered for it say how the stage may have been misled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import starmap
from typing import NamedTuple

from catalogs.errors import UserError
from curation.annotation.records import Mode, Side, Verdict
from stages.declared import Question
from stages.listing import STAGES


class Reason(NamedTuple):
    """Says why: ``key`` is stored in answers and never changes its meaning; ``label`` is what the page shows."""

    key: str
    label: str


@dataclass(frozen=True)
class LotQuestion:
    """Holds what the page asks of every clip of a lot, and the reasons that it offers for each verdict.

    A verdict without reasons needs none: that a kept clip is good was expected.
    """

    text: str
    reasons: Mapping[Verdict, tuple[Reason, ...]]

    @property
    def all_reasons(self) -> tuple[Reason, ...]:
        """Return every reason once."""
        return tuple(dict.fromkeys(reason for reasons in self.reasons.values() for reason in reasons))


class Axis(NamedTuple):
    """Names one thing that is scored.

    Attributes:
        label: asks for it in mode ``scale``, where ``levels`` say what 0, 1 and 2 mean.
        pair_label: asks which of two clips is better in it.
    """

    key: str
    label: str
    levels: tuple[str, str, str]
    pair_label: str

    def asked(self, mode: Mode) -> str:
        """Return the question in this mode."""
        return self.pair_label if mode == "pair" else self.label


#: What user studies score (modes ``scale``: 0, 1, 2 per clip; ``pair``: -1, 0, 1 for which of two is better).
AXES = (
    Axis(
        "av_consistency",
        "Do sound and lips belong together?",
        ("not at all", "partly", "fully"),
        "In which do sound and lips belong together better?",
    ),
    Axis("visual_quality", "How good is the picture?", ("poor", "fair", "good"), "Which has the better picture?"),
)

#: What an axis may be given, from worst to best.
LEVELS: Mapping[Mode, tuple[int, ...]] = {"verdict": (), "scale": (0, 1, 2), "pair": (-1, 0, 1)}

_OTHER = Reason("other", "something else (say it in the note)")
_UNUSABLE = Reason("unusable", "cannot be judged: broken picture or sound")
_BORDERLINE = Reason("borderline", "good, but only just")
_IN_BETWEEN = Reason("in_between", "neither clearly good nor clearly bad")


def question(stage: str, side: Side) -> LotQuestion:
    """Return the question of a stage; a general one for a stage without its own, or that is not installed here."""
    declared = STAGES[stage].question if stage in STAGES else Question()
    bad, misled = (tuple(starmap(Reason, reasons.items())) for reasons in (declared.bad, declared.misled))
    reasons: dict[Verdict, tuple[Reason, ...]] = {
        "good": (*misled, _BORDERLINE, _OTHER) if side == "dropped" else (),
        "bad": (*bad, _UNUSABLE, _OTHER),
        "unsure": (_IN_BETWEEN, _UNUSABLE, _OTHER),
    }
    return LotQuestion(declared.text.replace("{stage}", stage), reasons)


def check_reasons(stage: str, side: Side, reasons: tuple[str, ...]) -> tuple[str, ...]:
    """Return the reasons as given. Raises UserError for one that is on none of the stage's lists."""
    known = [reason.key for reason in question(stage, side).all_reasons]
    for reason in reasons:
        if reason not in known:
            raise UserError(f"unknown reason {reason!r} for a {side} lot of {stage}; known: {', '.join(known)}")
    return reasons

"""Annotation writes lots, their items and answers into the catalog.

Layout (below ``annotations/``)::

    lots/<lot>/lot.json             what was drawn, from what, by which policy and fingerprints
    lots/<lot>/items.parquet        the clips, in the order in which they are shown
    lots/<lot>/claim-<id>.json      reserves the name while these two are being written
    lots/<lot>/answers/<id>.json    one file per answer, never changed: durable at once
    gates/<stage>/<id>.json         one file per acceptance (curation/annotation/gates.py)

Files are only ever added, so any number of annotators and runs may write at once. Of an annotator's answers on one item
the newest counts; an answer without a verdict takes the earlier one back.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.names import check_name
from catalogs.schema import column

Side = Literal["kept", "dropped"]
Mode = Literal["verdict", "scale", "pair"]
Verdict = Literal["good", "bad", "unsure"]
MAX_NOTE = 10_000  #: characters

ITEMS = pa.schema(
    [
        column("number", pa.int32(), "place in the lot, from 1; a sequential plan is read in this order"),
        column("clip_id", pa.string(), "the clip"),
        column("stratum", pa.string(), "which stratum it was drawn from"),
        column("weight", pa.float64(), "clips of the population that it stands for: stratum size / drawn from it"),
        column("source_id", pa.string(), "the file that the clip is a span of"),
        column("path", pa.string(), "where that file was when the lot was drawn"),
        column("start_s", pa.float64(), "presentation time of the first frame", "s"),
        column("end_s", pa.float64(), "presentation time at which the last frame ends", "s"),
        column("drop_rule", pa.string(), "the rule that dropped it; null for a kept clip"),
        column("measured", pa.string(), "the stage's columns as JSON, as they were when the lot was drawn"),
        column("other_clip_id", pa.string(), "mode pair: the clip that it is compared with; else null, as below"),
        column("other_source_id", pa.string(), "the file that the other clip is a span of"),
        column("other_path", pa.string(), "where that file was when the lot was drawn"),
        column("other_start_s", pa.float64(), "presentation time of the other clip's first frame", "s"),
        column("other_end_s", pa.float64(), "presentation time at which its last frame ends", "s"),
    ]
)
#: Columns that say which clip an item is and where it lies; with ``other_`` before them, the second clip of a pair.
PLACE = ("clip_id", "source_id", "path", "start_s", "end_s")


@dataclass(frozen=True)
class Stratum:
    """Describes one part of the population: ``population`` clips, of which ``sampled`` are in the lot."""

    name: str
    population: int
    sampled: int


@dataclass(frozen=True)
class Lot:
    """Describes a drawn lot.

    Attributes:
        stage: the stage that is judged.
        side: clips that it kept, or clips that its rules dropped.
        mode: ``verdict`` good/bad/unsure; ``scale`` and ``pair`` for user studies.
        seed: the same seed on the same catalog draws the same lot.
        stratify: columns whose bands make the strata.
        strata: the strata in the order of their names; a single one called ``all`` without stratification.
        fingerprints: stage -> digest, of every stage up to the judged one.
        policy, policy_text, profile: what decided which clips were kept.
        plan: the sampling plan (curation/annotation/plans.py), as JSON; None for a plain ``--n``.
        overlap: how many annotators should judge each item.
        rules: stage -> its rules (``keep``: name -> expression) and ``on_unavailable``, for every stage up to the
            judged one; when they change, a gate is stale.
    """

    name: str
    stage: str
    side: Side
    seed: int
    strata: tuple[Stratum, ...]
    fingerprints: dict[str, str]
    policy: str
    policy_text: str
    profile: str
    created: str
    mode: Mode = "verdict"
    stratify: tuple[str, ...] = ()
    plan: dict[str, Any] | None = None
    overlap: int = 1
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def population(self) -> int:
        """Return the number of clips that the lot stands for."""
        return sum(stratum.population for stratum in self.strata)

    @property
    def clips(self) -> int:
        """Return the number of clips that were drawn."""
        return sum(stratum.sampled for stratum in self.strata)

    @property
    def size(self) -> int:
        """Return the number of items to be judged: clips, or pairs of them."""
        return self.clips // 2 if self.mode == "pair" else self.clips


@dataclass(frozen=True)
class Answer:
    """Holds what one annotator said of one item.

    Attributes:
        verdict: None takes the earlier answer back (mode ``verdict``).
        reasons: keys of the stage's lists (stages/declared.py).
        scores: mode ``scale``: axis -> 0, 1 or 2; mode ``pair``: axis -> -1 (the first), 0 or 1 (the other).
        seconds: time from showing the item to the answer.
    """

    lot: str
    number: int
    clip_id: str
    annotator: str
    verdict: Verdict | None
    reasons: tuple[str, ...] = ()
    scores: dict[str, int] = field(default_factory=dict)
    note: str = ""
    seconds: float = 0.0
    answered_at: str = ""
    answer_id: str = ""

    @property
    def is_given(self) -> bool:
        """Say whether the answer says anything, and does not only take back an earlier one."""
        return self.verdict is not None or bool(self.scores)


def whole_text(text: str) -> str:
    """Return the text without broken characters, so that it can be stored and shown.

    Other programs may cut text in the middle of a character; the answer should not be lost for that.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def write_lot(catalog: Catalog, lot: Lot, items: pa.Table) -> None:
    """Commit a new lot.

    When two processes write one name at once they never both succeed: each writes a claim before it looks for others,
    so at least one sees the other's claim and gives up. If both see one, both give up.

    Raises:
        UserError: the name is taken, or is just being taken.
    """
    folder = _folder(lot.name)
    claim = f"{folder}/claim-{uuid.uuid4().hex}.json"
    catalog.store.write_json(claim, {"created": lot.created})
    try:
        check_free(catalog, lot.name, claim)
        catalog.store.write_table(f"{folder}/items.parquet", items.cast(ITEMS))
        catalog.store.write_json(f"{folder}/lot.json", asdict(lot))  # written last: a lot exists once this file does
    finally:
        catalog.store.remove(claim)


def check_free(catalog: Catalog, name: str, own_claim: str = "") -> None:
    """Raise UserError unless a new lot may have this name."""
    folder = _folder(name)
    claims = [found for found in catalog.store.find(folder, ".json") if found.startswith(f"{folder}/claim-")]
    # Looked for after the claims: a listing is not taken at one instant, so a drawing that ends meanwhile can be
    # absent from it altogether (its lot written behind the reader, its claim removed before it).
    if catalog.store.exists(f"{folder}/lot.json"):
        raise UserError(f"there is a lot {name!r} already; choose another --name")
    if set(claims) - {own_claim}:
        raise UserError(f"lot {name!r} is being drawn by somebody else, or a drawing was killed; choose another --name")


def read_lot(catalog: Catalog, name: str) -> tuple[Lot, pa.Table]:
    """Read a lot and its items; raise UserError if there is none of that name."""
    folder = _folder(check_name(name, "lot"))
    try:
        document = catalog.store.read_json(f"{folder}/lot.json")
    except FileNotFoundError as error:
        have = ", ".join(lot_names(catalog)) or "none yet: `funnel sample` draws one"
        raise UserError(f"no lot {name!r} in this catalog (there are: {have})") from error
    strata = tuple(Stratum(**stratum) for stratum in document.pop("strata"))
    stratify = tuple(document.pop("stratify"))
    return Lot(strata=strata, stratify=stratify, **document), catalog.store.read_table(f"{folder}/items.parquet")


def lot_names(catalog: Catalog) -> list[str]:
    """List the names of all lots of the catalog, in alphabetical order."""
    found = catalog.store.find("annotations/lots", "/lot.json")
    return [name.split("/")[2] for name in found]


def taken_names(catalog: Catalog) -> set[str]:
    """Return the names of lots, and of lots that are being drawn or whose drawing was cut off."""
    return {name.split("/")[2] for name in catalog.store.find("annotations/lots", "")}


def give(catalog: Catalog, answer: Answer) -> Answer:
    """Store an answer, and return it with its id and time; once this returns it is durable."""
    now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
    given = Answer(
        **asdict(answer) | {"answered_at": now, "answer_id": f"{now.replace(':', '')}-{uuid.uuid4().hex[:8]}"}
    )
    check_name(given.annotator, "annotator")
    catalog.store.write_json(f"{_folder(given.lot)}/answers/{given.answer_id}.json", asdict(given))
    return given


def all_answers(catalog: Catalog, lot: str) -> list[Answer]:
    """Read all answers, oldest first, with those that were taken back."""
    names = catalog.store.find(f"{_folder(lot)}/answers", ".json")
    answers = [_answer(catalog.store.read_json(name)) for name in names]
    return sorted(answers, key=lambda answer: answer.answer_id)


def current_answers(answers: Iterable[Answer]) -> list[Answer]:
    """Return the newest answer of each annotator on each item, without those taken back."""
    newest = {(answer.annotator, answer.number): answer for answer in answers}
    return [answer for answer in newest.values() if answer.is_given]


def _answer(document: dict[str, Any]) -> Answer:
    return Answer(**document | {"reasons": tuple(document["reasons"])})


def _folder(lot: str) -> str:
    return f"annotations/lots/{lot}"


def measured(items: pa.Table) -> list[dict[str, Any]]:
    """Return the stage's columns of each item, as they were when the lot was drawn."""
    return [json.loads(text) for text in items["measured"].to_pylist()]

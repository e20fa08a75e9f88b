"""Calibration tells, for each threshold of a stage, how many bad clips and how many hours it would keep.

The labels are what annotators said in all judged lots of the stage that were drawn under these fingerprints and rules.
Lots of the same side are pooled, each in proportion to the number of clips judged in it. Hours are not estimated: they
are summed over the catalog. Bounds are those of curation/annotation/estimates.py for the finite number of clips that a
threshold keeps: of a small catalog that was judged whole, nothing is uncertain. (Lots that share clips are less than
their sum, so they get the wider bounds of an infinite population.) A threshold that was chosen for its good figures is
a proposal, because its bound holds as if nobody had chosen: a new lot must prove it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from curation.annotation.estimates import Rate, weighted_rate
from curation.annotation.judgements import judge
from curation.annotation.lots import rules_up_to
from curation.annotation.population import stages_up_to
from curation.annotation.proposals import Threshold, thresholds
from curation.annotation.records import all_answers, lot_names, read_lot
from curation.deciding.bound import BoundStage, Funnel
from curation.deciding.rules import rule_sql
from curation.deciding.verdicts import open_views

POINTS = 40  #: thresholds that are tried


@dataclass(frozen=True)
class Labels:
    """Holds the judged clips of a stage.

    Attributes:
        verdicts: good | bad | unsure.
        weights: number of clips that each judged clip stands for.
        lots: the lots that the labels come from.
        other_lots: judged lots of the stage that were drawn under other rules or fingerprints, and are left out.
        open_lots: lots of the present rules and fingerprints of which no clip is judged yet.
    """

    clip_ids: tuple[str, ...]
    verdicts: np.ndarray
    weights: np.ndarray
    lots: tuple[str, ...]
    other_lots: tuple[str, ...]
    open_lots: tuple[str, ...]
    has_dropped: bool


@dataclass(frozen=True)
class Point:
    """Says what a threshold would keep.

    Attributes:
        clips, hours: kept of the whole catalog.
        labelled: judged clips among the kept.
        bad_rate: share of bad clips among the kept, which is 1 - precision.
        recall: share of the good clips that is kept; None without a judged lot of dropped clips.
    """

    number: float
    clips: int
    hours: float
    labelled: int
    bad_rate: Rate
    recall: Rate | None


@dataclass(frozen=True)
class Calibration:
    """Holds the points of one threshold of a stage.

    Attributes:
        proposed: of the points within the largest bad rate the one that keeps the most hours; the present one if none
            keeps more.
    """

    threshold: Threshold
    points: tuple[Point, ...]
    proposed: Point | None

    @property
    def current(self) -> Point:
        return next(point for point in self.points if point.number == self.threshold.number)


def calibrate(
    catalog: Catalog, funnel: Funnel, stage: str, max_bad_rate: float = 0.05, confidence: float = 0.95
) -> tuple[Labels, list[Calibration]]:
    """Calibrate every threshold of a stage that can be moved, with the others unchanged.

    Raises:
        UserError: there is no such stage, no rule that is a simple comparison, or nothing judged.
    """
    bound = funnel.stage(stage)
    if bound is None:
        have = ", ".join(known.name for known in funnel.stages)
        raise UserError(f"policy {funnel.policy.name} has no stage {stage!r}; it has: {have}")
    movable = [threshold for rule in bound.policy.rules for threshold in thresholds(rule)]
    if not movable:
        raise UserError(
            f"{stage} has no threshold to calibrate: rules like 'value >= number' or 'value between a and b' have one"
        )
    labels = gather_labels(catalog, funnel, bound)
    if not len(labels.verdicts):
        others = f" ({', '.join(labels.other_lots)}: drawn under other rules or models)" if labels.other_lots else ""
        if labels.open_lots:
            raise UserError(
                f"nothing is judged yet in {', '.join(labels.open_lots)}{others}; `funnel annotate` it, then calibrate"
            )
        raise UserError(f"no judged lot of {stage} under this policy{others}; `funnel sample` draws one")
    connection = open_views(catalog, funnel)
    found = [
        _calibration(connection, funnel, bound, threshold, labels, max_bad_rate, confidence) for threshold in movable
    ]
    return labels, found


def gather_labels(catalog: Catalog, funnel: Funnel, bound: BoundStage) -> Labels:
    """Gather the judged clips of a stage, as the stage is measured and decided now."""
    digests = {stage.name: stage.digest for stage in stages_up_to(funnel, bound)}
    wanted = digests, rules_up_to(funnel, bound)
    parts: dict[str, list[tuple[list[str], np.ndarray, np.ndarray]]] = {"kept": [], "dropped": []}
    used, others, unjudged = [], [], []
    for name in lot_names(catalog):
        lot, items = read_lot(catalog, name)
        if lot.stage != bound.name or lot.mode != "verdict":
            continue
        judged = judge(lot, items, all_answers(catalog, name))
        is_present = (lot.fingerprints, lot.rules) == wanted
        if not judged.judged:
            unjudged += [name] if is_present else []
            continue
        if not is_present:
            others.append(name)
            continue
        seen = ~judged.is_open()
        weights = judged.weights[seen]
        weights = weights * (lot.population / weights.sum())  # assumes that open items are like judged ones
        clip_ids = [clip for clip, is_seen in zip(items["clip_id"].to_pylist(), seen, strict=True) if is_seen]
        parts[lot.side].append((clip_ids, np.array(judged.verdicts)[seen].astype(str), weights))
        used.append(name)
    pooled = [
        (clip_ids, verdicts, weights * len(clip_ids) / sum(len(part[0]) for part in side))
        for side in parts.values()
        for clip_ids, verdicts, weights in side
    ]
    return Labels(
        clip_ids=tuple(clip for clip_ids, _, _ in pooled for clip in clip_ids),
        verdicts=np.concatenate([np.array([], str), *(verdicts for _, verdicts, _ in pooled)]),
        weights=np.concatenate([np.array([]), *(weights for _, _, weights in pooled)]),
        lots=tuple(used),
        other_lots=tuple(others),
        open_lots=tuple(unjudged),
        has_dropped=bool(parts["dropped"]),
    )


def _calibration(
    connection: duckdb.DuckDBPyConnection,
    funnel: Funnel,
    bound: BoundStage,
    threshold: Threshold,
    labels: Labels,
    max_bad_rate: float,
    confidence: float,
) -> Calibration:
    measured = _measured_sql(bound, threshold)
    connection.register("labelled", pa.table({"clip_id": list(labels.clip_ids), "place": range(len(labels.clip_ids))}))
    rows = connection.execute(
        f"SELECT place, coalesce(value, 'nan'::DOUBLE) FROM labelled JOIN ({measured}) USING (clip_id) "
        "WHERE others_hold ORDER BY place"
    ).fetchall()
    places = np.array([place for place, _ in rows], int)
    values = np.array([value for _, value in rows], float)
    verdicts, weights = labels.verdicts[places], labels.weights[places]
    numbers = _candidates(threshold, values, labels.has_dropped)
    amounts = _amounts(connection, funnel, bound, threshold, measured, numbers)
    is_disjoint = len(set(labels.clip_ids)) == len(labels.clip_ids)
    points = []
    for number, (clips, hours) in zip(numbers, amounts, strict=True):
        kept = threshold.keeps(values, number)
        bad, unsure, good = (verdicts == name for name in ("bad", "unsure", "good"))
        recall = None
        if labels.has_dropped and good.any():
            missed = weighted_rate(~kept[good], weights[good], confidence)
            recall = Rate(1 - missed.estimate, 1 - missed.upper, 1 - missed.lower, confidence, missed.effective)
        rate = weighted_rate(bad[kept], weights[kept], confidence, clips if is_disjoint else None, unsure[kept])
        points.append(Point(number, clips, hours, int(kept.sum()), rate, recall))
    proven = [point for point in points if point.bad_rate.upper <= max_bad_rate]
    best = max(proven, key=lambda point: (point.hours, point.number == threshold.number), default=None)
    return Calibration(threshold, tuple(points), best)


def _measured_sql(bound: BoundStage, threshold: Threshold) -> str:
    """Return SQL for clip_id, value, others_hold.

    ``value`` is what the threshold is compared with; ``others_hold`` says whether all other rules of the stage hold.
    """
    table = "clips" if bound.stage.key == "source_id" else bound.name
    rules = tuple(rule for rule in bound.policy.rules if rule != threshold.rule)
    others = rule_sql(replace(bound, policy=replace(bound.policy, rules=rules)))
    return (
        f"SELECT clip_id, ({threshold.comparison.value})::DOUBLE AS value, "
        f"(({others}) IS NULL AND coalesce({threshold.comparison.rest}, false)) AS others_hold FROM {table}"
    )


def _candidates(threshold: Threshold, values: np.ndarray, has_dropped: bool) -> list[float]:
    """List the thresholds to try, in ascending order and with the present one.

    Where only kept clips were judged, none is looser than the present one.
    """
    finite = values[np.isfinite(values)]
    spread = np.quantile(finite, np.linspace(0, 1, POINTS)) if len(finite) else []
    tried = {float(f"{value:.3g}") for value in spread}
    if not has_dropped:
        tried = {number for number in tried if threshold.is_stricter(number)}
    return sorted(tried | {threshold.number})


def _amounts(
    connection: duckdb.DuckDBPyConnection,
    funnel: Funnel,
    bound: BoundStage,
    threshold: Threshold,
    measured: str,
    numbers: Sequence[float],
) -> list[tuple[int, float]]:
    """Count the clips and hours that each threshold would keep, of all clips that reach the stage."""
    before = [stage.name for stage in stages_up_to(funnel, bound)[:-1]]
    stopped = ", ".join(f"'{name}'" for name in before) or "''"
    kept = [f"FILTER (WHERE value {threshold.comparison.operator} {number!r})" for number in numbers]
    sums = ", ".join(f"count(*) {condition}, sum(duration_s) {condition}" for condition in kept)
    (row,) = connection.execute(
        f"SELECT {sums} FROM ({measured}) m JOIN clips c USING (clip_id) JOIN verdicts v USING (clip_id) "
        f"WHERE others_hold AND coalesce(coalesce(v.drop_stage, v.pending_stage) NOT IN ({stopped}), true)"
    ).fetchall()
    return [(clips, (seconds or 0.0) / 3600) for clips, seconds in zip(row[::2], row[1::2], strict=True)]

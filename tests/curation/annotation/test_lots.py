"""Lots have the right clips, the same for the same seed, and weights that add up; mistakes are told in one line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.ids import clip_id
from curation.annotation import lots as lots_module
from curation.annotation.lots import Draw, draw_lot
from curation.annotation.plans import Promise
from curation.annotation.population import Population
from curation.annotation.records import Lot, read_lot
from curation.annotation.strata import allocate, allocate_at_least
from curation.deciding.bound import Funnel
from tests.support.hand_written import POLICY, funnel, write_catalog

FUNNEL = funnel()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return write_catalog(str(tmp_path / "cat"), FUNNEL)


def drawn(catalog: Catalog, by: Funnel = FUNNEL, **options: object) -> tuple[Lot, pa.Table]:
    lot = draw_lot(catalog, by, Draw(**options))  # type: ignore[arg-type]
    return read_lot(catalog, lot.name)


def measured(items: pa.Table, name: str) -> np.ndarray:
    return np.array([json.loads(text)[name] for text in items["measured"].to_pylist()])


def test_kept_are_the_clips_that_passed_the_stage_whatever_became_of_them_later(catalog: Catalog) -> None:
    lot, items = drawn(catalog, stage="face_count", n=1000)
    assert (lot.population, lot.size) == (300, 300)
    assert (measured(items, "face_height_px_median") >= 96).all()
    lot, items = drawn(catalog, stage="audio_quality", n=1000)
    assert (measured(items, "dnsmos_ovrl") >= 2.0).all()
    assert lot.population == 200
    assert items["drop_rule"].null_count == 200


def test_dropped_are_those_that_a_rule_of_the_stage_stopped(catalog: Catalog) -> None:
    lot, items = drawn(catalog, stage="audio_quality", side="dropped", n=1000)
    assert lot.population == 100
    assert (measured(items, "dnsmos_ovrl") < 2.0).all()
    assert set(items["drop_rule"].to_pylist()) == {"quality"}
    assert lot.stratify == ("source", "rule")


def test_the_same_seed_draws_the_same_lot_however_the_rows_lie(catalog: Catalog, tmp_path: Path) -> None:
    _, first = drawn(catalog, stage="face_count", n=40, seed=7)
    _, again = drawn(catalog, stage="face_count", n=40, seed=7)
    _, other = drawn(catalog, stage="face_count", n=40, seed=8)
    assert first.equals(again)
    assert set(first["clip_id"].to_pylist()) != set(other["clip_id"].to_pylist())
    backwards = write_catalog(str(tmp_path / "backwards"), FUNNEL, backwards=True)
    assert drawn(backwards, stage="face_count", n=40, seed=7)[1].equals(first)


def test_a_seed_draws_what_it_always_drew(catalog: Catalog) -> None:
    """These are figures of the first release: who quotes a seed must get the same lot, strata and weights later on."""
    lot, items = drawn(catalog, stage="audio_quality", n=40, seed=7)
    assert [(stratum.population, stratum.sampled) for stratum in lot.strata] == [
        *((15, 3), (15, 3), (18, 4), (20, 4)),
        *((35, 7), (35, 7), (32, 6), (30, 6)),
    ]
    assert lot.strata[1].name == "source first, dnsmos_ovrl 2: 2.495 to 2.997"
    weights = {stratum.name: stratum.population / stratum.sampled for stratum in lot.strata}
    assert items["weight"].to_pylist() == [weights[name] for name in items["stratum"].to_pylist()]
    ids = "".join(items["clip_id"].to_pylist())
    assert hashlib.sha256(ids.encode()).hexdigest().startswith("1fc0707a083fe6a9")
    _, dropped = drawn(catalog, stage="audio_quality", side="dropped", n=12, seed=7)
    ids = "".join(dropped["clip_id"].to_pylist())
    assert hashlib.sha256(ids.encode()).hexdigest().startswith("119c09200efd302d")


def test_each_lot_of_a_stage_has_a_new_seed_and_a_name(catalog: Catalog) -> None:
    first, _ = drawn(catalog, stage="face_count", n=10)
    second, _ = drawn(catalog, stage="face_count", n=10)
    assert [(lot.name, lot.seed) for lot in (first, second)] == [("face_count-kept-1", 1), ("face_count-kept-2", 2)]


def test_by_default_datasets_and_score_bands_are_represented_as_they_are(catalog: Catalog) -> None:
    lot, items = drawn(catalog, stage="audio_quality", n=100)
    assert lot.stratify == ("source", "band")
    assert len(lot.strata) == 8
    assert lot.size == 100
    assert items["weight"].to_numpy().sum() == pytest.approx(200)
    heaviest, lightest = items["weight"].to_numpy().max(), items["weight"].to_numpy().min()
    assert heaviest / lightest < 1.2
    few, _ = drawn(catalog, stage="audio_quality", n=10)
    assert few.stratify == ("band",)


def test_equal_allocation_keeps_weights(catalog: Catalog) -> None:
    lot, items = drawn(catalog, stage="face_count", n=60, stratify=("source",), allocation="equal")
    assert {stratum.name: stratum.sampled for stratum in lot.strata} == {"source first": 30, "source second": 30}
    weights = dict(zip(items["stratum"].to_pylist(), items["weight"].to_pylist(), strict=True))
    assert {name: weight * 30 for name, weight in weights.items()} == pytest.approx(
        {stratum.name: stratum.population for stratum in lot.strata}
    )


def test_strata_are_shown_mixed(catalog: Catalog) -> None:
    _, items = drawn(catalog, stage="face_count", n=60, stratify=("source",), allocation="equal")
    first_half = items["stratum"].to_pylist()[:30]
    assert 8 <= first_half.count("source first") <= 22


def test_every_clip_is_drawn_equally_often(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: dict[str, int] = {}
    written: list[pa.Table] = []
    monkeypatch.setattr(lots_module, "write_lot", lambda catalog, lot, items: written.append(items))
    walked = Population(catalog, FUNNEL, FUNNEL.stages[-1], "kept", ())
    monkeypatch.setattr(lots_module, "Population", lambda *arguments: walked)
    for seed in range(60):
        draw_lot(catalog, FUNNEL, Draw("audio_quality", n=50, stratify=(), seed=seed))
    for items in written:
        for clip in items["clip_id"].to_pylist():
            counts[clip] = counts.get(clip, 0) + 1
    assert sum(counts.values()) == 3000
    spread = np.bincount([*counts.values()], minlength=40)
    assert len(counts) == 200
    assert spread[:4].sum() == 0  # binomial(60, 1/4): mean 15, deviation 3.4
    assert spread[30:].sum() == 0


def test_a_plan_sizes_the_lot(catalog: Catalog) -> None:
    lot, _ = drawn(catalog, stage="face_count", promise=Promise(acceptable_rate=0.0), stratify=())
    assert lot.plan is not None
    assert lot.plan["kind"] == "single"
    assert (lot.plan["n"], lot.plan["acceptance"], lot.plan["population"]) == (lot.size, 0, 300)
    assert lot.size < 59  # the population is small
    many, items = drawn(catalog, stage="face_count", promise=Promise(acceptable_rate=0.0), stratify=("source",))
    assert lot.size <= many.size <= lot.size + 2
    assert items["weight"].to_numpy().max() <= 300 / lot.size


def test_a_sequential_plan_is_drawn_without_strata(catalog: Catalog) -> None:
    promise = Promise(max_bad_rate=0.2, acceptable_rate=0.02)
    lot, _ = drawn(catalog, stage="face_count", promise=promise, sequential=True)
    assert lot.plan is not None
    assert lot.plan["kind"] == "sequential"
    assert (lot.stratify, lot.size) == ((), lot.plan["n"])


def test_pairs_are_different_clips(catalog: Catalog) -> None:
    lot, items = drawn(catalog, stage="audio_quality", n=20, mode="pair")
    pairs = items["clip_id"].to_pylist() + items["other_clip_id"].to_pylist()
    assert (len(items), len(set(pairs))) == (20, 40)
    assert (lot.size, lot.clips) == (20, 40)
    for item in items.to_pylist():
        start = round(item["other_start_s"] * 25)
        assert item["other_clip_id"] == clip_id(item["other_source_id"], start, start + 75)
        assert item["other_source_id"] in item["other_path"]


def test_a_moved_file_is_shown_where_it_lies_now(catalog: Catalog) -> None:
    rows = catalog.sources().to_pylist()
    moved = [
        row | {"path": f"/moved/{row['source_id']}.mp4", "ingested_at": row["ingested_at"].replace(year=2027)}
        for row in rows
    ]
    catalog.add_sources(pa.Table.from_pylist(moved, catalog.sources().schema))
    lot, items = drawn(catalog, stage="face_count", n=300)
    assert lot.population == 300
    assert all(path.startswith("/moved/") for path in items["path"].to_pylist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage": "sink", "n": 10}, "has no stage 'sink'; it has: scene_split, face_count, audio_quality"),
        ({"stage": "scene_split", "side": "dropped", "n": 10}, "no clip was dropped by a rule of scene_split"),
        ({"stage": "face_count"}, "give either the number of clips"),
        ({"stage": "face_count", "n": 0}, "at least one clip"),
        ({"stage": "face_count", "n": 3, "promise": Promise()}, "give either the number of clips"),
        ({"stage": "face_count", "n": 9, "stratify": ("dnsmos_ovrl",)}, "cannot stratify by 'dnsmos_ovrl'"),
        ({"stage": "face_count", "n": 9, "stratify": ("face_count_mx",)}, "did you mean 'face_count_max'?"),
        ({"stage": "face_count", "n": 9, "stratify": ("source_id",)}, "9 clips cannot be drawn from 40 strata"),
        ({"stage": "face_count", "n": 300, "stratify": ("clip_id",)}, "300 strata by clip_id; at most 100"),
        ({"stage": "face_count", "n": 9, "stratify": ("rule",)}, "no rule has dropped a kept clip"),
        ({"stage": "face_count", "n": 9, "sequential": True}, "give --plan"),
        ({"stage": "face_count", "promise": Promise(), "side": "dropped"}, "of kept clips"),
        ({"stage": "face_count", "promise": Promise(0.01, 0.99, 0.005), "sequential": True}, "leave out --sequential"),
        ({"stage": "face_count", "n": 9, "name": "../up"}, "lot '../up'"),
    ],
)
def test_mistakes_are_one_line(catalog: Catalog, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=r"^[^\n]*$") as said:
        draw_lot(catalog, FUNNEL, Draw(**options))
    assert message in str(said.value)
    assert catalog.store.find("annotations", "") == []


def test_a_name_that_is_taken_and_a_lot_that_is_not_there(catalog: Catalog) -> None:
    drawn(catalog, stage="face_count", n=5, name="mine")
    with pytest.raises(UserError, match="there is a lot 'mine' already"):
        drawn(catalog, stage="face_count", n=5, name="mine")
    with pytest.raises(UserError, match=r"no lot 'yours' in this catalog \(there are: mine\)"):
        read_lot(catalog, "yours")


def test_a_pair_takes_two_clips(tmp_path: Path) -> None:
    catalog = write_catalog(str(tmp_path / "cat"), FUNNEL, clips=2)
    with pytest.raises(UserError, match="no pair to draw: only one clip was kept by face_count"):
        draw_lot(catalog, FUNNEL, Draw("face_count", n=5, mode="pair"))


def test_nothing_was_kept(tmp_path: Path) -> None:
    strict = funnel(POLICY.replace("dnsmos_ovrl >= 2.0", "dnsmos_ovrl >= 9"))
    catalog = write_catalog(str(tmp_path / "cat"), strict)
    with pytest.raises(UserError, match="no clip was kept by audio_quality under policy tested"):
        draw_lot(catalog, strict, Draw("audio_quality", n=5))
    with pytest.raises(UserError, match="no clip was kept by audio_quality under policy tested"):
        draw_lot(catalog, strict, Draw("audio_quality", promise=Promise()))


@pytest.mark.parametrize("allocation", ["proportional", "equal"])
def test_allocation_is_exact_and_leaves_nobody_out(allocation: str) -> None:
    sizes = [1, 5, 100, 10_000]
    for n in (4, 9, 50, 104, 9_000, 10_106, 20_000):
        drawn_from = allocate(n, sizes, allocation)  # type: ignore[arg-type]
        assert sum(drawn_from) == min(n, sum(sizes))
        assert all(1 <= k <= size for k, size in zip(drawn_from, sizes, strict=True))
    assert allocate(110, sizes, "equal")[2:] == [52, 52]


def test_rounding_up_makes_no_clip_heavier_than_in_a_plain_sample() -> None:
    sizes = [3, 17, 980, 9_000]
    for n in (1, 10, 59, 500, 20_000):
        drawn_from = allocate_at_least(n, sizes)
        assert all(size / k <= max(1.0, 10_000 / n) + 1e-9 for k, size in zip(drawn_from, sizes, strict=True))
        assert sum(drawn_from) <= min(n, 10_000) + len(sizes)

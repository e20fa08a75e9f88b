"""A snapshot has the kept rows, whole and documented, is never changed, and is refused without gates."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs import schema
from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.snapshots import read_snapshot, snapshot_names, snapshot_tables
from catalogs.store import Store
from curation.annotation.gates import accept
from curation.annotation.lots import Draw, draw_lot
from curation.annotation.records import read_lot
from curation.exports import snapshot as snapshot_module
from curation.exports.snapshot import GatesMissingError, freeze
from tests.support.hand_written import POLICY, answer_all, funnel, write_catalog
from tests.support.small_catalog import clip_row

FUNNEL = funnel()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return write_catalog(str(tmp_path / "cat"), FUNNEL)


def rows(catalog: Catalog, name: str) -> pa.Table:
    return pa.concat_tables(snapshot_tables(catalog, read_snapshot(catalog, name)))


def test_the_kept_clips_are_frozen_wide(catalog: Catalog) -> None:
    frozen = freeze(catalog, FUNNEL, "v1")
    assert (frozen.rows, frozen.sources, frozen.hours) == (200, 27, pytest.approx(200 * 3 / 3600))
    table = rows(catalog, "v1")
    assert len(table) == 200
    assert len(set(table["clip_id"].to_pylist())) == 200
    assert min(table["dnsmos_ovrl"].to_pylist()) >= 2.0
    assert min(table["face_height_px_median"].to_pylist()) >= 96
    declared = FUNNEL.measuring[1].stage.columns.field("dnsmos_ovrl")
    found = table.schema.field("dnsmos_ovrl")
    assert (found.type, schema.meaning_of(found)) == (declared.type, schema.meaning_of(declared))


def test_it_says_what_decided(catalog: Catalog) -> None:
    freeze(catalog, FUNNEL, "v1")
    frozen = read_snapshot(catalog, "v1")
    assert (frozen.policy, frozen.policy_text, frozen.profile) == ("tested", POLICY, "lite")
    assert frozen.fingerprints == FUNNEL.digests
    assert [(line["stage"], line["kept"]) for line in frozen.funnel] == [
        ("scene_split", 400),
        ("face_count", 300),
        ("audio_quality", 200),
    ]
    assert frozen.gates == {}
    assert len(frozen.missing_gates) == 3


def test_what_a_run_adds_meanwhile_is_in_neither_rows_nor_counts(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Store.write_table

    def write_and_add(store: Store, name: str, *rest: pa.Table) -> None:
        write(store, name, *rest)
        if name.startswith("snapshots/"):
            catalog.add_clips(FUNNEL.split.digest, pa.Table.from_pylist([clip_row("late", "s-late")], schema.CLIPS))

    monkeypatch.setattr(Store, "write_table", write_and_add)
    frozen = freeze(catalog, FUNNEL, "v1")
    assert len(catalog.clip_shards(FUNNEL.split.digest)) == 2
    assert (frozen.funnel[0]["clips_in"], frozen.funnel[-1]["kept"]) == (400, frozen.rows)


def test_many_rows_become_parts_of_bounded_size(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_module, "PART_ROWS", 60)
    frozen = freeze(catalog, FUNNEL, "v1")
    assert sum(frozen.parts.values()) == 200
    assert all(0 < count <= 60 for count in frozen.parts.values())
    assert len(rows(catalog, "v1")) == 200


def test_row_groups_suit_readers_that_stream(catalog: Catalog) -> None:
    freeze(catalog, FUNNEL, "v1")
    found = pq.ParquetFile(Path(catalog.store.root) / "snapshots" / "v1" / "part-00000.parquet")
    assert found.metadata.row_group(0).num_rows <= 10_000
    assert found.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_condition_narrows_it(catalog: Catalog) -> None:
    frozen = freeze(catalog, FUNNEL, "fine", "dnsmos_ovrl >= 3 -- only the best")
    assert frozen.rows == 100
    assert min(rows(catalog, "fine")["dnsmos_ovrl"].to_pylist()) >= 3


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("dnsmos >= 3", "--where 'dnsmos >= 3': Binder Error"),
        ("true); DROP VIEW curated; SELECT (1", "must be one condition"),
        ("dnsmos_ovrl >", "Parser Error"),
        ("dnsmos_ovrl > 99", "no clip is kept and fits 'dnsmos_ovrl > 99'"),
        ("read_text('/etc/passwd') is not null", "--where"),
    ],
)
def test_conditions_that_are_wrong_or_fit_nothing(catalog: Catalog, where: str, message: str) -> None:
    with pytest.raises(UserError) as said:
        freeze(catalog, FUNNEL, "v1", where)
    assert message in str(said.value)
    assert "\n" not in str(said.value)
    assert snapshot_names(catalog) == []


def test_a_snapshot_is_never_changed(catalog: Catalog) -> None:
    freeze(catalog, FUNNEL, "v1")
    with pytest.raises(UserError, match="there is a snapshot 'v1' already"):
        freeze(catalog, FUNNEL, "v1")
    with pytest.raises(UserError, match=r"snapshot '\.\./v2'"):
        freeze(catalog, FUNNEL, "../v2")
    with pytest.raises(UserError, match=r"no snapshot 'v9' in this catalog \(there are: v1\)"):
        read_snapshot(catalog, "v9")


def test_what_an_attempt_left_that_died_is_no_part_of_the_next(catalog: Catalog) -> None:
    catalog.store.write_table("snapshots/v1/part-00007.parquet", pa.table({"clip_id": ["c0"]}))
    assert snapshot_names(catalog) == []
    freeze(catalog, FUNNEL, "v1")
    assert catalog.store.find("snapshots/v1") == ["snapshots/v1/part-00000.parquet"]


def test_gates_are_required_and_carried(catalog: Catalog) -> None:
    for stage in ("scene_split", "face_count"):
        lot = draw_lot(catalog, FUNNEL, Draw(stage, n=70, stratify=()))
        answer_all(catalog, lot, read_lot(catalog, lot.name)[1])
        accept(catalog, lot.name)
    with pytest.raises(GatesMissingError) as refused:
        freeze(catalog, FUNNEL, "v1", require_gates=True)
    assert refused.value.lines == ["audio_quality: no lot of it is accepted yet"]
    assert catalog.store.find("snapshots", "") == []
    lot = draw_lot(catalog, FUNNEL, Draw("audio_quality", n=70, stratify=()))
    answer_all(catalog, lot, read_lot(catalog, lot.name)[1])
    gate = accept(catalog, lot.name)
    frozen = freeze(catalog, FUNNEL, "v1", require_gates=True)
    assert frozen.missing_gates == ()
    assert read_snapshot(catalog, "v1").gates["audio_quality"]["id"] == gate.id
    stricter = funnel(POLICY.replace("dnsmos_ovrl >= 2.0", "dnsmos_ovrl >= 2.5"))
    with pytest.raises(
        GatesMissingError, match="audio_quality: the gate of lot audio_quality-kept-1 is stale: rule quality"
    ):
        freeze(catalog, stricter, "v2", require_gates=True)


def test_only_the_columns_that_are_asked_for_are_read(catalog: Catalog) -> None:
    frozen = freeze(catalog, FUNNEL, "v1", check_files=False)
    (table,) = snapshot_tables(catalog, frozen, ["clip_id", "duration_s"])
    assert table.column_names == ["clip_id", "duration_s"]


def test_what_a_newer_release_has_added_does_not_keep_a_snapshot_from_being_read(catalog: Catalog) -> None:
    freeze(catalog, FUNNEL, "v1", check_files=False)
    document = catalog.store.read_json("snapshots/v1/snapshot.json")
    catalog.store.write_json("snapshots/v1/snapshot.json", document | {"licences": {"CC BY 4.0": 200}})
    assert read_snapshot(catalog, "v1").rows == 200

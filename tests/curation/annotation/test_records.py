"""A lot's name belongs to one drawing, also when two commands ask for it at once."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pyarrow as pa
import pytest

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.store import Store
from curation.annotation.lots import Draw, draw_lot
from curation.annotation.records import ITEMS, Lot, Stratum, lot_names, read_lot, write_lot
from tests.support.hand_written import funnel, write_catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.open_or_create(str(tmp_path / "cat"))


def lot(seed: int) -> tuple[Lot, pa.Table]:
    """Make a lot called ``mine`` with one item, whose clip names the seed."""
    made = Lot(
        name="mine",
        stage="sync",
        side="kept",
        seed=seed,
        strata=(Stratum("all", 1, 1),),
        fingerprints={},
        policy="tested",
        policy_text="",
        profile="lite",
        created="2026-01-01T00:00:00+00:00",
    )
    return made, pa.Table.from_pylist([dict.fromkeys(ITEMS.names) | {"number": 1, "clip_id": f"c{seed}"}], ITEMS)


def seeds(catalog: Catalog) -> tuple[int, str]:
    """Read the seeds of the stored lot and of its item: they differ if two drawings have become mixed up."""
    stored, items = read_lot(catalog, "mine")
    return stored.seed, items["clip_id"][0].as_py()


def meanwhile(monkeypatch: pytest.MonkeyPatch, method: str, name: str, act: Callable[[], None]) -> None:
    """Call ``act`` once, before a method of the store writes a file whose name holds ``name``."""
    write = getattr(Store, method)

    def interrupted(store: Store, path: str, *rest: Any) -> None:
        if name in path:
            monkeypatch.setattr(Store, method, write)
            act()
        write(store, path, *rest)

    monkeypatch.setattr(Store, method, interrupted)


@pytest.mark.parametrize(("method", "name"), [("write_table", "items.parquet"), ("write_json", "lot.json")])
def test_whoever_comes_while_a_lot_is_written_is_refused(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, method: str, name: str
) -> None:
    refused = []

    def second() -> None:
        with pytest.raises(UserError, match="'mine' is being drawn by somebody else"):
            write_lot(catalog, *lot(2))
        refused.append(2)

    meanwhile(monkeypatch, method, name, second)
    write_lot(catalog, *lot(1))
    assert refused == [2]
    assert seeds(catalog) == (1, "c1")
    assert catalog.store.find("annotations", "") == [
        "annotations/lots/mine/items.parquet",
        "annotations/lots/mine/lot.json",
    ]


def test_of_many_at_once_at_most_one_succeeds_and_is_whole(catalog: Catalog) -> None:
    start, refused = Barrier(8), []

    def write(seed: int) -> None:
        start.wait()
        try:
            write_lot(catalog, *lot(seed))
        except UserError:
            refused.append(seed)

    writers = [Thread(target=write, args=(seed,)) for seed in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    if lot_names(catalog):
        assert len(refused) == 7
        seed, clip = seeds(catalog)
        assert clip == f"c{seed}"
        assert seed not in refused
    else:
        assert len(refused) == 8
        write_lot(catalog, *lot(9))  # where all gave way, nothing is left of them


def test_a_drawing_that_ends_while_the_names_are_listed_is_noticed(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Store.find

    def listed_too_early(store: Store, folder: str, suffix: str = ".parquet") -> list[str]:
        monkeypatch.setattr(Store, "find", find)
        names = store.find(folder, suffix)
        write_lot_of_another()
        return names

    def write_lot_of_another() -> None:
        claim = next(name for name in catalog.store.find("annotations/lots/mine", ".json"))
        catalog.store.remove(claim)  # the other had looked before this claim was written
        write_lot(catalog, *lot(1))
        catalog.store.write_json(claim, {})

    monkeypatch.setattr(Store, "find", listed_too_early)
    with pytest.raises(UserError, match="there is a lot 'mine' already"):
        write_lot(catalog, *lot(2))
    assert seeds(catalog) == (1, "c1")


def test_a_lot_that_could_not_be_written_leaves_its_name_free(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "no room")

    meanwhile(monkeypatch, "write_json", "lot.json", full)
    with pytest.raises(OSError, match="no room"):
        write_lot(catalog, *lot(1))
    assert lot_names(catalog) == []
    write_lot(catalog, *lot(2))
    assert seeds(catalog) == (2, "c2")


def test_a_killed_drawing_keeps_its_name_and_the_next_lot_gets_another(tmp_path: Path) -> None:
    tested = funnel()
    catalog = write_catalog(str(tmp_path / "cat"), tested, 20)
    catalog.store.write_json("annotations/lots/face_count-kept-1/claim-0.json", {})
    drawn = draw_lot(catalog, tested, Draw("face_count", n=2))
    assert (drawn.name, drawn.seed) == ("face_count-kept-2", 2)
    with pytest.raises(UserError, match="is being drawn by somebody else, or a drawing was killed"):
        draw_lot(catalog, tested, Draw("face_count", n=2, name="face_count-kept-1"))

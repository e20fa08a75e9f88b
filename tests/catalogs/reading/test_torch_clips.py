"""A stream hands out the same rows in the same order, whoever decodes them and wherever it went on."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from catalogs.catalog import Catalog
from catalogs.errors import ClipError, UserError
from catalogs.reading.clips import Clip, ClipForm
from catalogs.reading.order import Order
from catalogs.reading.rows import open_snapshot
from catalogs.reading.torch_clips import ClipStream, TorchClips, pad_together
from tests.catalogs.reading.made_snapshot import Cut, make_snapshot, number_in, numbered_video
from tests.support.house import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than a small machine has

ROWS = 23
FORM = ClipForm(frames=1, size=(16, 16), where="start")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Row i is a cut of a file that begins with picture 2 i; ``v2`` has three more, of which two files are gone."""
    folder = tmp_path_factory.mktemp("stream")
    path = numbered_video(folder / "a.mp4", 4, click_s=1.0)
    cuts = [Cut(path, i * 0.08, i * 0.08 + 0.4) for i in range(ROWS)]
    make_snapshot(folder, cuts, number=list(range(ROWS)))
    gone = [numbered_video(folder / f"gone{i}.mp4", 0.5 + i / 10) for i in range(2)]
    more = [*cuts[:4], Cut(gone[0]), *cuts[4:8], Cut(gone[1]), cuts[8]]
    catalog = make_snapshot(folder, more, "v2", number=list(range(11)))
    for path in gone:
        path.unlink()
    return catalog


def number_of(clip: Clip) -> int:
    """Stand in for what a trainer computes of a clip in the worker: the row's number, read from the picture."""
    assert number_in(clip.frames[0]) == 2 * clip.row["number"]
    return clip.row["number"]


def row_number(clip: Clip) -> int:
    return clip.row["number"]


def stream_of(
    catalog: Catalog, name: str = "v1", seed: int = 5, prepare: Any = row_number, **options: Any
) -> ClipStream:
    clips = TorchClips(open_snapshot(catalog, name, ["number"]), FORM, seed, prepare)
    return ClipStream(clips, collate=list, **options)


def joined(batches: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(batches))


def order_of(epoch: int, n: int = ROWS, seed: int = 5) -> list[int]:
    return Order(n, seed).take(epoch, np.arange(n)).tolist()


def test_a_clip_is_decoded_by_its_number(catalog: Catalog) -> None:
    clips = TorchClips(open_snapshot(catalog, "v1", ["number"]), ClipForm(frames=5, size=(32, 32), where="start"))
    assert len(clips) == ROWS
    item = clips[7]
    assert (item["frames"].shape, item["frames"].dtype) == ((5, 3, 32, 32), torch.uint8)
    assert [number_in(picture) for picture in item["frames"].numpy()] == [14, 15, 16, 17, 18]
    assert (item["sound"].shape, item["sound"].dtype) == ((3200,), torch.float32)
    assert (item["row"], item["n_frames"], item["n_samples"], item["fps"]) == ({"number": 7}, 5, 3200, 25)


def test_a_plain_loader_takes_it(catalog: Catalog) -> None:
    clips = TorchClips(open_snapshot(catalog, "v1", ["number"]), ClipForm(frames=2, size=(16, 16)))
    batches = list(DataLoader(clips, batch_size=8, num_workers=2, collate_fn=pad_together))
    assert [batch["frames"].shape for batch in batches] == [(8, 2, 3, 16, 16), (8, 2, 3, 16, 16), (7, 2, 3, 16, 16)]
    assert [row["number"] for batch in batches for row in batch["row"]] == list(range(ROWS))


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_the_order_depends_on_seed_and_epoch_only(catalog: Catalog, world: int, workers: int) -> None:
    """Rank r of w gets the rows at positions r, r + w, …; counted here from the order itself."""
    for rank in range(world):
        loader = stream_of(catalog, batch_size=3, rank=rank, world=world, prepare=number_of).loader(workers)
        mine = order_of(0)[rank::world]
        assert len(loader) == 8 // world + (8 % world > 0)
        batches = list(loader)
        assert [number for batch in batches for number in batch] == mine
        assert [len(batch) for batch in batches[:-1]] == [3] * (len(batches) - 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_next_iteration_is_the_next_epoch(catalog: Catalog, workers: int) -> None:
    stream = stream_of(catalog, batch_size=5)
    for epoch in range(3):
        assert stream.state_dict() == {"snapshot": "v1", "rows": ROWS, "seed": 5, "epoch": epoch, "row": 0}
        assert joined(stream.loader(workers)) == order_of(epoch)


@pytest.mark.parametrize(("tail", "lengths"), [("short", [8, 8, 7]), ("drop", [8, 8]), ("pad", [8, 8, 8])])
def test_the_end_of_an_epoch_is_as_was_asked(catalog: Catalog, tail: Any, lengths: list[int]) -> None:
    ranks = [list(stream_of(catalog, batch_size=4, rank=r, world=2, tail=tail).loader(r)) for r in range(2)]
    assert [len(a) + len(b) for a, b in zip(*ranks, strict=True)] == lengths


def test_epochs_may_follow_each_other_without_an_end(catalog: Catalog) -> None:
    loader = stream_of(catalog, batch_size=10, tail="next").loader(2)
    batches = list(islice(loader, 5))
    assert joined(batches) == (order_of(0) + order_of(1) + order_of(2))[:50]
    with pytest.raises(TypeError, match="no length"):
        len(loader)


@pytest.mark.parametrize("tail", ["short", "next"])
def test_a_stopped_reading_goes_on_with_other_ranks_and_workers(catalog: Catalog, tail: Any) -> None:
    """Two ranks stop after three batches each, with others decoded already; three ranks go on."""
    states, seen = [], []
    for rank in range(2):
        stream = stream_of(catalog, batch_size=2, rank=rank, world=2, tail=tail)
        seen += joined(islice(stream.loader(workers=rank + 1), 3))
        states.append(stream.state_dict())
    assert states[0] == states[1] == {"snapshot": "v1", "rows": ROWS, "seed": 5, "epoch": 0, "row": 12}
    assert sorted(seen) == sorted(order_of(0)[:12])
    for rank in range(3):
        stream = stream_of(catalog, batch_size=3, rank=rank, world=3, tail=tail)
        stream.load_state_dict(states[0])
        rest = joined(islice(stream.loader(workers=rank), 4))
        until, rows = (12 + 4 * 9, joined(map(order_of, range(3)))) if tail == "next" else (ROWS, order_of(0))
        assert rest == [rows[position] for position in range(12, until) if position % 3 == rank]


def test_a_loop_that_breaks_goes_on_where_it_was(catalog: Catalog) -> None:
    stream, seen = stream_of(catalog, batch_size=4), []
    for _ in range(3):
        for batch in stream.loader(workers=2):
            seen += batch
            break
    assert seen == order_of(0)[:12]


def test_a_state_of_another_reading_is_refused(catalog: Catalog) -> None:
    state = stream_of(catalog).state_dict()
    with pytest.raises(UserError, match=r"its seed is 5, here 6"):
        stream_of(catalog, seed=6).load_state_dict(state)
    with pytest.raises(UserError, match=r"its snapshot is 'v1', here 'v2'"):
        stream_of(catalog, "v2").load_state_dict(state)


# -- clips that cannot be read: rows 4 and 9 of v2


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_a_broken_clip_is_left_out_and_counted(
    catalog: Catalog, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    for rank in range(2):
        stream = stream_of(catalog, "v2", batch_size=1 + rank, rank=rank, world=2)
        with caplog.at_level(logging.WARNING, "catalogs.reading"):
            batches = list(stream.loader(workers))
        assert all(batches), "a batch without a clip is not handed out"
        numbers = joined(batches)
        mine = order_of(0, 11)[rank::2]
        assert numbers == [row for row in mine if row not in (4, 9)], "the others stay where they were"
        assert stream.problems == {"not_found": len({4, 9} & set(mine))} or not {4, 9} & set(mine)
        assert stream.state_dict()["epoch"] == 1
    assert any("cannot be read (not_found" in line for line in caplog.messages)


def test_a_broken_clip_is_replaced_by_the_same_row_each_time(catalog: Catalog) -> None:
    def read(workers: int) -> list[list[int]]:
        stream = stream_of(catalog, "v2", batch_size=4, tail="pad", on_error="replace")
        batches = list(stream.loader(workers))
        assert stream.problems["not_found"] >= 2
        return batches

    batches = read(0)
    assert [len(batch) for batch in batches] == [4, 4, 4]
    wanted = (order_of(0, 11) * 2)[:12]
    assert [row for row, was in zip(joined(batches), wanted, strict=True) if was not in (4, 9)] == [
        row for row in wanted if row not in (4, 9)
    ]
    assert not {4, 9} & set(joined(batches))
    assert read(2) == batches


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_clip_may_stop_the_reading(catalog: Catalog, workers: int) -> None:
    stream = stream_of(catalog, "v2", batch_size=1, on_error="raise")
    before = min(order_of(0, 11).index(4), order_of(0, 11).index(9))
    seen: list[int] = []
    with pytest.raises(ClipError, match=r"not_found: .*gone\d.mp4 is not there any more"):
        seen.extend(number for (number,) in stream.loader(workers))
    assert seen == order_of(0, 11)[:before]
    assert stream.state_dict()["row"] == before, "it will be tried again"


def test_a_pool_out_of_reach_ends_the_reading(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 1)
    catalog = make_snapshot(tmp_path, [Cut(path, 0, 0.2 + i / 25) for i in range(10)], number=list(range(10)))
    path.unlink()
    stream = stream_of(catalog, batch_size=10, tail="next")
    with pytest.raises(UserError, match=r"200 clips in a row cannot be read; the last: not_found: "):
        assert joined(stream.loader()) == []


# -- around it


def test_workers_may_be_spawned(catalog: Catalog) -> None:
    loader = stream_of(catalog, batch_size=6).loader(workers=1, context="spawn")
    assert joined(loader) == order_of(0)


def test_reading_draws_none_of_the_trainings_random_numbers(catalog: Catalog) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for workers in (0, 1):
        next(iter(stream_of(catalog).loader(workers)))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loader_of_ones_own_gets_whole_batches(catalog: Catalog) -> None:
    stream = stream_of(catalog, batch_size=4)
    seen = []
    for batch in DataLoader(stream, batch_size=None, num_workers=3):
        seen += stream.note(batch)
        assert stream.state_dict()["row"] == len(seen) % ROWS
    assert seen == order_of(0)


def test_rank_and_world_come_from_the_environment(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (stream_of(catalog).share.rank, stream_of(catalog).share.world) == (0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert joined(stream_of(catalog, batch_size=4).loader()) == order_of(0)[2::3]
    assert stream_of(catalog, rank=0, world=1).share.world == 1


@pytest.fixture
def process_group() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_a_process_group_knows_better_than_the_environment(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert (stream_of(catalog).share.rank, stream_of(catalog).share.world) == (0, 1)


def test_clips_of_several_lengths_are_padded(catalog: Catalog) -> None:
    clips = TorchClips(open_snapshot(catalog, "v1", ["number"]), ClipForm(size=(16, 16)))
    first, second = clips[0], TorchClips(clips.reader, ClipForm(frames=4, size=(16, 24)))[1]
    batch = pad_together([first, second])
    assert batch["frames"].shape == (2, 10, 3, 16, 24)
    assert batch["n_frames"].tolist() == [10, 4]
    assert batch["n_samples"].tolist() == [6400, 2560]
    assert torch.equal(batch["frames"][0, ..., :16], first["frames"])
    assert torch.equal(batch["frames"][1, :4], second["frames"])
    assert not batch["frames"][1, 4:].any()
    assert not batch["sound"][1, 2560:].any()
    assert batch["has_sound"].tolist() == [True, True]
    assert batch["row"] == [{"number": 0}, {"number": 1}]
    assert pad_together([]) == {}


def test_a_snapshot_without_captions_is_read_all_the_same(catalog: Catalog) -> None:
    with pytest.raises(UserError, match="no column 'caption'"):
        open_snapshot(catalog, "v1", ["caption"])
    clips = TorchClips(open_snapshot(catalog, "v1", []), FORM)
    assert next(iter(ClipStream(clips).loader()))["row"] == [{}]


class _EnoughError(Exception):
    pass


def test_the_code_of_the_page_runs(catalog: Catalog) -> None:
    page = (ROOT / "docs/catalog.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    code = code.replace('"CAT", "v1", columns=["caption"]', 'CAT, "v1", columns=["number"]').replace(
        "frames=50", "frames=8"
    )
    seen: list[Any] = []

    def save(state: dict) -> None:
        assert state == {"snapshot": "v1", "rows": ROWS, "seed": 0, "epoch": 0, "row": 4}
        raise _EnoughError

    with pytest.raises(_EnoughError):
        exec(code, {"CAT": catalog, "train": lambda *given: seen.extend(given), "save": save})
    frames, sound, rows = seen
    assert (frames.shape, sound.shape) == ((4, 8, 3, 256, 256), (4, 8 * 640))
    assert all(row.keys() == {"number"} for row in rows)


def test_an_unknown_option_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ValueError, match="on_error 'ignore' is none of"):
        stream_of(catalog, on_error="ignore")

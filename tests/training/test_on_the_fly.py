"""A training may encode its clips itself: it gets the tensors that precompute would have stored, in the same order."""

from __future__ import annotations

import logging
import pickle
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from catalogs.errors import UserError
from catalogs.media import MediaLimits
from catalogs.snapshots import snapshot_tables
from model.codecs import LinearCodec
from model.folder import ModelFolder
from model.text import HashedText
from runner.units import Batch
from tests.support.talking_snapshot import Talking, talking_snapshot
from tests.support.tiny_training import SMALLEST
from training.clips import choose_clips, open_clips
from training.config import HeldoutConfig, TrainConfig
from training.encode import nulls
from training.encode_config import EncodeConfig
from training.encoders import Encoders, load_video_codec
from training.latents import LatentClips
from training.meters import METRICS, read_metrics
from training.on_the_fly import FlyingClips
from training.precompute_plan import Request, make_plan
from training.precompute_worker import PrecomputeWorker
from training.reading import StepBatches, batches
from training.release import release_run
from training.shards import finish, write_json, write_nulls
from training.trainer import train
from training.yaml_config import config_of


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Talking:
    return talking_snapshot(tmp_path_factory.mktemp("talking"), per_source=3)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codec") / "codec"
    noise = torch.rand(3, 33, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    LinearCodec.fit([noise]).save(folder)
    return folder


def _config(talking: Talking, codec: Path, run: Path, **changes: Any) -> TrainConfig:
    document: dict[str, Any] = {
        "run": str(run),
        "steps": 2,
        "threads": 1,
        "peak_tflops": 1,
        "data": {
            "catalog": talking.url,
            "snapshot": "v1",
            "codec": str(codec),
            "size": [64, 64],
            "batch": 2,
            "window_latents": 9,
            "heldout": {"where": f"clip_id IN ('{talking.good[0]}', '{talking.good[-1]}')"},
        },
        "model": {"preset": "tiny", "overrides": SMALLEST},
        "optimiser": {"rate": 1e-3, "warmup": 0},
        "meters": {"every": 1, "heldout_every": 1},
    }
    for key, value in changes.items():
        document[key] = {**document[key], **value} if isinstance(value, dict) else value
    return config_of(document, "test")


def _losses(run: Path) -> list[float]:
    return [line["joint"] for line in read_metrics(run / METRICS) if line["kind"] == "train"]


@pytest.fixture(scope="module")
def flying(talking: Talking, codec: Path) -> FlyingClips:
    return FlyingClips.open(_config(talking, codec, Path("run")).data)


@pytest.fixture(scope="module")
def stored(talking: Talking, codec: Path, tmp_path_factory: pytest.TempPathFactory) -> LatentClips:
    """The latents that precompute's own worker stores of the same snapshot."""
    folder = tmp_path_factory.mktemp("stored") / "latents"
    shutil.copytree(codec, folder / "codec")
    request = Request(
        catalog=talking.url,
        snapshot="v1",
        folder=folder,
        codec=str(codec),
        encoders=Encoders(device="cpu"),
        config=EncodeConfig(height=64, width=64, crop="centre", window_frames=33),
    )
    plan = make_plan(replace(request, folder=folder.with_name("new")))
    write_json(folder / "encoding.json", plan.encoding)
    worker = PrecomputeWorker(str(folder), request.encoders, plan.encoding, MediaLimits())
    worker.run(Batch(plan.tasks), threading.Event())
    blanks, null_text = nulls(load_video_codec(codec), HashedText(), 9, [(64, 64)], torch.bfloat16)
    write_nulls(folder, blanks, null_text)
    finish(folder, plan.encoding, snapshot_tables(plan.catalog, plan.snapshot), plan.left_out)
    return LatentClips.open(folder, verify=True)


def _row(clips: FlyingClips | LatentClips, clip_id: str) -> int:
    return clips.table["clip_id"].to_pylist().index(clip_id)


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    same = {name: first[name].dtype == second[name].dtype for name in first.keys() & second.keys()}
    return first.keys() == second.keys() and all(
        same[name] and torch.equal(first[name], second[name]) for name in first
    )


@contextmanager
def _gone(talking: Talking, name: str) -> Iterator[None]:
    path = Path(talking.url).parent / f"{name}.mp4"
    path.rename(path.with_suffix(".gone"))
    try:
        yield
    finally:
        path.with_suffix(".gone").rename(path)


# --- the same as precompute -------------------------------------------------------------------------------------------


def test_a_clips_tensors_are_those_that_precompute_stores(
    talking: Talking, flying: FlyingClips, stored: LatentClips
) -> None:
    for clip_id in talking.good:
        assert _equal(flying.tensors(_row(flying, clip_id)), stored.tensors(_row(stored, clip_id)))
    assert flying.tensors(_row(flying, talking.good[0]))["video"].dtype == torch.bfloat16
    assert _equal(flying.nulls(64, 64), stored.nulls(64, 64))


def test_the_table_and_the_facts_are_named_as_in_a_folder_of_latents(
    talking: Talking, flying: FlyingClips, stored: LatentClips
) -> None:
    assert flying.facts == {name: stored.facts[name] for name in flying.facts}
    ids = flying.table["clip_id"].to_pylist()
    assert ids == sorted(ids)
    too_short = {clip_id for clip_id, reason in talking.bad.items() if reason == "too_short"}
    assert set(ids) == {*talking.good, *talking.bad} - too_short, "others are known to be no use when they are decoded"
    columns = [name for name in stored.table.column_names if not name.startswith("shard") and name != "n_tokens"]
    for clip_id in talking.good:
        ours, theirs = (clips.table.slice(_row(clips, clip_id), 1).to_pylist()[0] for clips in (flying, stored))
        assert {name: ours[name] for name in columns} == {name: theirs[name] for name in columns}


def test_another_process_gets_the_same(talking: Talking, flying: FlyingClips) -> None:
    row = _row(flying, talking.good[1])
    assert _equal(pickle.loads(pickle.dumps(flying)).tensors(row), flying.tensors(row))


# --- clips that are no use --------------------------------------------------------------------------------------------


def test_a_clip_that_is_no_use_is_replaced_by_the_same_one_of_its_group_every_time(
    talking: Talking, codec: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = FlyingClips.open(_config(talking, codec, Path("run")).data)
    faceless = next(clip_id for clip_id, reason in talking.bad.items() if reason == "no_face")
    bad, group = _row(clips, faceless), [_row(clips, clip_id) for clip_id in talking.good[2:4]]
    clips.keep_apart([[bad, *group], set(range(len(clips.table))) - {bad, *group}])
    with caplog.at_level(logging.WARNING, logger="training.on_the_fly"):
        first = clips.tensors(bad)
        again = clips.tensors(bad)
    assert _equal(first, again)
    assert any(_equal(first, clips.tensors(row)) for row in group)
    warnings = [record.getMessage() for record in caplog.records if record.name == "training.on_the_fly"]
    assert warnings == [
        f"clip {faceless} cannot be encoded (no_face: no face is seen in enough of the pictures); "
        "another takes its place"
    ], "it is said, and tried, once"


def test_a_clip_is_never_replaced_by_one_of_another_group(talking: Talking, codec: Path) -> None:
    clips = FlyingClips.open(_config(talking, codec, Path("run")).data)
    bad = [_row(clips, clip_id) for clip_id, reason in talking.bad.items() if reason != "too_short"]
    clips.keep_apart([bad, set(range(len(clips.table))) - set(bad)])
    for row in bad:
        with pytest.raises(UserError, match="cannot be encoded, nor can any that was tried in its place"):
            clips.tensors(row)


def test_held_out_clips_are_not_trained_on_in_the_place_of_others(talking: Talking, codec: Path) -> None:
    config = _config(talking, codec, Path("run"))
    clips = open_clips(config.data, config.seed)
    judged = [clips.store.tensors(row) for row in clips.heldout]
    assert len(judged) == 2
    with _gone(talking, "woman"):
        seen = [clips.store.tensors(row) for row in clips.trained]
    assert not any(_equal(tensors, held) for tensors in seen for held in judged)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_step_has_its_full_batch_although_a_file_is_gone(
    workers: int, talking: Talking, codec: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = _config(talking, codec, Path("run"), data={"batch": 4, "microbatch": 4})
    clips = open_clips(config.data, config.seed)
    steps = StepBatches(clips, config, 0, 1)
    with _gone(talking, "woman"), caplog.at_level(logging.WARNING, logger="training.on_the_fly"):
        made = [micro for (micro,) in batches(steps, 0, 2, workers)]
    assert [len(batch.latents) for batch in made] == [4, 4]
    if not workers:  # other processes' warnings go to their own standard error
        assert "not_found" in caplog.text


# --- training ---------------------------------------------------------------------------------------------------------


def test_a_training_that_encodes_its_clips_is_the_same_with_and_without_reading_processes(
    talking: Talking, codec: Path, tmp_path: Path
) -> None:
    for name, workers in (("alone", 0), ("helped", 2)):
        train(_config(talking, codec, tmp_path / name, data={"workers": workers}))
    losses = _losses(tmp_path / "alone")
    assert len(losses) == 2
    assert losses == _losses(tmp_path / "helped")
    model = ModelFolder.load(tmp_path / "alone" / "model")
    assert (model.facts.height, model.facts.window_latents, model.facts.training["steps"]) == (64, 9, 2)
    assert model.codec.digest == load_video_codec(codec).digest
    release_run(tmp_path / "alone", tmp_path / "released")
    assert ModelFolder.load(tmp_path / "released").facts == model.facts


def test_the_order_of_the_clips_is_that_of_a_training_on_latents(
    talking: Talking, codec: Path, flying: FlyingClips, stored: LatentClips
) -> None:
    config = _config(talking, codec, Path("run"))
    ids = ", ".join(f"'{clip_id}'" for clip_id in talking.bad)
    data = replace(config.data, heldout=HeldoutConfig(where=f"clip_id IN ({ids})"))
    read, made = (StepBatches(choose_clips(store, data, 0), config, 0, 1) for store in (stored, flying))
    assert [read.clip_ids(step) for step in range(9)] == [made.clip_ids(step) for step in range(9)]
    (first,), (second,) = read[1], made[1]
    assert torch.equal(first.latents, second.latents)
    assert torch.equal(first.condition, second.condition)
    assert torch.equal(first.audio, second.audio)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"snapshot": "v9"}, "v9"),
        ({"catalog": "/nowhere/catalog"}, "/nowhere/catalog"),
        ({"codec": "/nowhere/codec"}, "codec: /nowhere/codec"),
        ({"text": "/nowhere/text"}, "text encoder: /nowhere/text"),
        ({"size": [64, 60]}, "width 60: pictures are multiples of 16 pixels, e.g. 64"),
        ({"window_latents": 50}, "no clip of snapshot v1 can be encoded"),
        ({"window_latents": 200}, "max_frames 481 is less than window_frames 797"),
    ],
)
def test_what_is_not_there_is_one_line(changes: dict[str, Any], said: str, talking: Talking, codec: Path) -> None:
    config = _config(talking, codec, Path("run"), data=changes)
    with pytest.raises(UserError) as caught:
        open_clips(config.data, config.seed)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)

"""Folders of latents: what is written is read back, what is damaged or unfinished is said in one line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from catalogs.errors import UserError
from tests.support.latent_clips import MOUTH, made_latents, mouth_cells
from training.latents import LatentClips


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_latents(tmp_path_factory.mktemp("made") / "latents")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder that a test may break: eight clips in three shards."""
    return made_latents(tmp_path / "latents")


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.safetensors"))  # not nulls.safetensors


def test_tensors_have_the_shapes_and_dtypes_that_the_layout_says(folder: Path) -> None:
    clips = LatentClips.open(folder, verify=True)
    assert len(clips) == 8
    bf16 = torch.bfloat16
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in clips.tensors(5).items()} == {
        "video": ((16, 9, 4, 4), bf16),
        "image_condition": ((16, 9, 4, 4), bf16),
        "video_condition": ((16, 9, 4, 4), bf16),
        "hole": ((4, 9, 4, 4), torch.uint8),
        "lips": ((9, 4, 4), torch.float16),
        "audio": ((117 - 1, 8), bf16),
        "text": ((16, 32), bf16),
        "sound": ((21_120,), torch.int16),
    }


def test_a_clip_is_what_its_shard_holds_under_its_id(folder: Path) -> None:
    clips = LatentClips.open(folder)
    for i, row in enumerate(clips.table.to_pylist()):
        stored = load_file(folder / row["shard"])
        for name, tensor in clips.tensors(i).items():
            assert torch.equal(tensor, stored[f"{row['clip_id']}/{name}"])
    assert clips.tensors(0, ["audio"]).keys() == {"audio"}


def test_the_index_is_in_the_order_of_ids_and_says_sizes(folder: Path) -> None:
    table = LatentClips.open(folder).table
    assert table["clip_id"].to_pylist() == sorted(table["clip_id"].to_pylist())
    row = table.to_pylist()[0]
    assert (row["n_frames"], row["n_latents"], row["height"], row["fps"], row["n_tokens"]) == (33, 9, 32, 25.0, 116)
    assert {row["shard_bytes"] for row in table.to_pylist()} == {path.stat().st_size for path in shards(folder)}


def test_the_made_up_mouth_follows_the_made_up_sound(folder: Path) -> None:
    clips = LatentClips.open(folder)
    rows, columns = mouth_cells((4, 4))
    for i in range(len(clips)):
        tensors = clips.tensors(i)
        k = np.arange(1, 9)
        heard = np.interp(50 * (4 * k - 1) / 25, np.arange(116) - 25, tensors["audio"][:, 0].float().numpy())
        seen = tensors["video"][0, 1:, rows, columns].float().numpy()
        moved = seen - seen[:1]
        assert np.allclose(moved, MOUTH * (heard - heard[0])[:, None, None], atol=0.1), "bfloat16 rounds to 0.4 %"
        elsewhere = tensors["video"][1].float()
        assert torch.equal(elsewhere, elsewhere[:1].expand(9, -1, -1)), "all else stands still"


def test_a_reader_goes_into_another_process(folder: Path) -> None:
    clips = LatentClips.open(folder)
    again = pickle.loads(pickle.dumps(clips))
    assert torch.equal(again.tensors(7)["video"], clips.tensors(7)["video"])


def test_a_folder_that_holds_no_latents_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder of latents \(no precompute.json\)"):
        LatentClips.open(tmp_path / "nowhere")


def test_a_folder_that_is_not_finished_is_said(own: Path) -> None:
    (own / "precompute.json").unlink()
    with pytest.raises(UserError, match=r"are not complete; run `python -m training.precompute`"):
        LatentClips.open(own)


def test_another_release_is_said(own: Path) -> None:
    facts = json.loads((own / "precompute.json").read_text())
    (own / "precompute.json").write_text(json.dumps(facts | {"format_version": 99}))
    with pytest.raises(UserError, match="format version 99, this release reads 1"):
        LatentClips.open(own)
    (own / "precompute.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        LatentClips.open(own)


def test_an_index_of_another_moment_is_refused(own: Path, tmp_path: Path) -> None:
    other = made_latents(tmp_path / "other", n_clips=2)
    (own / "index.parquet").write_bytes((other / "index.parquet").read_bytes())
    with pytest.raises(UserError, match=r"index\.parquet is not the one that precompute\.json names"):
        LatentClips.open(own)
    (own / "index.parquet").unlink()
    with pytest.raises(UserError, match=r"index\.parquet cannot be read"):
        LatentClips.open(own)


def test_a_shard_that_is_missing_or_cut_off_is_named_when_the_folder_is_opened(own: Path) -> None:
    first, second, _ = shards(own)
    content = first.read_bytes()
    first.write_bytes(content[:-10])
    with pytest.raises(UserError, match=rf"{first.name} has {len(content) - 10} bytes instead of {len(content)}"):
        LatentClips.open(own)
    first.write_bytes(content)
    second.unlink()
    with pytest.raises(UserError, match=rf"{second.name} is missing; remove {second.stem}\.\* and"):
        LatentClips.open(own)


def test_one_flipped_bit_is_found_by_the_hash(own: Path) -> None:
    path = shards(own)[1]
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    LatentClips.open(own)
    with pytest.raises(UserError, match=rf"{path.name} is damaged: its sha256 is not the index's"):
        LatentClips.open(own, verify=True)


def test_damaged_nulls_are_said_when_the_folder_is_opened(own: Path) -> None:
    (own / "nulls.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"nulls\.safetensors is missing or damaged; remove precompute\.json"):
        LatentClips.open(own)


def test_a_shard_that_breaks_later_is_one_line_too(own: Path) -> None:
    clips = LatentClips.open(own)
    place = {row["shard"]: i for i, row in enumerate(clips.table.to_pylist())}
    first, second, third = shards(own)
    first.write_bytes(b"\xff" * first.stat().st_size)
    with pytest.raises(UserError, match="cannot be read"):
        clips.tensors(place[first.name])
    second.write_bytes(third.read_bytes())
    with pytest.raises(UserError, match="does not hold clip"):
        clips.tensors(place[second.name])
    with pytest.raises(UserError, match="cannot be read"):
        clips.tensors(place[third.name], ["nothing"])

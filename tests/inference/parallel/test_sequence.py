"""Processes that split the tokens of a window, alone and together with windows over processes, against one process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from catalogs.errors import UserError
from inference.parallel.group import Group
from inference.parallel.kept import shared_out
from inference.parallel.sequence import check_heads, crop_note, cropped_size, split_sequence
from tests.support.inference_processes import HEADS, model_in_rows_and_columns, model_video, refusals_of_a_row, start
from tests.support.wan_bases import inputs, small_model


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the videos that groups made."""
    folder = tmp_path_factory.mktemp("processes")
    start(model_in_rows_and_columns, folder, 4)
    return folder


@pytest.fixture(scope="module")
def alone() -> torch.Tensor:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    video = model_video(Group.alone())
    torch.set_num_threads(threads)
    assert video is not None
    return video


def test_windows_over_two_processes_are_the_same_bits_with_a_true_model(done: Path, alone: torch.Tensor) -> None:
    assert torch.equal(torch.load(done / "video-2x1.pt"), alone)


@pytest.mark.parametrize("name", ["1x2", "1x4", "2x2"])
def test_a_split_sequence_makes_the_same_video(done: Path, alone: torch.Tensor, name: str) -> None:
    """Rows x columns. Sums of other lengths may round differently: the bound is a thousandth of a difference seen."""
    assert (torch.load(done / f"video-{name}.pt") - alone).abs().max() < 1e-5


def test_what_cannot_be_split_is_refused_in_one_line(tmp_path: Path) -> None:
    start(refusals_of_a_row, tmp_path, 3)
    expected = [
        "4 attention heads do not divide by 3 processes: let 2 or 4 split the sequence, and share out windows over the "
        "others",
        "a window of 3 tokens does not divide by 2 processes: crop the picture (cropped_size)",
        "the attention backend _native_math does not know of a split sequence and would compute something else: use "
        "native, _native_flash, _native_cudnn, or let one process compute a window",
    ]
    for rank in range(2):
        assert (tmp_path / f"lines-{rank}").read_text().splitlines() == expected


def test_a_row_of_one_leaves_the_model_alone() -> None:
    model = small_model(**HEADS)
    split_sequence(model, Group.alone())
    with torch.no_grad():
        assert torch.equal(model(**inputs()).sample, small_model(**HEADS)(**inputs()).sample)
    check_heads(4, 1)


@pytest.mark.parametrize(
    ("height", "width", "lengths", "processes", "expected"),
    [
        (480, 832, [21], 8, (480, 832)),  # 30 x 52 tokens a latent, 1560
        (480, 832, [21, 6], 8, (480, 832)),  # 1560 divides by 8 whatever the length
        (96, 96, [21], 4, (96, 96)),  # 36
        (80, 80, [8], 4, (80, 80)),  # 25 tokens do not divide, 8 latents of them do
        (80, 80, [8, 3], 4, (64, 80)),  # the ragged tail must, too: 20
        (528, 528, [21], 2, (512, 528)),  # 33 x 33
        (48, 112, [1], 2, (48, 96)),  # 3 x 7: a row less loses 7, a column less 3
        (112, 112, [1], 8, (64, 96)),  # 7 x 7: 4 x 6 and 6 x 4 are the most that 8 divides; the width stays larger
    ],
)
def test_a_picture_is_cropped_as_little_as_it_takes(
    height: int, width: int, lengths: list[int], processes: int, expected: tuple[int, int]
) -> None:
    found = cropped_size(height, width, lengths, processes)
    assert all(found[0] // 16 * (found[1] // 16) * length % processes == 0 for length in lengths)
    best = max(
        rows * columns
        for rows in range(1, height // 16 + 1)
        for columns in range(1, width // 16 + 1)
        if all(rows * columns * length % processes == 0 for length in lengths)
    )
    assert found[0] * found[1] == best * 256
    assert found == expected


def test_how_much_was_cropped_is_said() -> None:
    assert crop_note(480, 832, (480, 832), 8) is None
    assert crop_note(80, 80, (64, 80), 4) == (
        "the picture is 80 x 64 instead of 80 x 80 (20.0 % less), so that 4 processes split it evenly"
    )


def test_a_picture_too_small_for_its_processes_is_refused() -> None:
    with pytest.raises(UserError, match="a picture of 16 x 16 has 1 tokens a latent, too few for 2 processes"):
        cropped_size(16, 16, [3], 2)


@pytest.mark.parametrize(("sequence", "was"), [(2, 1), (4, 1), (1, 2)])
def test_a_cache_that_was_split_otherwise_is_not_gone_on_with(sequence: int, was: int) -> None:
    key = "3/full" if was == 1 else f"3/full@0/{was}"
    with pytest.raises(UserError) as caught:
        shared_out(Group(0, sequence, torch.device("cpu"), sequence), {key: torch.zeros(1)})
    assert str(caught.value) == (
        f"the cache to go on with was split by {was} processes a window, and now there are {sequence}: start as before"
    )

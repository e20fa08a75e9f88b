"""Sizes are forecast from shapes alone, and equal what is written; what does not fit is refused with the numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catalogs.errors import UserError
from tests.support.latent_clips import made_latents
from training.forecast import clip_bytes, forecast, size
from training.latents import LatentClips

WAN: dict[str, Any] = {
    "config": {"fps": 25.0, "height": 480, "width": 832, "window_latents": 21, "dtype": "bfloat16"},
    "codec": {"channels": 16, "spatial": 8, "temporal": 4},
    "audio": {"width": 512},
    "text": {"length": 512, "width": 4096},
}


@pytest.mark.parametrize("shape", [(9, (4, 4)), (21, (12, 8))])
def test_a_clip_is_as_large_as_its_tensors(tmp_path: Path, shape: tuple[int, tuple[int, int]]) -> None:
    n_latents, cells = shape
    clips = LatentClips.open(made_latents(tmp_path / "made", 1, n_latents, cells))
    nbytes = sum(tensor.nbytes for name, tensor in clips.tensors(0).items() if name != "sound")
    frames = 4 * (n_latents - 1) + 1
    # The made-up tokens end with the last picture; real ones go on for half a second: 25 tokens of 8 numbers.
    sound = (frames / 25 + 0.5) * 16_000 * 2
    assert clip_bytes(clips.facts, frames) == pytest.approx(nbytes + 26 * 8 * 2 + sound, abs=32)


def test_a_window_at_480p_is_some_15_megabytes_and_1000_hours_some_20_terabytes() -> None:
    by_hand = 3 * 16 * 21 * 60 * 104 * 2 + 21 * 60 * 104 * (4 + 2) + 512 * 4096 * 2 + 238 * 512 * 2 + 2 * 59_840
    assert clip_bytes(WAN, 81) == by_hand
    assert 15e6 < by_hand < 20e6
    of_1000_hours = forecast(WAN, Path("/"), [81] * round(1000 * 3600 / 3.24), [], None)
    assert of_1000_hours.hours == pytest.approx(1000, rel=1e-3)
    assert 16e12 < of_1000_hours.total_bytes < 21e12


def test_image_tokens_take_their_place() -> None:
    seen = {**WAN, "image": {"length": 257, "width": 1280}}
    assert clip_bytes(seen, 81) - clip_bytes(WAN, 81) == 2 * 257 * 1280


def test_half_as_many_bytes_a_number_are_half_as_much() -> None:
    wide = {**WAN, "config": {**WAN["config"], "dtype": "float32"}}
    fixed = 21 * 60 * 104 * 6 + 2 * 59_840  # masks and 16-bit sound
    assert clip_bytes(wide, 81) - fixed == 2 * (clip_bytes(WAN, 81) - fixed)


def test_time_is_that_of_what_is_owed_over_the_workers(tmp_path: Path) -> None:
    expected = forecast(WAN, tmp_path / "not" / "there", [81] * 100, [81] * 30, clip_s=2.0)
    assert (expected.clips, expected.owed_clips, expected.seconds(4)) == (100, 30, 15.0)
    assert expected.total_bytes == pytest.approx(100 / 30 * expected.owed_bytes, abs=2)
    assert forecast(WAN, tmp_path, [81], [81], None).seconds(4) is None


def test_what_does_not_fit_is_refused_with_the_numbers(tmp_path: Path) -> None:
    too_much = replace(forecast(WAN, tmp_path, [81], [81], None), owed_bytes=17 * 10**15, free_bytes=400 * 10**9)
    with pytest.raises(UserError, match="still need 17 PB") as refused:
        too_much.check_space(tmp_path)
    assert f"the disk of {tmp_path} has 400 GB free" in str(refused.value)
    assert "train on the fly" in str(refused.value)
    replace(too_much, total_bytes=17 * 10**15, owed_bytes=10**9).check_space(tmp_path)  # the rest is there already


def test_sizes_are_written_for_people() -> None:
    written = [size(n) for n in (17, 1500, 2_340_000, 999.9e6, 16e12, 4e18)]
    assert written == ["17 bytes", "1.5 kB", "2.34 MB", "1,000 MB", "16 TB", "4,000 PB"]

"""Which clips are trained on, and which judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogs.errors import UserError
from tests.support.tiny_training import config, latents_in
from training.clips import open_clips


def test_clips_of_one_source_are_held_out_together(tmp_path: Path) -> None:
    latents_in(tmp_path)
    clips = open_clips(config(tmp_path).data, 0)
    sources = clips.store.table["source_id"].to_pylist()
    held = {sources[row] for row in clips.heldout}
    assert held
    assert not held & {sources[row] for row in clips.trained}
    assert len(clips.trained) + len(clips.heldout) == 10


def test_a_condition_names_the_held_out_clips(tmp_path: Path) -> None:
    latents_in(tmp_path)
    where = "clip_id IN ('c" + f"{2:032x}', 'c" + f"{5:032x}')"
    clips = open_clips(config(tmp_path, data={"heldout": {"where": where}}).data, 0)
    assert clips.heldout == (2, 5)
    assert set(clips.trained) == set(range(10)) - {2, 5}


def test_a_wrong_condition_is_one_line(tmp_path: Path) -> None:
    latents_in(tmp_path)
    for where in ("no_such_column = 1", "clip_id ="):
        with pytest.raises(UserError, match=r"data\.heldout\.where: ") as caught:
            open_clips(config(tmp_path, data={"heldout": {"where": where}}).data, 0)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"data\.heldout\.where"):  # no files from a condition
        open_clips(
            config(
                tmp_path, data={"heldout": {"where": "clip_id IN (SELECT content FROM read_text('/etc/passwd'))"}}
            ).data,
            0,
        )


def test_only_so_many_judge_and_the_rest_is_not_trained_on_either(tmp_path: Path) -> None:
    latents_in(tmp_path)
    clips = open_clips(config(tmp_path, data={"heldout": {"where": "true", "most": 3}}).data, 0)
    assert len(clips.heldout) == 3
    assert not clips.trained


def test_latents_for_other_windows_are_refused(tmp_path: Path) -> None:
    latents_in(tmp_path)
    with pytest.raises(UserError, match=r"data\.window_latents is 6, but the latents were made for windows of 5"):
        open_clips(config(tmp_path, data={"window_latents": 6}).data, 0)

"""The demo pool has every kind of flaw once, each with the stage that should see it."""

import json
from collections import Counter
from itertools import pairwise

import av
import pytest

from curation.demo.pool import TRUTH_FILE, cut_list, demo_pool, demo_specs, sync_pair
from curation.demo.spec import STAGES


def test_specs_have_different_names_and_last_about_two_minutes():
    specs = demo_specs()
    assert len({spec.name for spec in specs}) == len(specs)
    assert 90 < sum(spec.n_frames / spec.fps for spec in specs) < 150


def test_good_sources_speak_several_languages_and_every_flaw_names_a_stage():
    specs = demo_specs()
    assert sum(spec.verdict == "keep" for spec in specs) >= 5
    assert {spec.drop_stage for spec in specs if spec.verdict == "drop"} <= set(STAGES)
    assert all(spec.note for spec in specs if spec.verdict == "drop")


def test_sync_pair_differs_in_offset_only(tmp_path):
    truths = sync_pair(tmp_path, offsets=(-5, 0, 5), duration_s=1.0)
    assert [truth.offset_frames for truth in truths] == [-5, 0, 5]
    assert [truth.file for truth in truths] == ["sync_-05.mp4", "sync_+00.mp4", "sync_+05.mp4"]
    assert len({truth.n_frames for truth in truths}) == 1


def test_cut_list_holds_glimpses_and_dissolves(tmp_path):
    truth = cut_list(tmp_path / "cuts.mp4")
    bounds = sorted([0, *truth.cuts, *(start for start, _ in truth.dissolves), truth.n_frames])
    assert Counter(b - a for a, b in pairwise(bounds))[8] == 2
    assert [end - start for start, end in truth.dissolves] == [12, 12]
    with av.open(str(tmp_path / "cuts.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == truth.n_frames


@pytest.mark.slow
def test_the_pool_decodes_as_its_truth_says(tmp_path):
    truths = demo_pool(tmp_path)
    assert json.loads((tmp_path / TRUTH_FILE).read_text()) == json.loads(json.dumps([t.as_json() for t in truths]))
    assert {path.name for path in tmp_path.glob("*.mp4")} == {truth.file for truth in truths}
    for truth in truths:
        if truth.drop_stage == "ingest":
            with pytest.raises(av.error.FFmpegError):
                av.open(str(tmp_path / truth.file))
            continue
        with av.open(str(tmp_path / truth.file)) as container:
            video = container.streams.video[0]
            assert (video.width, video.height, video.frames) == (truth.width, truth.height, truth.n_frames)
            assert bool(container.streams.audio) == truth.sound

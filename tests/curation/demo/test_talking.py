"""A talking pool says what its truth says, keeps unseen sentences apart, and is finished where it was interrupted."""

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from curation.demo.pool import TRUTH_FILE
from curation.demo.portrait import PortraitView
from curation.demo.sentences import runs_of
from curation.demo.talking import LipTruth, Recipe, load_lips, long_take, recipes_of, talking_pool

pytest.importorskip("espeakng_loader", reason="eSpeak NG (espeakng_loader) is not installed")
pytest.importorskip("skimage", reason="the portrait's photo (scikit-image) is not installed")

SMALL = {"minutes": 0.27, "size": 64, "workers": 1}  # two sources


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[LipTruth]]:
    folder = tmp_path_factory.mktemp("talking")
    return folder, talking_pool(folder, **SMALL)


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def stamps(files: Iterable[Path]) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in files}


def test_heard_and_unheard_sources_lie_in_folders_of_their_own(pool: tuple[Path, list[LipTruth]]) -> None:
    folder, lips = pool
    assert [known.file for known in lips] == ["heard/talk_00000.mp4", "unheard/talk_00001.mp4"]
    assert [known.heard for known in lips] == [True, False]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.suffix != ".json") == [
        known.file for known in lips
    ]


def test_every_frame_has_its_opening(pool: tuple[Path, list[LipTruth]]) -> None:
    """The darkness between the lips is independent of the code that makes the truth."""
    folder, lips = pool
    left, top, width, height = PortraitView(64, 64, "close_up").crop
    x, y = (round((place - start) * 64 / size) for place, start, size in ((226, left, width), (157, top, height)))
    for known in lips:
        frames = decoded(folder / known.file)
        assert len(frames) == len(known.opening)
        mouth = frames[:, y - 4 : y + 5, x - 5 : x + 6].astype(float).mean((1, 2, 3))
        assert np.corrcoef(-mouth, known.opening)[0, 1] > 0.75
        assert max(known.opening) > 0.5


def test_the_truth_is_that_of_a_demo_pool_too(pool: tuple[Path, list[LipTruth]]) -> None:
    folder, lips = pool
    truths = json.loads((folder / TRUTH_FILE).read_text("utf-8"))
    assert [truth["file"] for truth in truths] == [Path(known.file).name for known in lips]
    assert {(t["verdict"], t["face_count"], t["speakers"], t["lips_follow_sound"]) for t in truths} == {
        ("keep", 1, 1, True)
    }
    assert [truth["n_frames"] for truth in truths] == [len(known.opening) for known in lips]


def test_truth_is_read_by_file_name(pool: tuple[Path, list[LipTruth]], tmp_path: Path) -> None:
    folder, lips = pool
    assert load_lips(folder) == {"talk_00000.mp4": lips[0], "talk_00001.mp4": lips[1]}
    assert load_lips(tmp_path) == {}


def test_openings_are_cut_as_frames_are(pool: tuple[Path, list[LipTruth]]) -> None:
    known = pool[1][0]
    assert known.openings(3, 5).tolist() == pytest.approx(list(known.opening[3:8]))
    assert len(known.openings()) == len(known.opening)
    with pytest.raises(ValueError, match="frames 0 to"):
        known.openings(len(known.opening) - 2, 3)


def test_what_is_there_is_kept_and_what_is_missing_or_of_another_recipe_is_made(
    pool: tuple[Path, list[LipTruth]], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    for path in pool[0].rglob("*.*"):
        target = folder / path.relative_to(pool[0])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    before = stamps(folder.rglob("*.mp4"))
    counts: list[tuple[int, int]] = []
    assert talking_pool(folder, **SMALL, progress=lambda *count: counts.append(count)) == pool[1]
    assert stamps(folder.rglob("*.mp4")) == before
    assert counts == [(2, 2)]

    (folder / "unheard/talk_00001.mp4").unlink()  # killed before it was renamed
    (folder / "unheard/talk_00001.mp4.part").write_bytes(b"half")
    known = folder / "lips/talk_00000.json"
    known.write_text(json.dumps({**json.loads(known.read_text("utf-8")), "recipe": "of an older release"}))
    counts.clear()
    assert talking_pool(folder, **SMALL, progress=lambda *count: counts.append(count)) == pool[1]
    assert counts == [(0, 2), (1, 2), (2, 2)]
    assert not list(folder.rglob("*.part"))
    after = stamps(folder.rglob("*.mp4"))
    assert all(after[name] != before[name] for name in before)


@pytest.mark.parametrize("share", [0.12, 0.5, 0.9])
def test_the_share_of_unheard_sources_is_that_asked_for_from_the_second_on(share: float) -> None:
    sides = [recipe.heard for recipe in islice(recipes_of(unheard_share=share), 200)]
    assert sides[:2] == [True, False]
    assert sides.count(False) == pytest.approx(200 * share, abs=1)


def test_all_voices_speak_on_both_sides_and_share_no_five_words() -> None:
    recipes = list(islice(recipes_of(), 100))
    said = {heard: [r for r in recipes if r.heard == heard] for heard in (True, False)}
    assert len({r.voice for r in said[True]}) == len({r.voice for r in said[False]}) == 4
    runs = {heard: {run for r in side for text in r.sentences for run in runs_of(text)} for heard, side in said.items()}
    assert not runs[True] & runs[False]


def test_a_larger_pool_begins_with_the_smaller_one_and_another_seed_is_another_pool() -> None:
    few, more, other = (list(islice(recipes_of(seed=seed), n)) for seed, n in ((0, 10), (0, 30), (1, 10)))
    assert more[:10] == few
    assert not {r.digest for r in few} & {r.digest for r in other}
    assert not {r.sentences for r in few} & {r.sentences for r in other}


def test_all_of_a_recipe_is_in_its_digest() -> None:
    recipe = Recipe("talk", True, ("One.", "Two."), "en-us", 320, 0)
    changes = {"name": "t", "heard": False, "sentences": ("One. Two.",), "voice": "de", "size": 64, "seed": 1}
    digests = {recipe.digest, *(replace(recipe, **{name: value}).digest for name, value in changes.items())}
    assert len(digests) == len(changes) + 1


@pytest.mark.parametrize(("wrong", "words"), [({"size": 63}, "even"), ({"unheard_share": 0.0}, "between 0 and 1")])
def test_a_wrong_size_or_share_is_said(wrong: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        talking_pool(tmp_path, **{**SMALL, **wrong})


@pytest.mark.slow
def test_a_long_take_says_what_no_source_of_the_pool_says(tmp_path: Path) -> None:
    take = long_take(tmp_path, 20.0, sources=4, size=64)
    assert take.file == "unheard/take_20.mp4"
    assert 20 <= len(take.opening) / take.fps < 30, "whole sentences"
    assert len(decoded(tmp_path / take.file)) == len(take.opening)
    heard = {
        run
        for recipe in islice(recipes_of(64), 4)
        if recipe.heard
        for text in recipe.sentences
        for run in runs_of(text)
    }
    assert heard
    assert not heard & set(runs_of(take.text))
    before = stamps(tmp_path.rglob("*.mp4"))
    assert long_take(tmp_path, 20.0, sources=4, size=64) == take
    assert stamps(tmp_path.rglob("*.mp4")) == before


def test_two_processes_make_the_pool_of_one(tmp_path: Path) -> None:
    both = [
        talking_pool(tmp_path / f"{n}", 0.9, size=64, workers=n, progress=lambda made, wanted: None) for n in (1, 2)
    ]
    assert both[0] == both[1]
    for known in both[0]:
        np.testing.assert_allclose(decoded(tmp_path / "1" / known.file), decoded(tmp_path / "2" / known.file), atol=0)

"""The example's network learns from a snapshot what belongs together: pictures that move while something sounds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from catalogs.catalog import Catalog
from tests.catalogs.reading.made_snapshot import Cut, make_snapshot
from tests.support.examples import example
from tests.support.house import ROOT, python
from tests.support.written_media import write_video

FPS, RATE, SECONDS = 25, 16_000, 3


def blinking(path: Path, seed: int) -> Path:
    """Write a file that flickers exactly while a tone sounds, in spells of a fifth of a second drawn by lot."""
    spells = np.random.default_rng(seed).random(SECONDS * 5) < 0.4
    is_on = np.repeat(spells, FPS // 5)
    pictures = [np.full((32, 32, 3), 200 if on and k % 2 else 60, np.uint8) for k, on in enumerate(is_on)]
    tone = 0.5 * np.sin(2 * np.pi * 700 * np.arange(SECONDS * RATE) / RATE) * np.repeat(spells, RATE // 5)
    return write_video(path, pictures, sound=tone.astype(np.float32)[None])


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Eight such files, and one that is too short for the example."""
    folder = tmp_path_factory.mktemp("torch")
    cuts = [Cut(blinking(folder / f"{seed}.mp4", seed)) for seed in range(8)]
    return make_snapshot(folder, [*cuts, Cut(cuts[0].path, 0.0, 1.0)])


def test_it_learns_which_sound_belongs_to_which_pictures(catalog: Catalog) -> None:
    torch.manual_seed(0)
    own, other = example("torch_dataset").learn(catalog.store.url, "v1", steps=30, workers=0)
    assert own < 0.6, "a network that knows nothing has 1.0"
    assert other > own + 0.4


def test_it_runs_from_a_shell(catalog: Catalog) -> None:
    printed = python(ROOT, "examples/torch_dataset.py", catalog.store.url, "v1", 2)
    assert re.match(r"error with its own sound \d\.\d\d, with another clip's \d\.\d\d", printed)

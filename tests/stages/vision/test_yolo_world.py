"""YOLO-World in ultralytics' own checkpoint format, untrained: what is kept of it, what is refused, what it finds."""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from catalogs.errors import UserError
from stages.person_count import YOLO_WORLD, YoloWorldConfig
from stages.vision import yolo_world
from stages.vision.boxes import suppress_overlaps
from stages.vision.yolo_world import YoloWorldDetector, YoloWorldScorer
from tests.support import photo_clips as photos
from tests.support.tiny_weights.tiny_yolo_world import as_input, save_tiny_world

if importlib.util.find_spec("ultralytics") is None:  # not importorskip: the import reads its environment
    pytest.skip("ultralytics is not installed (extra: reference)", allow_module_level=True)
CONFIG = YoloWorldConfig(min_score=0.5, device="cpu", batch_size=2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_world(tmp_path_factory.mktemp("weights") / "yolov8n-worldv2.pt")


def by_hand(path: Path, rgb: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores of class ``row`` of all 80 kept as one: the network itself, decoded here."""
    network = torch.load(path, weights_only=False)["model"].float().eval()
    network.txt_feats = network.txt_feats[:, row : row + 1]
    network.model[-1].nc = 1
    with torch.no_grad():
        (answer, *_) = network(as_input(rgb))
    x, y, width, height, score = answer[0].numpy()
    found = score >= CONFIG.min_score
    boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)[found]
    kept = suppress_overlaps(boxes, score[found], CONFIG.max_iou)[:300]
    return np.clip(boxes[kept], 0, 640), score[found][kept]


def test_it_finds_what_the_network_says_about_a_person(weights: Path) -> None:
    picture = photos.astronaut(640)
    (found,) = YoloWorldDetector(weights, CONFIG).detect([picture])
    boxes, scores = by_hand(weights, picture, row=0)
    assert len(found) == len(scores) > 0
    assert found.scores == pytest.approx(scores, abs=1e-4)
    assert np.abs(found.boxes - boxes).max() < 0.5


def test_a_checkpoint_with_names_is_read_by_name(weights: Path, tmp_path: Path) -> None:
    names = {number: f"thing {number}" for number in range(80)} | {7: "person"}
    named = save_tiny_world(tmp_path / "named.pt", names)
    picture = photos.astronaut(640)
    (found,) = YoloWorldDetector(named, CONFIG).detect([picture])
    _, scores = by_hand(named, picture, row=7)
    assert found.scores == pytest.approx(scores, abs=1e-4)


def test_batches_change_nothing(weights: Path) -> None:
    pictures = [photos.astronaut(), photos.cat(), photos.coffee()]
    together = YoloWorldDetector(weights, CONFIG).detect(pictures)
    alone = YoloWorldDetector(weights, replace(CONFIG, batch_size=1)).detect(pictures)
    for batched, single in zip(together, alone, strict=True):
        assert batched.scores == pytest.approx(single.scores, abs=1e-4)


def test_the_scorer_counts_what_it_finds(weights: Path, tmp_path: Path, installed: Callable[..., None]) -> None:
    installed(**{YOLO_WORLD: weights})
    clip = photos.clip(tmp_path, (photos.astronaut(), 3))
    row = YoloWorldScorer(CONFIG).score(clip)
    assert row.status == "ok"
    assert row.person_count_max > 0
    assert row.person_visible_ratio == 1
    assert CONFIG.min_score <= row.person_score_min <= 1
    nothing = YoloWorldScorer(replace(CONFIG, min_score=1.0)).score(clip)
    assert (nothing.person_count_max, nothing.person_score_min) == (0, None)


# --- what is refused --------------------------------------------------------------------------------------------------


class Evil:
    """What a pickle can do: run code when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.target}",)


def test_a_checkpoint_with_code_in_it_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    bad = save_tiny_world(tmp_path / "evil.pt", extra=Evil(tmp_path / "owned"))
    with pytest.raises(UserError, match=r"weights evil\.pt are refused"):
        yolo_world.load(bad)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps({"model": None})])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"weights bad\.pt are refused"):
        yolo_world.load(tmp_path / "bad.pt")


def test_an_untrained_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="carry no text vectors"):
        yolo_world.load(save_tiny_world(tmp_path / "raw.pt", vectors=torch.randn(1, 80, 512)))


def test_a_network_that_knows_no_persons_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"knows cat 0, .*expected 'person'"):
        yolo_world.load(save_tiny_world(tmp_path / "cats.pt", {number: f"cat {number}" for number in range(80)}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_half_precision_needs_a_gpu(weights: Path) -> None:
    with pytest.raises(UserError, match="'half' needs a GPU"):
        YoloWorldDetector(weights, replace(CONFIG, half=True))


# --- a process of its own ---------------------------------------------------------------------------------------------

IN_ITS_OWN_PROCESS = """
import sys
from pathlib import Path
from catalogs.errors import UserError
from stages.vision import yolo_world
try:
    if sys.argv[2] == "early":
        import ultralytics.nn.tasks
    yolo_world.load(Path(sys.argv[1]))
except UserError as error:
    print(error)
assert "clip" not in sys.modules and "ultralytics.nn.text_model" not in sys.modules
"""


def in_its_own_process(weights: Path, home: Path, when: str) -> subprocess.CompletedProcess[str]:
    ours = ("YOLO_", "ULTRALYTICS_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    if when == "early":
        environment["YOLO_CONFIG_DIR"] = str(home)
    command = [sys.executable, "-c", IN_ITS_OWN_PROCESS, str(weights), when]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_nothing_is_written_into_the_home_folder_and_nothing_is_printed(weights: Path, tmp_path: Path) -> None:
    done = in_its_own_process(weights, tmp_path, "ours")
    written = [path for path in tmp_path.rglob("*") if path.is_file() and ".onnxruntime" not in path.parts]
    assert written == []  # onnxruntime keeps a device id of its own in ~/.cache/Microsoft
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_code_does_not_run_where_ultralytics_was_imported_before_either(tmp_path: Path) -> None:
    bad = save_tiny_world(tmp_path / "evil.pt", extra=Evil(tmp_path / "owned"))
    assert "weights evil.pt are refused" in in_its_own_process(bad, tmp_path, "early").stdout
    assert not (tmp_path / "owned").exists()

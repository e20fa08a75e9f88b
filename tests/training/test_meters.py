"""What a training notes survives a kill, and what is shown is short."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.config import TrainConfig
from training.heldout import HeldoutFacts
from training.meters import METRICS, Meters, peak_flops, read_metrics
from training.steps import StepFacts
from training.watch import LineWatch, Plain, duration

PACE = {"clips_per_s": 2.0, "step_s": 3.0, "mfu": 0.25, "processes": 1}
HELD = HeldoutFacts(own=0.5, gap=0.1, lips_own=0.4, lips_gap=0.3, heard=1.0, gaps=(0.2, 0.4), clips=2)


def _facts(step: int, lips: float = 0.2) -> StepFacts:
    return StepFacts(step, 0.5, 0.4, lips, (math.nan, 0.1, 0.2, 0.3, 0.4), 1.5, 1e-3)


def test_a_resumed_training_takes_back_the_steps_that_it_does_again(tmp_path: Path) -> None:
    first = Meters(tmp_path, 0)
    for step in range(6):
        first.train(_facts(step), PACE)
    first.heldout(4, HELD)  # after four steps, before the checkpoint of step 4
    first.heldout(6, HELD)
    first.close()
    with open(tmp_path / METRICS, "a", encoding="utf-8") as handle:
        handle.write('{"kind": "train", "step": 6, "joi')  # killed in the middle of a line
    second = Meters(tmp_path, 4)
    second.train(_facts(4), PACE)
    second.close()
    lines = read_metrics(tmp_path / METRICS)
    assert [line["step"] for line in lines if line["kind"] == "train"] == [0, 1, 2, 3, 4]
    assert [line["step"] for line in lines if line["kind"] == "heldout"] == [4]


def test_what_is_no_number_is_null_and_no_point(tmp_path: Path) -> None:
    meters = Meters(tmp_path, 0)
    meters.train(_facts(0, lips=math.nan), PACE)
    meters.heldout(1, HELD)
    meters.close()
    line = json.loads((tmp_path / METRICS).read_text().splitlines()[0])
    assert line["lips"] is None
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    tags = set(board.Tags()["scalars"])
    assert {"loss/joint", "loss_by_noise/0.2-0.4", "heldout/lips_gap", "pace/mfu"} <= tags
    assert not {"loss/lower_face", "loss_by_noise/0.0-0.2"} & tags


def test_the_peak_is_what_was_given_or_what_a_product_reaches() -> None:
    assert peak_flops(torch.device("cpu"), 2.5) == 2.5e12
    assert 1e9 < peak_flops(torch.device("cpu")) < 1e14


def test_lines_say_how_long_it_takes_and_whether_the_model_hears() -> None:
    lines: list[str] = []
    watch = LineWatch(lines.append, every_s=1000)
    plain = Plain(2_000, 100, 40, 8, 10, 0, 1, "cpu")
    watch.begins(TrainConfig(steps=100), plain)
    for step in (0, 1, 2, 99):
        watch.stepped(_facts(step), PACE)
    watch.looked(100, HELD)
    assert lines[0].startswith(
        "model tiny: 2,000 weights, 100 trained; 40 clips to train on (10 steps an epoch), 8 held"
    )
    assert lines[1] == "step 1/100: loss 0.5000, lower face 0.2000, 2.00 clips/s, MFU 25.0%, 5 min left"
    assert lines[2].startswith("step 100/100: ")  # those between come sooner than every_s
    assert "the held-out loss is +10.0% (+30.0% on the lower face); 100% of 2 clips tell their own" in lines[3]


def test_a_training_without_held_out_clips_is_warned() -> None:
    lines: list[str] = []
    LineWatch(lines.append).begins(TrainConfig(), Plain(1, 1, 4, 1, 1, 3, 2, "cpu"))
    assert "nothing will show whether the model hears" in lines[1]
    assert lines[2] == "goes on after step 3"


@pytest.mark.parametrize(("seconds", "words"), [(12, "12 s"), (100, "2 min"), (3600 * 2 + 300, "2 h 05 min")])
def test_durations_are_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words

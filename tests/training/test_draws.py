"""What is drawn for a clip depends on seed, step and place only, and comes as often as the config says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import kstest

from training.config import CurriculumStage, DataConfig, DropsConfig, FlowConfig, LossConfig, TrainConfig
from training.draws import draw, key_of, noise_of

N = 4000


def _drawn(config: TrainConfig) -> list:
    return [draw(config, step, place) for step in range(N // 4) for place in range(4)]


def test_the_same_key_gives_the_same_draw_and_noise_whatever_came_before() -> None:
    config = TrainConfig(seed=3)
    first = draw(config, 17, 2)
    torch.rand(5), np.random.rand(5)
    assert draw(config, 17, 2) == first
    assert draw(config, 17, 3) != first
    assert draw(TrainConfig(seed=4), 17, 2) != first
    assert torch.equal(noise_of(first.noise_key, (4, 5)), noise_of(first.noise_key, (4, 5)))


def test_a_key_is_the_same_on_every_machine() -> None:
    assert key_of(0, "noise", 12, 3) == 6115382355551069993  # blake2b; Python's own hash differs between processes


def test_conditions_are_dropped_as_often_as_asked_and_together_as_often_as_asked() -> None:
    drops = DropsConfig(audio=0.15, text=0.2, reference=0.1, everything=0.05)
    drawn = _drawn(TrainConfig(drops=drops))
    audio, text, reference = (
        np.array([getattr(one, name) for one in drawn]) for name in ("drops_audio", "drops_text", "drops_reference")
    )
    for measured, rate in ((audio, 0.15), (text, 0.2), (reference, 0.1)):
        assert measured.mean() == pytest.approx(0.05 + 0.95 * rate, abs=0.02)
    together = 0.05 + 0.95 * 0.15 * 0.2 * 0.1
    assert (audio & text & reference).mean() == pytest.approx(together, abs=0.012)


def test_tasks_come_as_the_curriculum_mixes_them() -> None:
    stages = (CurriculumStage("audio", N // 8, audio=1, image=0, video=0), CurriculumStage("joint", 1, 0, 3, 1))
    tasks = [one.task for one in _drawn(TrainConfig(curriculum=stages))]
    assert set(tasks[: N // 2]) == {"audio"}
    assert tasks[N // 2 :].count("image") / (N // 2) == pytest.approx(0.75, abs=0.03)
    assert "audio" not in tasks[N // 2 :]


def test_gates_and_middle_windows_come_as_often_as_asked() -> None:
    drawn = _drawn(TrainConfig(loss=LossConfig(p_mask=0.3), data=DataConfig(middle_share=0.6)))
    assert np.mean([one.lips_only for one in drawn]) == pytest.approx(0.3, abs=0.03)
    assert np.mean([one.is_middle for one in drawn]) == pytest.approx(0.6, abs=0.03)


def test_noise_levels_have_the_distribution_that_is_named() -> None:
    uniform = [one.level for one in _drawn(TrainConfig(flow=FlowConfig(levels="uniform")))]
    assert kstest(uniform, "uniform").pvalue > 0.001
    normal = [one.level for one in _drawn(TrainConfig(flow=FlowConfig(mean=0.5, std=1.2)))]
    expected = expit(0.5 + 1.2 * np.random.default_rng(0).standard_normal(N))
    assert kstest(normal, expected).pvalue > 0.001


def test_a_shift_moves_levels_towards_noise_by_its_formula() -> None:
    plain = [one.level for one in _drawn(TrainConfig(flow=FlowConfig(levels="uniform")))]
    moved = [one.level for one in _drawn(TrainConfig(flow=FlowConfig(levels="uniform", shift=3.0)))]
    np.testing.assert_allclose(moved, [3 * t / (1 + 2 * t) for t in plain], rtol=1e-9)


def test_few_step_levels_are_those_of_the_sampling_schedule() -> None:
    levels = {one.level for one in _drawn(TrainConfig(flow=FlowConfig(levels="few_steps", steps=4)))}
    assert sorted(levels) == pytest.approx([0.25, 0.5, 0.75, 1.0])

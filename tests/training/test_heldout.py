"""The early meter tells a model that hears from one that does not, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.tiny_training import config, latents_in
from training.clips import open_clips
from training.heldout import LEVELS, Heldout
from training.network import make_network
from training.parallel import Group

GROUP = Group(0, 1, torch.device("cpu"))


class _Oracle(torch.nn.Module):
    """Answers with the true velocity of the held-out clips where it hears their own sound, with nothing elsewhere."""

    def __init__(self, heldout: Heldout, share_heard: float = 1.0) -> None:
        super().__init__()
        self._known = [batch for _, batch in heldout._pairs]
        self._share = share_heard

    def forward(self, hidden_states, audio, **_):
        for number, batch in enumerate(self._known):
            if torch.equal(audio, batch.audio):
                answer = batch.noise - batch.latents
                is_own = torch.arange(len(audio)) < len(LEVELS)
                if number >= self._share * len(self._known):
                    is_own[:] = True
                return (torch.where(is_own.view(-1, 1, 1, 1, 1), answer + 0.1, answer + 0.5),)
        raise AssertionError("not a batch of this meter")


def _heldout(tmp_path: Path) -> Heldout:
    latents_in(tmp_path)
    return Heldout(open_clips(config(tmp_path).data, 0), GROUP, torch.float32)


def test_a_model_that_hears_shows_a_gap_on_every_clip(tmp_path: Path) -> None:
    heldout = _heldout(tmp_path)
    facts = heldout.look(_Oracle(heldout))  # type: ignore[arg-type]
    assert facts.clips == len(heldout) == 4
    assert facts.own == pytest.approx(0.01, rel=1e-4)
    assert facts.gaps == pytest.approx([24.0] * 4, rel=1e-3)  # 0.25 against 0.01
    assert facts.heard == 1.0


def test_the_share_of_clips_that_tell_their_own_sound_is_counted(tmp_path: Path) -> None:
    heldout = _heldout(tmp_path)
    assert heldout.look(_Oracle(heldout, 0.5)).heard == 0.5  # type: ignore[arg-type]


def test_a_new_model_hears_nothing_and_the_look_leaves_it_as_it_was(tmp_path: Path) -> None:
    heldout = _heldout(tmp_path)
    settings = config(tmp_path)
    network = make_network(settings, open_clips(settings.data, 0))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.random.get_rng_state()
    facts = heldout.look(network)
    assert facts.gap == pytest.approx(0, abs=1e-6)  # the audio branch ends in zeros
    assert facts.lips_gap == pytest.approx(0, abs=1e-6)
    assert heldout.look(network) == facts
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_processes_that_share_the_work_find_the_same(tmp_path: Path) -> None:
    latents_in(tmp_path)
    settings = config(tmp_path)
    clips = open_clips(settings.data, 0)
    network = make_network(settings, clips)
    for block in network.blocks:  # make it hear something
        torch.nn.init.normal_(block.attn_audio.to_out[0].weight, std=0.3, generator=torch.Generator().manual_seed(1))
    whole = Heldout(clips, GROUP, torch.float32).look(network)

    class Shared(Group):
        def sum(self, values: torch.Tensor) -> torch.Tensor:
            parts.append(values)
            return values

    parts: list[torch.Tensor] = []
    for rank in range(3):
        Heldout(clips, Shared(rank, 3, torch.device("cpu")), torch.float32).look(network)
    assert torch.stack(parts).sum(0)[:, 0].mean().item() == pytest.approx(whole.own, rel=1e-6)
    assert whole.lips_gap != 0


def test_with_one_clip_there_is_no_other_sound(tmp_path: Path) -> None:
    latents_in(tmp_path)
    settings = config(tmp_path, data={"heldout": {"where": f"clip_id = 'c{1:032x}'"}})
    assert len(Heldout(open_clips(settings.data, 0), GROUP, torch.float32)) == 0

"""Two processes compute what one does: with the weights shared out (FSDP2) and with the sequence split (Ulysses)."""

from pathlib import Path

import pytest
import torch

from tests.support.wan_bases import inputs, small_model
from tests.support.wan_processes import WORLD, sample, start, train


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what two processes computed."""
    folder = tmp_path_factory.mktemp("processes")
    start(folder)
    return folder


def test_training_on_two_processes_equals_training_on_one(done: Path) -> None:
    two = torch.load(done / "weights.pt")
    one = small_model(image=True)
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    train(one, lambda step: [WORLD * step, WORLD * step + 1])
    after = one.state_dict()
    assert set(two) == set(after)
    assert max((two[name] - after[name]).abs().max().item() for name in two) < 1e-6
    assert max((after[name] - before[name]).abs().max().item() for name in two) > 1e-3


def test_sharded_in_bfloat16_positions_keep_their_precision(done: Path) -> None:
    rough = torch.load(done / "output.pt").float()
    with torch.no_grad():
        exact = small_model(image=True)(**sample(0)).sample
    assert (rough - exact).norm() < 0.02 * exact.norm()


def test_the_split_sequence_gives_the_same_output_with_a_cache_too(done: Path) -> None:
    model = small_model(image=True)
    with torch.no_grad():
        expected = model(**inputs(image=True)).sample
    for rank in range(WORLD):
        found = torch.load(done / f"split-{rank}.pt")
        assert set(found["lengths"]) == {64 // WORLD}
        assert (found["plain"] - expected).abs().max() < 1e-6
        for output in found["cached"]:
            assert (output - expected).abs().max() < 1e-6

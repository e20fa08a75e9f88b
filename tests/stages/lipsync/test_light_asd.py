"""Our Light-ASD has the published shapes, takes the published weights and gives the same numbers in pieces."""

from pathlib import Path

import numpy as np
import pytest
import torch

from catalogs.errors import UserError
from stages.lipsync.light_asd import CHUNK, LightAsd, Network
from weights import registry

VISUAL_MEAN, PICTURE_LOGIT, TALKING_LOGIT = 0.43238, 0.2542, 0.9676  # of finetuning_TalkSet.model


@pytest.fixture(scope="module")
def public() -> LightAsd:
    path = registry.find("light_asd_talkset")
    if path is None:
        pytest.skip("Light-ASD's weights are not in FUNNEL_WEIGHTS or the cache")
    return LightAsd(path)


def crops(n: int) -> np.ndarray:
    """uint8 [n, 112, 112]: a bar that moves up and down."""
    y = np.arange(112)[None, :, None]
    centre = 60 + 20 * np.sin(np.arange(n) / 3)[:, None, None]
    return (255 * np.exp(-(((y - centre) / 8) ** 2)) * np.ones((1, 1, 112))).astype(np.uint8)


def test_shapes_with_random_weights() -> None:
    torch.manual_seed(0)
    network = LightAsd(None)
    visual = network.encode_picture(crops(30))
    audio = network.encode_sound(np.zeros((120, 13), np.float32))
    assert visual.shape == audio.shape == (30, 128)
    assert network.picture_logit(visual).shape == network.talking_logit(visual, audio).shape == (30,)


def test_it_has_the_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in Network().parameters()) == pytest.approx(1.03e6, rel=0.01)


def test_pieces_give_the_numbers_of_one_pass(public: LightAsd) -> None:
    n = CHUNK + 25
    together, apart = public.encode_picture(crops(n)), public.encode_picture(crops(n)[: CHUNK + 10])
    np.testing.assert_allclose(together[:CHUNK], apart[:CHUNK], atol=1e-4)


def test_public_weights_give_a_fixed_number(public: LightAsd) -> None:
    visual = public.encode_picture(crops(20))
    audio = public.encode_sound(np.linspace(-10, 10, 80 * 13, dtype=np.float32).reshape(80, 13))
    assert float(visual.mean()) == pytest.approx(VISUAL_MEAN, rel=1e-3)
    assert float(public.picture_logit(visual).mean()) == pytest.approx(PICTURE_LOGIT, abs=5e-3)
    assert float(public.talking_logit(visual, audio).mean()) == pytest.approx(TALKING_LOGIT, abs=5e-3)


def test_a_file_with_other_parameters_is_the_users_mistake(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.model")
    with pytest.raises(UserError, match="Light-ASD"):
        LightAsd(tmp_path / "other.model")

"""Which declared shapes are those of an expected network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import UserError
from tests.support import tiny_onnx
from weights.inspection.onnx_file import Signature, inspect

SIZE = (112, 96)  # width, height


def network(path: Path, **outputs: tuple[int, ...]) -> Path:
    return tiny_onnx.constant_outputs(path, SIZE, {name: np.zeros(shape) for name, shape in outputs.items()})


def expected(*outputs: tuple, image: tuple = (None, 3, 96, 112)) -> Signature:
    return Signature("Example", image, outputs)


def test_named_sizes_must_agree_and_open_ones_need_not(tmp_path: Path) -> None:
    path = network(tmp_path / "network.onnx", boxes=(1, 50, 4), scores=(50, 1))
    inspect(path, expected((1, 50, 4), (50, 1)))
    inspect(path, expected((None, None, 4), (..., 1), image=(1, 3, None, None)))
    inspect(path, expected((..., 4), (..., 50, 1)))


@pytest.mark.parametrize(
    "signature",
    [
        expected((1, 50, 4)),
        expected((1, 50, 4), (50, 1), (50, 10)),
        expected((50, 1), (1, 50, 4)),
        expected((1, 50, 4), (50, 2)),
        expected((50, 4), (50, 1)),
        expected((1, 50, 4), (50, 1), image=(None, 3, 112, 96)),
        expected((1, 50, 4), (50, 1), image=(3, 96, 112)),
    ],
)
def test_other_shapes_are_told_in_one_line(tmp_path: Path, signature: Signature) -> None:
    path = network(tmp_path / "network.onnx", boxes=(1, 50, 4), scores=(50, 1))
    told = r"network.onnx holds a network of \[1, 3, 96, 112\] to \[1, 50, 4\] \[50, 1\]; expected Example, \["
    with pytest.raises(UserError, match=told) as caught:
        inspect(path, signature)
    assert "\n" not in str(caught.value)


def test_a_size_with_a_name_agrees_with_every_number(tmp_path: Path) -> None:
    inspect(tiny_onnx.arcface(tmp_path / "w600k_r50.onnx"), Signature("ArcFace", (7, 3, 112, 112), ((..., 512),)))

"""Networks stored in 8 bits."""

from __future__ import annotations

import numpy as np
import pytest

from stages.runtime.tflite import TfliteModel, unpacked


def test_constants_go_back_where_they_were_cut_out(tmp_path):
    np.savez(
        tmp_path / "net.npz",
        rest=np.frombuffer(b"abcdef", np.uint8),
        spans=np.asarray([[2, 6], [8, 10]]),
        codes=np.asarray([127, -2, 4], np.int8),
        runs=np.asarray([1, 2], np.uint8),
        scales=np.asarray([1, 0.5], np.float16),
    )
    first, second = (np.asarray(values, "<f2").tobytes() for values in ([127, -1], [2]))
    assert unpacked(tmp_path / "net.npz") == b"ab" + first + b"cd" + second + b"ef"


@pytest.mark.parametrize(("name", "shape"), [("pose_detector", (1, 224, 224, 3)), ("pose_landmarks", (1, 256, 256, 3))])
def test_the_packed_networks_open(weight, name, shape):
    assert unpacked(weight(name))[4:8] == b"TFL3"
    assert TfliteModel(weight(name)).input_shape == shape

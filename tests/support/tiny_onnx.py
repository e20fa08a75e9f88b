"""Tiny networks have the inputs and outputs of the published files, but constants or a few weights inside.

So their results are known without running them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
FLOAT = onnx.TensorProto.FLOAT
STRIDES = (8, 16, 32)


def _save(path: Path, nodes: list, inputs: list, outputs: list, constants: dict[str, np.ndarray]) -> Path:
    stored = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "tiny", inputs, outputs, stored)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def constant_outputs(path: Path, size: tuple[int, int], outputs: dict[str, np.ndarray]) -> Path:
    """Save a network [1, 3, height, width] that answers the same to every picture. ``size``: width, height."""
    image = onnx.helper.make_tensor_value_info("input", FLOAT, [1, 3, size[1], size[0]])
    nodes = [onnx.helper.make_node("ReduceMean", ["input"], ["mean"], axes=[0, 1, 2, 3], keepdims=0)]
    nodes += [onnx.helper.make_node("Mul", ["mean", "zero"], ["nothing"])]  # onnxruntime keeps inputs that are used
    nodes += [onnx.helper.make_node("Add", [f"{name}_is", "nothing"], [name]) for name in outputs]
    told = [onnx.helper.make_tensor_value_info(name, FLOAT, list(value.shape)) for name, value in outputs.items()]
    constants = {f"{name}_is": value.astype(np.float32) for name, value in outputs.items()}
    return _save(path, nodes, [image], told, {**constants, "zero": np.float32(0)[()] * np.ones((), np.float32)})


def scrfd(path: Path, faces: list[tuple[int, int, np.ndarray, float]], size: int = 640) -> Path:
    """Save SCRFD with five points: nine outputs.

    Args:
        faces: (x cell, y cell, points [5, 2] px, score) on the stride of 32; each box reaches two strides to every side
            of its cell.
    """
    outputs: dict[str, np.ndarray] = {}
    cells = {stride: (size // stride) ** 2 * 2 for stride in STRIDES}
    for kind, values in (("score", 1), ("box", 4), ("points", 10)):
        for stride in STRIDES:
            outputs[f"{kind}{stride}"] = np.zeros((cells[stride], values), np.float32)
    for x, y, points, score in faces:
        anchor = 2 * (y * (size // 32) + x)
        outputs["score32"][anchor] = score
        outputs["box32"][anchor] = 2.0
        outputs["points32"][anchor] = ((points - np.asarray([32 * x, 32 * y])) / 32).reshape(-1)
    return constant_outputs(path, (size, size), outputs)


def landmarks_3d(path: Path, points: np.ndarray) -> Path:
    """Save 1k3d68: 3309 numbers, of which the last 204 are the 68 points, -1..1 across the crop of 192."""
    answer = np.zeros((1, 3309), np.float32)
    answer[0, -204:] = points.reshape(-1)
    return constant_outputs(path, (192, 192), {"fc1": answer})


def arcface(path: Path) -> Path:
    """Save w600k_r50, [1, 3, 112, 112] to [1, 512]: the first 512 of the means of the crop's squares of 8 pixels."""
    image = onnx.helper.make_tensor_value_info("input.1", FLOAT, ["None", 3, 112, 112])
    nodes = [
        onnx.helper.make_node("AveragePool", ["input.1"], ["means"], kernel_shape=[8, 8], strides=[8, 8]),
        onnx.helper.make_node("Flatten", ["means"], ["flat"]),
        onnx.helper.make_node("Slice", ["flat", "from", "to", "axis"], ["683"]),
    ]
    told = onnx.helper.make_tensor_value_info("683", FLOAT, [1, 512])
    ends = {"from": np.asarray([0]), "to": np.asarray([512]), "axis": np.asarray([1])}
    return _save(path, nodes, [image], [told], ends)


def yolox(path: Path, finds: list[tuple[tuple[float, float, float, float], int, float]], size: int = 640) -> Path:
    """Save yolox_l: [1, 8400, 85] before its grid is decoded.

    Args:
        finds: (box x0 y0 x1 y1 in input pixels, class, score).
    """
    answer = np.zeros((1, sum((size // stride) ** 2 for stride in STRIDES), 85), np.float32)
    first = answer.shape[1] - (size // 32) ** 2
    for (x0, y0, x1, y1), kind, score in finds:
        column, row = int((x0 + x1) / 2 / 32), int((y0 + y1) / 2 / 32)
        cell = answer[0, first + row * (size // 32) + column]
        cell[:4] = (x0 + x1) / 64 - column, (y0 + y1) / 64 - row, np.log((x1 - x0) / 32), np.log((y1 - y0) / 32)
        cell[4], cell[5 + kind] = 1.0, score
    return constant_outputs(path, (size, size), {"output": answer})


def dwpose(path: Path, points: np.ndarray, scores: np.ndarray, size: tuple[int, int] = (288, 384)) -> Path:
    """Save dw-ll_ucoco_384: SimCC over half pixels, [1, 133, 576] and [1, 133, 768].

    Args:
        points: [133, 2] input pixels.
    """
    outputs = {}
    for axis, (name, length) in enumerate(zip(("simcc_x", "simcc_y"), size, strict=True)):
        answer = np.zeros((1, 133, 2 * length), np.float32)
        answer[0, np.arange(133), np.rint(2 * points[:, axis]).astype(int)] = scores
        outputs[name] = answer
    return constant_outputs(path, size, outputs)

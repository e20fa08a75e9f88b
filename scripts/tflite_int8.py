"""A TensorFlow Lite network with half-precision convolution kernels is packed into the 8-bit form of
``stages/runtime/tflite.py``.

The TensorFlow Lite file format has 8-bit kernels too, but the CPU kernels then leave its fast path (measured: pose
landmarks 33 ms instead of 15 ms). So the kernels are cut out of the file and put back, as half precision, on opening.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema

MIN_VALUES = 16_384  # smaller kernels stay in half precision, because the first layers tolerate the least error
GROUP = 64  # values that share a scale, within one output channel
SMALLEST_SCALE = 2.0**-14  # of the normal half-precision numbers
OPERATORS = schema.BuiltinOperator


def packed(content: bytes) -> bytes:
    """Return the network as ``.npz``: kernels of its plain convolutions as int8 with a scale for every 64 values."""
    data = np.frombuffer(content, np.uint8)
    kept = np.ones(len(data), bool)
    spans, codes, runs, scales = [], [], [], []
    for span, lengths in kernels(data):
        values = data[span].view(np.float16).astype(np.float32)
        lengths = np.concatenate([_groups(n) for n in lengths])
        largest = np.maximum.reduceat(np.abs(values), np.cumsum(lengths) - lengths)
        scale = np.maximum(largest / 127, SMALLEST_SCALE).astype(np.float16)
        steps = np.round(values / np.repeat(scale.astype(np.float32), lengths))
        codes.append(np.clip(steps, -127, 127).astype(np.int8))
        spans.append((span.start, span.stop))
        runs.append(lengths)
        scales.append(scale)
        kept[span] = False
    file = io.BytesIO()
    np.savez(
        file,
        rest=data[kept],
        spans=np.asarray(spans, np.int64),
        codes=np.concatenate(codes),
        runs=np.concatenate(runs).astype(np.uint8),
        scales=np.concatenate(scales),
    )
    return file.getvalue()


def _groups(n: int) -> np.ndarray:
    """Return the lengths of the groups into which ``n`` values are divided."""
    return np.asarray([GROUP] * (n // GROUP) + [n % GROUP] * bool(n % GROUP), np.int64)


def kernels(data: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Find where the kernels lie in the file, first to last, and how many values each output channel has there."""
    model = schema.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    made_from = {}
    found = {}
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if kind in (OPERATORS.DEQUANTIZE, OPERATORS.DENSIFY):
            made_from[operator.Outputs(0)] = operator.Inputs(0)
        elif kind == OPERATORS.CONV_2D:
            index = operator.Inputs(1)
            while index in made_from:
                index = made_from[index]
            tensor = graph.Tensors(index)
            values = model.Buffers(tensor.Buffer()).DataAsNumpy()
            if tensor.Type() == schema.TensorType.FLOAT16 and len(values) // 2 >= MIN_VALUES:
                start = values.__array_interface__["data"][0] - data.__array_interface__["data"][0]
                found[start] = slice(start, start + len(values)), channel_lengths(tensor, len(values) // 2)
    return (found[start] for start in sorted(found))


def channel_lengths(tensor: schema.Tensor, n_values: int) -> np.ndarray:
    """Count the stored values per output channel (axis 0); a sparse tensor leaves zeros out."""
    channels = tensor.Shape(0)
    sparsity = tensor.Sparsity()
    if sparsity is None:
        return np.full(channels, n_values // channels)
    if sparsity.BlockMapLength() or list(sparsity.TraversalOrderAsNumpy()) != [0, 1, 2, 3] or tensor.Shape(1) != 1:
        raise NotImplementedError(f"{tensor.Name()}: sparse in another way than row by row")
    rows = sparsity.DimMetadata(3)
    vector = {
        schema.SparseIndexVector.Int32Vector: schema.Int32Vector,
        schema.SparseIndexVector.Uint16Vector: schema.Uint16Vector,
        schema.SparseIndexVector.Uint8Vector: schema.Uint8Vector,
    }[rows.ArraySegmentsType()]()
    segments = rows.ArraySegments()
    vector.Init(segments.Bytes, segments.Pos)
    lengths = np.diff(vector.ValuesAsNumpy().astype(np.int64))
    if lengths.sum() != n_values or len(lengths) != channels:
        raise ValueError(f"{tensor.Name()}: {lengths.sum()} values in {len(lengths)} rows, stored {n_values}")
    return lengths

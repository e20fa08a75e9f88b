"""An ONNX file is recognised by the shapes of its inputs and outputs, as the file declares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any

from catalogs.errors import UserError

#: The size of each dimension; None allows any size, ``...`` at the beginning any number of dimensions.
Shape = tuple[int | EllipsisType | None, ...]


@dataclass(frozen=True)
class Signature:
    """Describes a network by the shapes of its input and outputs.

    Attributes:
        what: the network's name, for messages.
        input: the shape of its one input.
        outputs: the shapes of its outputs, in order.
    """

    what: str
    input: Shape
    outputs: tuple[Shape, ...]


def inspect(path: Path, expected: Signature) -> None:
    """Read the graph and compare its shapes; a size or rank that the file leaves open agrees with everything.

    Raises:
        UserError: the file is no ONNX file, is damaged, or holds another network.
    """
    inputs, outputs = _declared(path, expected.what)
    if not _agree(inputs, (expected.input,)) or not _agree(outputs, expected.outputs):
        raise UserError(
            f"{path} holds a network of {_text(inputs)} to {_text(outputs)}; "
            f"expected {expected.what}, {_text([expected.input])} to {_text(expected.outputs)}"
        )


def _declared(path: Path, what: str) -> tuple[list[Sequence[Any]], list[Sequence[Any]]]:
    """Read the shapes of inputs and outputs; a size that is left open is a name or None."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # the network is not run
    options.log_severity_level = 4  # the error below says what is wrong
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base of their own
        detail = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no ONNX file or a damaged one ({detail}); expected {what}") from error
    return [node.shape for node in session.get_inputs()], [node.shape for node in session.get_outputs()]


def _agree(declared: Sequence[Sequence[Any]], expected: Sequence[Shape]) -> bool:
    return len(declared) == len(expected) and all(map(_fits, declared, expected))


def _fits(declared: Sequence[Any], expected: Shape) -> bool:
    if not declared:  # the rank is left open
        return True
    if expected[0] is ...:
        expected = expected[1:]
        declared = declared[-len(expected) :]
    if len(declared) != len(expected):
        return False
    pairs = zip(declared, expected, strict=True)
    return all(not isinstance(size, int) or wanted is None or size == wanted for size, wanted in pairs)


def _text(shapes: Sequence[Sequence[Any]]) -> str:
    """Write shapes as ``[?, 3, 112, 112]``, at most nine of them."""
    return " ".join(f"[{', '.join(map(_size, shape))}]" for shape in shapes[:9])


def _size(size: object) -> str:
    if size is ...:
        return "..."
    return str(size) if isinstance(size, int) else "?"

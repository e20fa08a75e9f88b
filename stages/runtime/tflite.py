"""A TensorFlow Lite network (the form in which MediaPipe publishes its networks) is opened for one CPU thread.

A ``.npz`` is such a file with its largest constants stored in 8 bits (scripts/tflite_int8.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


class TfliteModel:
    """Runs a network with one input; calling it returns the outputs in the order of the file."""

    def __init__(self, path: Path) -> None:
        content = unpacked(path) if path.suffix == ".npz" else path.read_bytes()
        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]
        self.input_shape: tuple[int, ...] = tuple(int(n) for n in self._input["shape"])

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        """Run the network on one float32 array of ``input_shape``; the outputs are copies."""
        self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(values, np.float32))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def unpacked(path: Path) -> bytes:
    """Return the TensorFlow Lite file that the ``.npz`` holds, with its constants in half precision again."""
    with np.load(path) as stored:
        scales = np.repeat(stored["scales"].astype(np.float32), stored["runs"])
        values = (stored["codes"] * scales).astype("<f2").view(np.uint8)
        rest, spans = stored["rest"], stored["spans"]
    content = np.empty(len(rest) + len(values), np.uint8)
    is_value = np.zeros(len(content), bool)
    for start, end in spans:
        is_value[start:end] = True
    content[is_value], content[~is_value] = values, rest
    return content.tobytes()

"""An ONNX network is opened for one CPU thread.

Workers are processes, one per core, so a session with several threads would only slow down its neighbours. The CPU
arena is off: it keeps the largest block that it ever needed for as long as the session lives.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

PROVIDER = "CPUExecutionProvider"


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open a session on one CPU thread, for networks with more than one input.

    Raises:
        RuntimeError: onnxruntime would run the network on another device than asked.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
    if session.get_providers() != [PROVIDER]:
        raise RuntimeError(f"{path.name} runs on {session.get_providers()}, expected {PROVIDER} only")
    return session


class OnnxModel:
    """Runs a network with one input; calling it returns the outputs in the order of the file."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)
        self._input = self._session.get_inputs()[0]
        #: Names are those of the file; a network made by ``scripts/build_weights.py`` has fixed sizes.
        self.input_shape: tuple[int, ...] = tuple(self._input.shape)

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        """Run the network on one float32 array of ``input_shape``."""
        return self._session.run(None, {self._input.name: np.ascontiguousarray(values, np.float32)})

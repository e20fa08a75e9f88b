"""The encoders of precompute and of on-the-fly training are chosen by name and loaded here.

Every worker loads them itself, and says by their digests which they are: latents of other encoders are never mixed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from catalogs.errors import UserError
from model.audio import AudioEncoder, LogMelAudio, WhisperAudio
from model.codecs import load_codec
from model.codecs.codec import Codec
from model.errors import ModelError
from model.image import ClipImage
from model.text import HashedText, TextEncoder, Umt5Text
from stages.runtime.device import torch_device
from stages.vision.face_landmarks import load_landmarks
from training.encode import VERSION, ClipEncoder
from training.encode_config import EncodeConfig
from weights import registry

WHISPER = "whisper_base"
AUDIO = ("auto", "whisper", "log_mel")
HASHED = "hashed"


@dataclass(frozen=True)
class Encoders:
    """Says which encoders are wanted.

    Attributes:
        audio: ``whisper`` (Whisper base), ``log_mel`` (a stand-in that needs no weights), or ``auto``: Whisper where
            its weights are installed.
        text: ``hashed`` (a stand-in for the preset ``tiny``), or the folder of a UMT5 encoder.
        device: auto, cpu or cuda.
        image: the folder of a Wan image-to-video model whose CLIP encodes the reference; empty: no image tokens.
    """

    audio: str = "auto"
    text: str = HASHED
    device: str = "auto"
    image: str = ""


def load_audio(name: str, device: str = "cpu") -> AudioEncoder:
    """Load an audio encoder by its name. Raises UserError for an unknown one, or if its weights are missing."""
    if name not in AUDIO:
        raise UserError(f"audio encoder {name!r}: choose one of {', '.join(AUDIO)}")
    if name == "log_mel" or (name == "auto" and registry.find(WHISPER) is None):
        return LogMelAudio()
    from stages.speech.whisper_file import load_whisper

    return WhisperAudio.of(load_whisper(registry.require(WHISPER), torch_device(device)))


def load_text(name: str, device: str = "cpu") -> TextEncoder:
    """Load a text encoder: ``hashed``, or a folder. Raises UserError if the folder holds none."""
    try:
        return HashedText() if name == HASHED else Umt5Text(Path(name)).to(torch_device(device))
    except ModelError as error:
        raise UserError(f"text encoder: {error}") from error


def load_image(name: str, device: str = "cpu") -> ClipImage | None:
    """Load the encoder of the reference picture; None for an empty name. Raises UserError if the folder holds none."""
    try:
        return ClipImage(Path(name)).to(torch_device(device)) if name else None
    except ModelError as error:
        raise UserError(f"image encoder: {error}") from error


def load_video_codec(folder: str | Path, device: str = "cpu") -> Codec:
    """Load a codec from its folder. Raises UserError if it holds none, or a damaged one."""
    try:
        return load_codec(Path(folder)).to(torch_device(device))
    except ModelError as error:
        raise UserError(f"codec: {error}") from error


def load_encoder(wanted: Encoders, config: EncodeConfig, codec: Codec) -> ClipEncoder:
    """Load everything that encodes a clip. Raises UserError for what is missing."""
    device: torch.device = torch_device(wanted.device)
    return ClipEncoder(
        config,
        codec.to(device),
        load_audio(wanted.audio, wanted.device),
        load_text(wanted.text, wanted.device),
        load_landmarks(config.faces, wanted.device),
        device,
        load_image(wanted.image, wanted.device),
    )


def described(encoder: ClipEncoder) -> dict[str, Any]:
    """Return what the tensors are made with: the part of ``encoding.json`` that a worker can check."""
    codec, audio, text, faces = encoder.codec, encoder.audio, encoder.text, encoder.faces
    image = encoder.image
    shape = codec.shape
    return {
        "version": VERSION,
        "config": {**asdict(encoder.config), "window_latents": encoder.window_latents},
        "codec": {
            "name": codec.name,
            "digest": codec.digest,
            "channels": shape.channels,
            "spatial": shape.spatial,
            "temporal": shape.temporal,
        },
        "audio": {"name": audio.name, "digest": audio.digest, "width": audio.width},
        "text": {"name": text.name, "digest": text.digest, "width": text.width, "length": text.length},
        "image": image and {"name": image.name, "digest": image.digest, "width": image.width, "length": image.length},
        "faces": {"name": faces.name, "digest": faces.digest},
    }


def differences(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> list[str]:
    """List the values in which two descriptions differ, one a line: ``codec.digest: … there, … here``."""
    found = []
    for key in sorted(there.keys() | here.keys()):
        name, old, new = f"{prefix}{key}", there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{name}.")
        elif old != new:
            found.append(f"{name} is {_short(old)} there and {_short(new)} here")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_SHOWN = 24

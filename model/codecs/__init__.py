"""This folder has the codecs: what turns a video into the latents that the transformer works on, and back.

``codec.py`` says what all have in common; ``linear`` is fitted on the user's clips, ``wan`` is the codec of Wan and
SkyReels-V2, ``taef2`` a small per-frame one. Nothing here knows the transformer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from model.codecs.codec import Codec, CodecShape
from model.codecs.linear import LinearCodec
from model.codecs.taef2 import Taef2Codec
from model.codecs.wan import WanCodec
from model.errors import ModelError

__all__ = ["Codec", "CodecShape", "LinearCodec", "Taef2Codec", "WanCodec", "load_codec"]

_LOADERS: dict[str, Callable[[Path], Codec]] = {
    "linear": LinearCodec.load,
    "taef2": Taef2Codec.load,
    "wan": WanCodec.load,
}


def load_codec(folder: Path) -> Codec:
    """The codec in a folder is loaded, whatever its kind.

    Args:
        folder: what ``Codec.save`` wrote, or the ``vae`` folder of a Wan or SkyReels-V2 model in diffusers' form.

    Raises:
        ModelError: the folder holds no codec, an unknown one, or one that is damaged.
    """
    kind = _kind(folder)
    if kind not in _LOADERS:
        raise ModelError(f"{folder} holds a codec of kind {kind!r}; known kinds are {', '.join(sorted(_LOADERS))}")
    return _LOADERS[kind](folder)


def _kind(folder: Path) -> str:
    for file, key in (("codec.json", "kind"), ("config.json", "_class_name")):
        path = folder / file
        if not path.is_file():
            continue
        try:
            kind = json.loads(path.read_text("utf-8"))[key]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} cannot be read ({error!r}): copy or write the codec's folder anew") from error
        return "wan" if kind == "AutoencoderKLWan" else str(kind)
    raise ModelError(f"{folder} holds no codec: codec.json is missing")

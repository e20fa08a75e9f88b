"""A folder of latents is what precompute makes of a snapshot; this module says what lies there, and reads it.

Layout::

    encoding.json             what the tensors are made with: snapshot, config, digests of the encoders; written first
    codec/                    the video codec, as model.codecs loads it
    shard-<hash>.safetensors  the tensors of some clips, about 1 GB; keys "<clip_id>/<name>"
    shard-<hash>.json         what is known of them; a shard counts once this file is there
    nulls.safetensors         "blank/<height>x<width>", a grey video [C, W, h, w], and "null_text" [N, D]
    index.parquet             a row per clip: the snapshot's columns, sizes, shard and its hash; by clip_id
    left_out.parquet          clips of the snapshot that are not here, and why
    precompute.json           encoding.json, counts and the index's hash; written last: it says that the folder is whole

Tensors of a clip (C channels, L latents over time, h x w latent cells, W latents of a training window, T tokens), in
the config's dtype where nothing else is said; pictures are encoded from -1..1, latents are normalised::

    video            [C, L, h, w]   the clip's first 1 + temporal * (L - 1) pictures
    image_condition  [C, W, h, w]   the first picture, then grey ones (0)
    video_condition  [C, L, h, w]   the pictures with the lower face grey (0)
    hole             [t, L, h, w]   uint8; 1 = the lower face, to be painted; t pictures of a latent, folded
    lips             [L, h, w]      float16; share of each cell's area, 0-1, that the lower face covers
    audio            [T, D]         tokens, 50 a second; row 0 is token -25, rows beyond the sound are those of silence
    text             [N, D]         the caption
    clip_image       [257, D]       CLIP's tokens of the first picture; only for models with an image branch
    sound            [S]            int16; what the tokens were made from, 16,000 a second, for sample videos

A snapshot's column that has the name of one of the index's own columns is called ``clip_<name>`` there
(``clip_n_frames``: the pictures that the source has).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open
from torch import Tensor

from catalogs.errors import UserError
from weights.registry import file_sha256

FORMAT_VERSION = 1
ENCODING, FACTS, INDEX, LEFT_OUT, CODEC, NULLS = (
    "encoding.json",
    "precompute.json",
    "index.parquet",
    "left_out.parquet",
    "codec",
    "nulls.safetensors",
)
#: Columns of the index that a reader relies on.
NEEDED = ("clip_id", "n_frames", "n_latents", "height", "width", "fps", "n_tokens", "shard", "shard_bytes")
_AGAIN = "run `python -m training.precompute` with the arguments it was begun with"


class LatentClips:
    """Reads the clips of a folder of latents; it may be pickled, and used in forked processes.

    Attributes:
        folder: the folder.
        facts: what ``precompute.json`` says.
        table: the index; row i describes clip i.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], table: pa.Table) -> None:
        self.folder, self.facts, self.table = folder, facts, table
        self._places = list(zip(table["clip_id"].to_pylist(), table["shard"].to_pylist(), strict=True))

    @classmethod
    def open(cls, folder: str | Path, verify: bool = False) -> LatentClips:
        """Open a finished folder, and check that all that its index names is there.

        Args:
            verify: read every shard, and compare its hash; without it only sizes are compared.

        Raises:
            UserError: no such folder, not finished, of another release, or a shard that is missing or damaged.
        """
        folder = Path(folder)
        facts = _facts(folder)
        table = _index(folder, facts)
        clips = cls(folder, facts, table)
        clips._check(verify)
        return clips

    def __len__(self) -> int:
        return len(self._places)

    def tensors(self, i: int, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """Read the tensors of clip ``i``.

        Args:
            i: row of the index.
            names: only these; None for all.

        Raises:
            UserError: the shard cannot be read, or lacks the clip or one of the names.
        """
        clip_id, shard = self._places[i]
        path = self.folder / shard
        prefix = f"{clip_id}/"
        try:
            with safe_open(path, "pt") as opened:
                keys = [prefix + name for name in names] if names is not None else _below(prefix, opened.keys())
                found = {key.removeprefix(prefix): opened.get_tensor(key) for key in keys}
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} cannot be read ({error}); {_mend(path)}") from error
        if not found:
            raise UserError(f"{path} does not hold clip {clip_id}; {_mend(path)}")
        return found

    def nulls(self, height: int, width: int) -> dict[str, Tensor]:
        """Read what stands for a picture and a text that are left out, for pictures of this size.

        Returns:
            ``blank``, the latents of a grey video [C, W, h, w], and ``null_text``, the empty caption [N, D].

        Raises:
            UserError: the file cannot be read.
        """
        path = self.folder / NULLS
        try:
            with safe_open(path, "pt") as opened:
                blank = opened.get_tensor(f"blank/{height}x{width}")
                return {"blank": blank, "null_text": opened.get_tensor("null_text")}
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} cannot be read ({error}); remove it and {FACTS} there and {_AGAIN}") from error

    def _check(self, verify: bool) -> None:
        nulls = self.folder / NULLS
        if not nulls.exists() or file_sha256(nulls) != self.facts["nulls_sha256"]:
            raise UserError(f"{nulls} is missing or damaged; remove {FACTS} there and {_AGAIN}")
        shards = self.table.select(["shard", "shard_bytes", "shard_sha256"])
        for shard in {row["shard"]: row for row in shards.to_pylist()}.values():
            path = self.folder / shard["shard"]
            try:
                size = path.stat().st_size
            except FileNotFoundError as error:
                raise UserError(f"{path} is missing; {_mend(path)}") from error
            if size != shard["shard_bytes"]:
                raise UserError(f"{path} has {size} bytes instead of {shard['shard_bytes']}; {_mend(path)}")
            if verify and file_sha256(path) != shard["shard_sha256"]:
                raise UserError(f"{path} is damaged: its sha256 is not the index's; {_mend(path)}")


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        if (folder / ENCODING).exists():
            raise UserError(f"the latents in {folder} are not complete; {_AGAIN}") from error
        raise UserError(f"{folder} is no folder of latents (no {FACTS}); make one: {_AGAIN}") from error
    except ValueError as error:
        raise UserError(f"{folder / FACTS} is damaged; {_AGAIN}") from error
    if facts.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{folder} has format version {facts.get('format_version')!r}, this release reads {FORMAT_VERSION}; "
            "make the latents again into an empty folder"
        )
    return facts


def _index(folder: Path, facts: dict[str, Any]) -> pa.Table:
    path = folder / INDEX
    try:
        is_right = file_sha256(path) == facts["index_sha256"]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); remove {FACTS} there and {_AGAIN}") from error
    if not is_right:
        raise UserError(f"{path} is not the one that {FACTS} names; remove {FACTS} there and {_AGAIN}")
    table = pq.read_table(path)
    if missing := [name for name in NEEDED if name not in table.column_names]:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}")
    return table


def _below(prefix: str, keys: Collection[str]) -> list[str]:
    return [key for key in keys if key.startswith(prefix)]


def _mend(path: Path) -> str:
    return f"remove {path.stem}.* and {FACTS} there and {_AGAIN}"

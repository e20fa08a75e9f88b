"""The clips that a training sees: those to train on, and those that are held out to judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
from torch import Tensor

from catalogs.errors import UserError
from catalogs.query import connect
from training.batch import Window
from training.config import DataConfig, HeldoutConfig
from training.draws import key_of
from training.latents import CODEC, LatentClips
from training.on_the_fly import FlyingClips

_FEWEST = 2  #: sources held out of a small set, whose share would draw none


class ClipStore(Protocol):
    """Gives the tensors of clips (training/latents.py): read from a folder, or encoded when they are asked for.

    Attributes:
        table: a row per clip: the snapshot's columns, ``n_latents``, ``height``, ``width``, ``fps``.
        facts: what the tensors were made with: ``snapshot``, ``config``, ``codec``, ``audio``, ``text``.
    """

    @property
    def table(self) -> pa.Table: ...

    @property
    def facts(self) -> Mapping[str, Any]: ...

    def tensors(self, i: int) -> dict[str, Tensor]: ...

    def nulls(self, height: int, width: int) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class TrainingClips:
    """Holds which clips of a store are trained on, and which are held out.

    Attributes:
        store: where their tensors come from.
        trained, heldout: rows of the store's table.
        window: what a training window is.
    """

    store: ClipStore
    trained: tuple[int, ...]
    heldout: tuple[int, ...]
    window: Window

    @property
    def buckets(self) -> list[tuple[int, int]]:
        """Return height and width of each training clip: those of one size fill a batch together."""
        heights, widths = (self.store.table[name].to_pylist() for name in ("height", "width"))
        return [(heights[i], widths[i]) for i in self.trained]

    def tensors(self, row: int) -> dict[str, Tensor]:
        """Return the tensors of a clip, with what stands for a picture and a text that are left out.

        These are ``blank``, a grey video [C, W, h, w], and ``null_text``, the empty caption [N, D].
        """
        height, width = (self.store.table[name][row].as_py() for name in ("height", "width"))
        return self.store.tensors(row) | self.store.nulls(height, width)

    def clip_id(self, row: int) -> str:
        """Return the id of a clip of the store."""
        return str(self.store.table["clip_id"][row])


def open_clips(config: DataConfig, seed: int) -> TrainingClips:
    """Open the latents that a config names, and hold some clips out.

    Raises:
        UserError: the folder cannot be used, its windows have another length, a condition that is not SQL, no clip.
    """
    return choose_clips(FlyingClips.open(config) if config.catalog else LatentClips.open(config.latents), config, seed)


def codec_folder(config: DataConfig) -> Path:
    """Return where the codec of a training's latents lies."""
    return Path(config.codec) if config.catalog else Path(config.latents) / CODEC


def choose_clips(store: ClipStore, config: DataConfig, seed: int) -> TrainingClips:
    """Divide a store's clips. Raises UserError as :func:`open_clips`."""
    made_for = store.facts["config"]["window_latents"]
    if made_for != config.window_latents:
        raise UserError(
            f"data.window_latents is {config.window_latents}, but the latents were made for windows of {made_for}: "
            "change one of them"
        )
    longer = [n >= config.window_latents for n in store.table["n_latents"].to_pylist()]
    heldout = _heldout(store.table, config.heldout, seed)
    trained = tuple(i for i, fits in enumerate(longer) if fits and i not in heldout)
    if isinstance(store, FlyingClips):
        store.keep_apart([trained, heldout])
    judged = sorted((i for i in heldout if longer[i]), key=lambda i: key_of(seed, "judged", i))
    window = Window(config.window_latents, store.facts["config"]["fps"], store.facts["codec"]["temporal"])
    return TrainingClips(store, trained, tuple(sorted(judged[: config.heldout.most])), window)


def _heldout(table: pa.Table, config: HeldoutConfig, seed: int) -> set[int]:
    if config.where:
        return _matching(table, config.where)
    sources = table["source_id"].to_pylist()
    keys = {source: key_of(seed, "heldout", source) / 2**63 for source in sources}
    chosen = {source for source, key in keys.items() if key < config.share}
    if config.share and len(chosen) < _FEWEST <= len(keys) / 2:
        chosen = set(sorted(keys, key=keys.__getitem__)[:_FEWEST])
    return {i for i, source in enumerate(sources) if source in chosen}


def _matching(table: pa.Table, where: str) -> set[int]:
    """Return the rows that fulfil an SQL condition; the connection has no access to files."""
    numbered = table.append_column("row_number", pa.array(range(len(table)), pa.int64()))
    with connect() as connection:
        connection.register("rows_of_index", numbered)
        try:
            found = connection.execute(f"SELECT row_number FROM rows_of_index WHERE ({where})").fetchall()
        except duckdb.Error as error:
            raise UserError(f"data.heldout.where: {str(error).splitlines()[0]}") from error
    return {row for (row,) in found}

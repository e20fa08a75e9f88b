"""A training may encode its clips when it needs them, instead of reading latents from a folder.

1,000 hours are 16 TB of latents at 480p; encoding on the fly needs no disk, and makes every step as slow as its clips
are to encode, unless reading processes (``data.workers``) hide that. Which clips are no use is only known once they are
decoded, so others take their places.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from catalogs.errors import ClipError, UserError
from catalogs.snapshots import snapshot_tables
from model.shapes import latents_of_frames
from training.config import DataConfig
from training.draws import key_of
from training.encode import ClipEncoder, NotEncodableError, nulls
from training.encode_config import EncodeConfig
from training.encoders import Encoders, load_encoder, load_video_codec
from training.precompute_plan import Plan, Request, make_plan
from training.precompute_worker import ClipTask

log = logging.getLogger(__name__)

_NOWHERE = Path("nowhere-as-nothing-is-written")  #: the folder of a plan that is never carried out
_TRIES = 16  #: clips tried in the place of one that cannot be encoded


class FlyingClips:
    """Encodes clips of a snapshot as they are asked for; see :class:`training.clips.ClipStore`.

    It may be handed to other processes, forked ones too: each loads the encoders when it needs them first. A clip that
    cannot be encoded is replaced by one that is drawn for it, the same one every time.

    Args:
        plan: what a precompute of the same clips would do; its folder is never written.
    """

    def __init__(self, plan: Plan) -> None:
        self._request = plan.request
        self._tasks = sorted(plan.tasks, key=lambda task: task.span.clip_id)  # as the index of latents is sorted
        self.facts: Mapping[str, Any] = plan.encoding
        self.table = _table(plan, self._tasks)
        self._peers: dict[int, tuple[int, ...]] = {}
        self.keep_apart([range(len(self._tasks))])
        self._useless: set[int] = set()
        self._nulls: dict[tuple[int, int], dict[str, Tensor]] = {}
        self._loaded: tuple[int, ClipEncoder] | None = None

    @classmethod
    def open(cls, config: DataConfig) -> FlyingClips:
        """Open the snapshot that a training's config names. Raises UserError as precompute does."""
        encode = EncodeConfig(
            height=config.size[0],
            width=config.size[1],
            window_frames=1 + _temporal(config.codec) * (config.window_latents - 1),
            crop="centre",
        )
        request = Request(
            catalog=config.catalog,
            snapshot=config.snapshot,
            folder=_NOWHERE,
            codec=config.codec,
            encoders=Encoders(text=config.text, device="cpu", image=config.image),
            config=encode,
        )
        return cls(make_plan(request))

    def keep_apart(self, groups: Iterable[Iterable[int]]) -> None:
        """Let a clip be replaced by one of its own group only: held-out clips are never trained on.

        Args:
            groups: rows of the table; a row that is in none has no replacement.
        """
        self._peers = {row: members for group in groups for members in [tuple(sorted(group))] for row in members}

    def tensors(self, i: int) -> dict[str, Tensor]:
        """Encode clip ``i``, or one in its place.

        Raises:
            UserError: none of several clips can be encoded.
        """
        task = self._tasks[i]
        for row in self._candidates(i):
            tried = self._tasks[row]
            try:
                return self._encoder.encode(self._encoder.open(tried.span), tried.caption)
            except (NotEncodableError, ClipError) as error:
                log.warning("clip %s cannot be encoded (%s); another takes its place", tried.span.clip_id, _why(error))
                if not (isinstance(error, ClipError) and error.code.is_transient):
                    self._useless.add(row)  # decoding it again would cost as much, and end the same
        raise UserError(
            f"clip {task.span.clip_id} ({task.span.path}) cannot be encoded, nor can any that was tried in its place; "
            "`funnel verify` says which files are gone"
        )

    def _candidates(self, i: int) -> Iterable[int]:
        """Yield clip ``i``, then rows drawn for it from its group; those known to be no use are left out."""
        peers = self._peers.get(i, ())
        drawn = (peers[key_of(self._tasks[i].span.clip_id, "instead", n) % len(peers)] for n in range(_TRIES * 4))
        unique = dict.fromkeys([i, *(drawn if peers else ())])
        tried = 0
        for row in unique:
            if row not in self._useless and tried <= _TRIES:
                tried += 1
                yield row

    def nulls(self, height: int, width: int) -> dict[str, Tensor]:
        """Encode what stands for a picture and a text that are left out; see training/latents.py."""
        if (height, width) not in self._nulls:
            window, dtype = self.facts["config"]["window_latents"], getattr(torch, self._request.config.dtype)
            blanks, text = nulls(self._encoder.codec, self._encoder.text, window, [(height, width)], dtype)
            self._nulls[height, width] = {"blank": blanks[height, width], "null_text": text}
        return self._nulls[height, width]

    @property
    def _encoder(self) -> ClipEncoder:
        """Return this process's encoder: networks that were loaded before a fork may wait for threads that are gone."""
        if self._loaded is None or self._loaded[0] != os.getpid():
            codec = load_video_codec(self._request.codec)
            self._loaded = os.getpid(), load_encoder(self._request.encoders, self._request.config, codec)
        return self._loaded[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}


def _temporal(codec: str) -> int:
    return load_video_codec(codec).shape.temporal


def _why(error: NotEncodableError | ClipError) -> str:
    return f"{error.reason}: {error.detail}" if isinstance(error, NotEncodableError) else str(error)


def _table(plan: Plan, tasks: Sequence[ClipTask]) -> pa.Table:
    """Return the snapshot's rows of the clips, with the sizes of their latents, named as in an index of latents."""
    rows = pa.concat_tables(snapshot_tables(plan.catalog, plan.snapshot))
    at = {clip_id: row for row, clip_id in enumerate(rows["clip_id"].to_pylist())}
    chosen = rows.take([at[task.span.clip_id] for task in tasks])
    config, temporal = plan.request.config, plan.codec.shape.temporal
    known = {
        "n_frames": [task.n_frames for task in tasks],
        "n_latents": [latents_of_frames(task.n_frames, temporal) for task in tasks],
        "height": [config.height] * len(tasks),
        "width": [config.width] * len(tasks),
        "fps": [config.fps] * len(tasks),
    }
    chosen = chosen.rename_columns([f"clip_{name}" if name in known else name for name in chosen.column_names])
    for name, values in known.items():
        chosen = chosen.append_column(name, pa.array(values))
    return chosen

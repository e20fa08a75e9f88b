"""What precompute has to do is planned here: which clips, with which encoders, into which folder, at what cost.

Nothing is written. The plan of a folder that has been begun must be the same in everything that changes numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from catalogs.catalog import Catalog
from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import ClipMedia, MediaLimits
from catalogs.snapshots import Snapshot, read_snapshot, snapshot_tables
from catalogs.whereabouts import SPAN_COLUMNS, Whereabouts
from model.codecs import LinearCodec
from model.codecs.codec import Codec
from model.errors import ModelError
from training.encode import TOO_SHORT, NotEncodableError, decoded, video_of
from training.encode_config import EncodeConfig
from training.encoders import Encoders, described, differences, load_encoder, load_video_codec
from training.forecast import clip_bytes
from training.latents import CODEC, ENCODING, FACTS
from training.precompute_worker import ClipTask
from training.shards import LeftOut, encoding_digest, read_records

LINEAR = "linear"
CAPTION = "caption"
_LINEAR_TEMPORAL = 4
_FITTED_ON = 48  #: clips that a linear codec is fitted on, spread over the snapshot
_LEAST_UNIT, _UNITS = 4, 64  #: clips of a unit at least; units that a small snapshot is cut into


@dataclass(frozen=True, kw_only=True)
class Request:
    """Says what a user asks for.

    Attributes:
        catalog: its folder or any fsspec URL.
        snapshot: a snapshot of it.
        folder: where the latents go: a local folder; on a cluster, one that all machines see under this path.
        codec: ``linear`` is fitted on the snapshot's own clips; else the folder of a codec.
        captions: the snapshot's column with captions; None: ``caption`` if there is one, else empty captions.
        encoders, config: how clips are encoded.
    """

    catalog: str
    snapshot: str
    folder: Path
    codec: str = LINEAR
    captions: str | None = None
    encoders: Encoders = field(default_factory=Encoders)
    config: EncodeConfig = field(default_factory=EncodeConfig)


@dataclass(frozen=True)
class Plan:
    """Holds what is to be done.

    Attributes:
        request: what was asked for.
        snapshot: what the snapshot says of itself.
        tasks: the clips to encode, those of a source together.
        left_out: clips that are not even tried, and why.
        codec: of the pictures.
        encoding: the content of ``encoding.json``.
    """

    request: Request
    catalog: Catalog
    snapshot: Snapshot
    tasks: tuple[ClipTask, ...]
    left_out: tuple[LeftOut, ...]
    codec: Codec
    encoding: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """Return the hash of everything that decides numbers."""
        return encoding_digest(self.encoding)

    def is_finished(self) -> bool:
        """Say whether the folder is whole."""
        return (self.request.folder / FACTS).exists()

    def owed(self, retry: bool = False) -> list[ClipTask]:
        """List the clips that are neither encoded yet nor known to be no use.

        Clips whose storage could not be reached are owed again.

        Args:
            retry: clips that failed are owed again, whatever the reason was.
        """
        settled: set[str] = set()
        for record in read_records(self.request.folder):
            settled.update(clip.clip_id for clip in record.clips)
            settled.update(clip.clip_id for clip in record.left_out if not retry and not _may_pass(clip.reason))
        return [task for task in self.tasks if task.span.clip_id not in settled]

    def units(self, owed: Sequence[ClipTask], shard_bytes: int) -> Iterator[tuple[ClipTask, ...]]:
        """Yield what is owed of each unit, where that is something."""
        wanted = {task.span.clip_id for task in owed}
        for unit in self.cut(shard_bytes):
            if left := tuple(task for task in unit if task.span.clip_id in wanted):
                yield left

    def cut(self, shard_bytes: int) -> Iterator[tuple[ClipTask, ...]]:
        """Cut all the work into units of about ``shard_bytes``.

        The cut depends on the snapshot alone, so a run that was killed goes on with the same units. A small snapshot is
        cut finer, so that several workers share it.
        """
        most = max(_LEAST_UNIT, -(-len(self.tasks) // _UNITS))
        unit: list[ClipTask] = []
        held = 0
        for task in self.tasks:
            added = clip_bytes(self.encoding, task.n_frames)
            if unit and (len(unit) >= most or (held + added > shard_bytes and len(unit) >= _LEAST_UNIT)):
                yield tuple(unit)
                unit, held = [], 0
            unit.append(task)
            held += added
        yield tuple(unit)

    def facts(self) -> dict[str, Any]:
        """Read ``precompute.json`` of the finished folder."""
        facts: dict[str, Any] = json.loads((self.request.folder / FACTS).read_bytes())
        return facts


def make_plan(request: Request, limits: MediaLimits = MediaLimits()) -> Plan:
    """Plan a precompute.

    Raises:
        UserError: the catalog, snapshot, a column, an encoder or the codec is missing; no clip is long enough; the
            folder holds something else, or latents made with something else.
    """
    catalog = Catalog.open(request.catalog)
    snapshot = read_snapshot(catalog, request.snapshot)
    begun = _begun(request.folder)
    temporal = _LINEAR_TEMPORAL if request.codec == LINEAR else load_video_codec(request.codec).shape.temporal
    tasks, left_out, captions = _tasks(catalog, snapshot, request, temporal)
    if not tasks:
        window_s = request.config.window_frames / request.config.fps
        raise UserError(
            f"no clip of snapshot {snapshot.name} can be encoded: of {snapshot.rows}, {counted(left_out)}; a window "
            f"of {request.config.window_frames} pictures at {request.config.fps:g} fps is {window_s:.2f} s"
        )
    codec = _codec(request, begun, tasks, limits)
    document = catalog.store.read_bytes(f"snapshots/{snapshot.name}/snapshot.json")
    identity = {
        "name": snapshot.name,
        "sha256": hashlib.sha256(document).hexdigest(),
        "created": snapshot.created,
        "policy": snapshot.policy,
        "rows": snapshot.rows,
        "captions": captions,
    }
    encoding = {"snapshot": identity, **described(load_encoder(request.encoders, request.config, codec))}
    if begun is not None and (found := differences(begun, encoding)):
        raise UserError(
            f"{request.folder} holds latents made with something else: {'; '.join(found)}. Give the same arguments, or "
            "another folder"
        )
    return Plan(request, catalog, snapshot, tuple(tasks), tuple(left_out), codec, encoding)


def _begun(folder: Path) -> dict[str, Any] | None:
    """Return what a folder's latents are made with; None if it is new or empty. Raises UserError if it is neither."""
    try:
        document: dict[str, Any] = json.loads((folder / ENCODING).read_bytes())
    except FileNotFoundError:
        if folder.is_dir() and any(path.name != CODEC and not path.name.startswith(".") for path in folder.iterdir()):
            raise UserError(f"{folder} is not empty and holds no latents; give an empty or new folder") from None
        return None
    except NotADirectoryError:
        raise UserError(f"{folder} is a file, or lies below one; give a folder") from None
    except ValueError as error:
        raise UserError(f"{folder / ENCODING} is damaged; give another folder") from error
    return document


def _tasks(
    catalog: Catalog, snapshot: Snapshot, request: Request, temporal: int
) -> tuple[list[ClipTask], list[LeftOut], str]:
    """Return the clips to encode, those that are left out, and the column of the captions ('' for none)."""
    captions = _captions(catalog, snapshot, request.captions)
    tasks, left_out = [], []
    places = Whereabouts(catalog)
    columns = [*SPAN_COLUMNS, *([captions] if captions else [])]
    for table in snapshot_tables(catalog, snapshot, columns):
        said = table[captions].to_pylist() if captions else [None] * len(table)
        found = places.spans(table)  # files are moved, and replaced by others under their names
        for (clip_id, span), caption in zip(found.items(), said, strict=True):
            if isinstance(span, ClipError):
                left_out.append(LeftOut(clip_id, span.code.value, span.detail))
            elif n := request.config.frames_of(span.duration_s, temporal):
                tasks.append(ClipTask(span, caption or "", n))
            else:
                detail = f"{span.duration_s:.2f} s; a window has {request.config.window_frames} pictures"
                left_out.append(LeftOut(clip_id, TOO_SHORT, detail))
    tasks.sort(key=lambda task: (task.span.source_id, task.span.start_pts, task.span.clip_id))
    return tasks, left_out, captions


def _captions(catalog: Catalog, snapshot: Snapshot, asked: str | None) -> str:
    """Check the snapshot's columns, and choose that of the captions."""
    part = next(iter(snapshot.parts))
    have = catalog.store.read_table(f"snapshots/{snapshot.name}/{part}").column_names
    missing = [name for name in (*SPAN_COLUMNS, *([asked] if asked else [])) if name not in have]
    if missing:
        raise UserError(
            f"snapshot {snapshot.name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)} (it has: "
            f"{', '.join(have)}); make one with `funnel snapshot`"
        )
    return asked if asked is not None else CAPTION if CAPTION in have else ""


def _codec(request: Request, begun: dict[str, Any] | None, tasks: Sequence[ClipTask], limits: MediaLimits) -> Codec:
    """Return the codec of the latents: a fitted one stays as it was fitted when the folder was begun."""
    if request.codec != LINEAR:
        return load_video_codec(request.codec)
    if begun is not None and begun["codec"]["name"] == LINEAR:
        return load_video_codec(request.folder / CODEC)
    return fitted(tasks, request.config, limits)


def fitted(tasks: Sequence[ClipTask], config: EncodeConfig, limits: MediaLimits) -> LinearCodec:
    """Fit a linear codec on clips spread evenly over the snapshot. Raises UserError if none of them can be decoded."""
    sample = np.unique(np.linspace(0, len(tasks) - 1, _FITTED_ON).round().astype(int))
    try:
        return LinearCodec.fit(_FirstWindows([tasks[i] for i in sample], config, limits))
    except ModelError as error:
        raise UserError(f"the linear codec cannot be fitted on {len(sample)} of the clips: {error}") from error


@dataclass(frozen=True)
class _FirstWindows:
    """Yields the first window of each clip that can be decoded, float32 [3, F, H, W], as often as it is walked."""

    tasks: Sequence[ClipTask]
    config: EncodeConfig
    limits: MediaLimits

    def __iter__(self) -> Iterator[Tensor]:
        for task in self.tasks:
            clip = ClipMedia(self.config.beginning(task.span), self.config.media, self.limits)
            try:
                rgb, crop = decoded(clip, self.config, _LINEAR_TEMPORAL)
            except (NotEncodableError, ClipError):
                continue  # it will be left out, with its reason
            yield video_of(crop.pictures(rgb[: self.config.window_frames]))


def _may_pass(reason: str) -> bool:
    """Say whether the reason lies in storage that may be reached again later."""
    return reason in {code.value for code in ErrorCode if code.is_transient}


def counted(left_out: Sequence[LeftOut]) -> str:
    """Write for people why clips were left out: ``2 no_face, 1 too_short``."""
    reasons = [clip.reason for clip in left_out]
    return ", ".join(f"{reasons.count(reason)} {reason}" for reason in sorted(set(reasons))) or "none"

"""This worker encodes clips: it gets a unit of them, and commits one shard of latents and one record."""

from __future__ import annotations

import errno
import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import ClipSpan, MediaLimits
from runner.logs import about
from runner.tally import Failure, Tally
from runner.units import Batch
from runner.watchdog import Watchdog
from runner.worker import HANG_FACTOR, one_thread_per_library
from training.encode import NotEncodableError
from training.encode_config import EncodeConfig
from training.encoders import Encoders, described, differences, load_encoder, load_video_codec
from training.latents import CODEC
from training.shards import EncodedClip, LeftOut, encoding_digest, read_record, shard_stem, write_shard

log = logging.getLogger(__name__)

STEP = "encode"  #: the name of this work in tallies
_FULL = (errno.ENOSPC, errno.EDQUOT)
HUNG = "hung far beyond its time limit; its worker process was ended"


@dataclass(frozen=True)
class ClipTask:
    """Names a clip to encode.

    Attributes:
        span: where it lies.
        caption: what is said of it; empty for none.
        n_frames: pictures that will be encoded, by its length.
    """

    span: ClipSpan
    caption: str
    n_frames: int


@dataclass
class _Unit:
    """Holds what a unit has come to so far, and the clip in hand."""

    clips: list[tuple[EncodedClip, Mapping[str, Tensor]]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)
    video_seconds: float = 0.0
    in_hand: str | None = None


class PrecomputeWorker:
    """Encodes the clips of a unit.

    Args:
        folder: of the latents; workers on other machines see the same one.
        wanted: which encoders to load.
        encoding: ``encoding.json``.
        limits: what one file may cost.

    Raises:
        UserError: this machine's encoders are others than those of ``encoding``.
    """

    def __init__(self, folder: str, wanted: Encoders, encoding: Mapping[str, Any], limits: MediaLimits) -> None:
        one_thread_per_library()
        torch.set_num_threads(1)
        self._folder, self._limits = Path(folder), limits
        self._digest = encoding_digest(encoding)
        codec = load_video_codec(self._folder / CODEC, wanted.device)
        self._encoder = load_encoder(wanted, EncodeConfig.of(encoding["config"]), codec)
        here = described(self._encoder)
        if found := differences({key: encoding[key] for key in here}, here):
            raise UserError(f"a worker's machine has other encoders than the latents in {folder}: {found[0]}")
        self._unit = _Unit()
        self._watchdog = Watchdog(self._last_words)

    def run(self, batch: Batch, stop: threading.Event) -> Tally:
        """Encode and commit a batch of ClipTask; what is finished is committed also where the run stops."""
        if read_record(self._folder, shard_stem(self._digest, [task.span.clip_id for task in batch.items])):
            return Tally()  # another worker has committed it, and died before it could say so
        unit = self._unit = _Unit()
        before = dict(self._encoder.seconds)
        for task in batch.items:
            if stop.is_set():
                break
            unit.in_hand = task.span.clip_id
            with self._watchdog.watching(HANG_FACTOR * self._limits.max_seconds), about(clip_id=task.span.clip_id):
                self._encode(task, unit)
        unit.in_hand = None
        began = time.monotonic()
        self._commit(unit)
        seconds = {part: spent - before.get(part, 0.0) for part, spent in self._encoder.seconds.items()}
        return Tally(
            items=len(unit.clips) + len(unit.left_out),
            video_seconds=unit.video_seconds,
            measured=Counter({STEP: len(unit.clips)}),
            failed=Counter(Failure(STEP, clip.reason) for clip in unit.left_out),
            seconds=seconds | {"write": time.monotonic() - began},
            bugs=unit.bugs,
        )

    def _encode(self, task: ClipTask, unit: _Unit) -> None:
        clip_id = task.span.clip_id
        try:
            tensors = self._encoder.encode(self._encoder.open(task.span, self._limits), task.caption)
            facts = self._encoder.facts(clip_id, tensors)
        except (UserError, MemoryError):
            raise  # no clip's fault
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error  # the pool gives the unit to a fresh process
        except NotEncodableError as error:
            unit.left_out.append(LeftOut(clip_id, error.reason, error.detail))
        except ClipError as error:
            unit.left_out.append(LeftOut(clip_id, error.code.value, error.detail))
        except Exception as error:
            log.exception("clip %s: unexpected error", clip_id)
            unit.bugs.append("".join(traceback.format_exception(error)))
            detail = f"{type(error).__name__}: {error}"
            unit.left_out.append(LeftOut(clip_id, ErrorCode.INTERNAL.value, detail))
        else:
            unit.clips.append((facts, tensors))
            unit.video_seconds += facts.n_frames / facts.fps

    def _commit(self, unit: _Unit) -> None:
        if not unit.clips and not unit.left_out:
            return
        try:
            write_shard(self._folder, self._digest, unit.clips, unit.left_out)
        except OSError as error:
            if error.errno not in _FULL:
                raise  # storage may have a bad moment: the pool tries again
            raise UserError(
                f"the disk of {self._folder} is full; what is committed there stays: make room, then give the same "
                "command again"
            ) from error

    def _last_words(self) -> None:
        """Commit what was finished, and that the clip in hand hangs."""
        if self._unit.in_hand is not None:
            self._unit.left_out.append(LeftOut(self._unit.in_hand, ErrorCode.CRASHED.value, HUNG))
        self._commit(self._unit)

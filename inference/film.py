"""A film is written while its pictures are made, under another name until it is whole and was read back.

``NAME.part`` becomes ``NAME`` at the end, in one step. What went wrong before (a full disk, an error of the caller's)
leaves nothing behind, and a film that was there under the name stays as it was. The same pictures and sound give the
same bytes, in whatever portions they come.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt

from catalogs.errors import UserError
from catalogs.media.film import WRITTEN_RATE, PictureTrack, SoundTrack, open_film
from inference.film_check import FilmFacts, Landmarks, verify

Float = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FilmWriter:
    """Writes a film: use it with ``with``, and give it pictures as they come.

    Attributes:
        path: the film's final name; it is there only when all went well.
        frames: pictures written so far.
        facts: what was read back from the film; None before the end.
    """

    def __init__(self, path: Path, fps: float | Fraction, sound: Iterable[Float] | None = None, channels: int = 1):
        """The file is opened, under the name ``NAME.part``.

        Args:
            path: local MP4 file; one that is there is replaced at the end.
            fps: pictures per second.
            sound: float32 [channels, n] blocks at 48 kHz from the first picture on (``Voice.blocks``); asked for as the
                film grows, cut or continued in silence to the length of the pictures. None for a film without sound.
            channels: 1 or 2.

        Raises:
            UserError: the file cannot be written there.
        """
        self.path, self.frames = path, 0
        self.facts: FilmFacts | None = None
        self._fps = Fraction(fps).limit_denominator(1001)
        self._part = path.with_name(path.name + ".part")
        self._heard = Landmarks()
        self._pictures: PictureTrack | None = None
        if path.is_dir():
            raise UserError(f"{path} is a folder: give the name of a film, e.g. {path / 'out.mp4'}")
        with self._told():
            self._part.write_bytes(b"")  # FFmpeg itself opens the file with the first picture only
            self._container = open_film(self._part)
        self._sound = None if sound is None else SoundTrack(self._container, self._listened(sound), channels)

    def __enter__(self) -> FilmWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()

    def write(self, pictures: Pixels) -> None:
        """Write the next pictures.

        Args:
            pictures: uint8 [F, H, W, 3] RGB, of even height and width, all of the size of the first.

        Raises:
            UserError: the disk is full, or the sound cannot be read any more.
            ValueError: the size is odd or another one than before.
        """
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3:
            raise ValueError(f"pictures are uint8 [F, H, W, 3], not {pictures.dtype} {list(pictures.shape)}")
        with self._told():
            for picture in pictures:
                if self._pictures is None:
                    self._pictures = PictureTrack(self._container, picture, self._fps)
                    self._size = picture.shape
                if picture.shape != self._size:
                    raise ValueError(f"a picture of {list(picture.shape)} in a film of {list(self._size)}")
                self._pictures.write(picture, self.frames)
                self.frames += 1
                if self._sound:
                    self._sound.write_until(float(self.frames / self._fps))

    def finish(self) -> FilmFacts:
        """Finish the file, read it back, and give it its name.

        Returns:
            What was read back.

        Raises:
            UserError: the disk is full, or what was read back is not what was written.
            ValueError: no picture was written.
        """
        if self.facts:
            return self.facts
        try:
            if self._pictures is None:
                raise ValueError(f"{self.path.name}: a film needs one picture at least")
            with self._told():
                self._pictures.finish()
                if self._sound:
                    self._sound.finish(float(self.frames / self._fps))
                self._container.close()
                _to_disk(self._part)
                self.facts = verify(self._part, self.frames, self._fps, self._sound is not None, self._heard.found())
                self._part.replace(self.path)
        except BaseException:
            self.abandon()
            raise
        return self.facts

    def abandon(self) -> None:
        """End without a film: the unfinished file is removed."""
        with suppress(OSError, av.error.FFmpegError, ValueError):
            self._container.close()
        if self.facts is None or self._part.exists():
            self._part.unlink(missing_ok=True)

    def _listened(self, blocks: Iterable[Float]) -> Iterator[Float]:
        for block in blocks:
            self._heard.hear(block)
            yield block

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.error.FFmpegError) as error:
            if getattr(error, "errno", None) in _FULL:
                gone = "the film is not finished and its file was removed"
                raise UserError(f"{self.path}: the disk is full; {gone}; make room and start again") from error
            raise UserError(
                f"{self.path}: it cannot be written: {getattr(error, 'strerror', None) or error}"
            ) from error


def _to_disk(path: Path) -> None:
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())


__all__ = ["WRITTEN_RATE", "FilmFacts", "FilmWriter", "verify"]

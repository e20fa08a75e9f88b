"""Manifests: what each compaction of clips wrote and what it replaced. Putting a manifest commits the compaction.

Two compactions may swallow the same clips. Then the manifest that sorts first is valid and a later one that takes what
is taken is void: its file counts for nothing, and what only it would have replaced stays visible. Nothing is lost.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from catalogs.store import Store, read_together

MANIFESTS = "compactions/wide"


@dataclass(frozen=True)
class Manifest:
    """One compaction of clips: ``file`` stands for everything it replaces.

    Attributes:
        replaces: folder -> names in it.
        stems: of every shard that has ended up in the file, also by way of older wide files.
    """

    name: str
    file: str
    clips: int
    replaces: Mapping[str, list[str]]
    stems: tuple[str, ...]

    @classmethod
    def of(cls, stem: str, clips: int, replaced: Iterable[str], stems: Iterable[str]) -> Manifest:
        """A new one for ``wide/<stem>.parquet``."""
        replaces: dict[str, list[str]] = {}
        for name in replaced:
            folder, base = posixpath.split(name)
            replaces.setdefault(folder, []).append(base)
        return cls(f"{MANIFESTS}/{stem}.json", f"wide/{stem}.parquet", clips, replaces, tuple(stems))

    @classmethod
    def read(cls, store: Store, name: str) -> Manifest:
        found = store.read_json(name)
        return cls(name, found["file"], found["clips"], found["replaces"], tuple(found["stems"]))

    @property
    def bases(self) -> frozenset[str]:
        """The clips parts and wide files among the replaced names; no two valid manifests share one."""
        return frozenset(f"{folder}/{base}" for folder in ("clips", "wide") for base in self.replaces.get(folder, ()))

    @property
    def all_stems(self) -> frozenset[str]:
        """Stems of parts that belong to its shard: those it has swallowed, and its file's own."""
        return frozenset((*self.stems, posixpath.basename(self.file).removesuffix(".parquet")))

    def replaced(self) -> Iterator[str]:
        return (f"{folder}/{base}" for folder, names in self.replaces.items() for base in names)

    def as_json(self) -> dict[str, Any]:
        return {"file": self.file, "clips": self.clips, "replaces": self.replaces, "stems": list(self.stems)}


def read_manifests(store: Store, split: str) -> tuple[list[Manifest], list[Manifest]]:
    """The valid and the void manifests of one split."""
    valid, void, taken = [], [], set[str]()
    for manifest in manifests_since(store, split, set()):
        if manifest.bases & taken:
            void.append(manifest)
        else:
            taken |= manifest.bases
            valid.append(manifest)
    return valid, void


def manifests_since(store: Store, split: str, known: Set[str]) -> list[Manifest]:
    """Manifests of one split whose names are not known yet, in order, valid and void."""
    names = [name for name in store.find_prefix(f"{MANIFESTS}/part-{split}-", ".json") if name not in known]
    return read_together(lambda name: Manifest.read(store, name), names)

"""A manifest says what a compaction of clips wrote and what it replaced; writing it commits the compaction.

Two compactions may merge the same clips. Then the manifest that sorts first is valid, and a later one that replaces one
of the same files is void: its file does not count, and what only that manifest would have replaced stays visible.
Nothing is lost.
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
    """Describes one compaction of clips: ``file`` holds the rows of everything that it replaces.

    Attributes:
        replaces: folder -> names in it.
        stems: the stems of all shards that were merged into the file, also by way of older wide files.
    """

    name: str
    file: str
    clips: int
    replaces: Mapping[str, list[str]]
    stems: tuple[str, ...]

    @classmethod
    def of(cls, stem: str, clips: int, replaced: Iterable[str], stems: Iterable[str]) -> Manifest:
        """Make the manifest of a new file ``wide/<stem>.parquet``."""
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
        """Return the clips parts and wide files among the replaced names; no two valid manifests share one."""
        return frozenset(f"{folder}/{base}" for folder in ("clips", "wide") for base in self.replaces.get(folder, ()))

    @property
    def all_stems(self) -> frozenset[str]:
        """Return the stems of all parts that belong to the file's shard: its own, and those of all merged shards."""
        return frozenset((*self.stems, posixpath.basename(self.file).removesuffix(".parquet")))

    def replaced(self) -> Iterator[str]:
        return (f"{folder}/{base}" for folder, names in self.replaces.items() for base in names)

    def as_json(self) -> dict[str, Any]:
        return {"file": self.file, "clips": self.clips, "replaces": self.replaces, "stems": list(self.stems)}


def read_manifests(store: Store, split: str) -> tuple[list[Manifest], list[Manifest]]:
    """Read the valid and the void manifests of one split."""
    valid, void, taken = [], [], set[str]()
    for manifest in manifests_since(store, split, set()):
        if manifest.bases & taken:
            void.append(manifest)
        else:
            taken |= manifest.bases
            valid.append(manifest)
    return valid, void


def manifests_since(store: Store, split: str, known: Set[str]) -> list[Manifest]:
    """Read the manifests of one split whose names are not in ``known``, in order, valid and void."""
    names = [name for name in store.find_prefix(f"{MANIFESTS}/part-{split}-", ".json") if name not in known]
    return read_together(lambda name: Manifest.read(store, name), names)

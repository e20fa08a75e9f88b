"""Units of work are what the pool hands to a worker; it can halve them to find the item that kills workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class Divisible(Protocol):
    """A unit of work can be tried again, and halved to find the item that kills its worker."""

    def __len__(self) -> int: ...

    def again(self) -> Any: ...

    def halves(self) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class Batch:
    """A batch is a unit of a few items of any kind: files, sources, samples.

    Its worker must count only what is done (not what it was handed), as a batch may be handed out again.
    """

    items: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.items)

    def again(self) -> Batch:
        """Return the batch for another worker to try."""
        return self

    def halves(self) -> tuple[Batch, Batch]:
        """Return two smaller batches."""
        middle = len(self.items) // 2
        return Batch(self.items[:middle]), Batch(self.items[middle:])

"""Units of work: what the pool hands to a worker, and can halve to corner the item that kills it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class Divisible(Protocol):
    """A unit of work that can be tried again, and halved, to corner what kills its worker."""

    def __len__(self) -> int: ...

    def again(self) -> Any: ...

    def halves(self) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class Batch:
    """A unit that is nothing but a few items of any kind: files, sources, samples.

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

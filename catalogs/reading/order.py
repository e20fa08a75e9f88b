"""The order in which rows are read is a formula of (seed, epoch, position); only the position has to be saved.

The permutation of an epoch is the "swap-or-not" card shuffle (Hoang, Morris, Rogaway, CRYPTO 2012, Fig. 1): in each
round row x and its partner K - x (mod n) change places or stay, as one hashed bit of the larger of the two says. Each
round is its own inverse, so the whole is a bijection for every n, and 10 million rows take no memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice
from typing import Literal, NamedTuple

import numpy as np

#: What happens to the last step of an epoch where fewer rows are left than one step takes:
#: ``short``: it takes what is left, so every row is read exactly once, and ranks may differ by one row or step;
#: ``drop``: these rows are left out; ``pad``: the epoch's first rows are read again to fill the step;
#: ``next``: the next epoch's first rows fill the step, and the reading never ends.
Tail = Literal["short", "drop", "pad", "next"]
TAILS: tuple[Tail, ...] = ("short", "drop", "pad", "next")

_ROWS_AT_ONCE = 256  # so many rows are looked up together


@dataclass(frozen=True)
class Order:
    """Says which row comes at which position of an epoch.

    Attributes:
        n: number of rows, at least 1.
        seed: any integer; other seeds give other orders.
    """

    n: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"an order is of at least one row, not of {self.n}")

    def at(self, epoch: int, position: int) -> int:
        """Return the row at one position, 0 to n - 1, of an epoch."""
        return int(self.take(epoch, np.array([position]))[0])

    def take(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """Return the rows at many positions of an epoch.

        Args:
            positions: integers 0 to n - 1, of any shape.

        Returns:
            int64 of the same shape.
        """
        n, rows = np.uint64(self.n), positions.astype(np.uint64)
        if rows.size and rows.max() >= n:
            raise IndexError(f"position {rows.max()} of {self.n} rows")
        for key, pivot in _rounds(self.n, self.seed, epoch):
            partners = pivot - rows + n * (rows > pivot)  # modulo n, without a division
            rows = np.where(_top_bits(np.maximum(rows, partners) + key), partners, rows)
        return rows.astype(np.int64)


class Place(NamedTuple):
    """Says how far the reading has come: this many rows of this epoch have been read, by all ranks together."""

    epoch: int = 0
    row: int = 0


class Step(NamedTuple):
    """Holds what one rank reads in one step, and where everybody stands after it.

    Attributes:
        rows: (epoch, row of the snapshot) of each item.
        after: the place from which the next step goes on, equal on all ranks.
    """

    rows: tuple[tuple[int, int], ...]
    after: Place


@dataclass(frozen=True)
class Share:
    """Cuts an order into steps and gives each rank its part of every step.

    One step takes the next ``batch_size * world`` positions; position p goes to rank ``p % world``. So the rows of a
    step depend only on how many it takes, and a reading that stopped at any place goes on with any other number of
    ranks.

    Attributes:
        batch_size: rows of one rank in one step.
        rank, world: which of how many readers this is.
        tail: see :data:`Tail`.
    """

    order: Order
    batch_size: int = 1
    rank: int = 0
    world: int = 1
    tail: Tail = "short"

    def __post_init__(self) -> None:
        if self.batch_size < 1 or not 0 <= self.rank < self.world:
            raise ValueError(f"no share: batch_size {self.batch_size}, rank {self.rank} of {self.world}")
        if self.tail not in TAILS:
            raise ValueError(f"tail {self.tail!r} is none of {', '.join(TAILS)}")

    @property
    def step_rows(self) -> int:
        """The rows that all ranks together read in one step."""
        return self.batch_size * self.world

    def count(self, row: int = 0) -> int | None:
        """Return the steps that an epoch has left after ``row`` rows; None where the reading never ends."""
        if self.tail == "next":
            return None
        left = max(0, self.order.n - row)
        return left // self.step_rows if self.tail == "drop" else -(-left // self.step_rows)

    def steps(self, start: Place, every: int = 1, first: int = 0) -> Iterator[Step]:
        """Yield the steps from a place to the end of its epoch (with ``next``: for ever).

        Args:
            every, first: only the steps ``first``, ``first + every``, … counted from the place: those of one of
                several workers.
        """
        left = self.count(start.row)
        numbers = iter(count(first, every) if left is None else range(first, left, every))
        at_once = max(1, min(_ROWS_AT_ONCE, self.order.n) // self.step_rows)
        while block := list(islice(numbers, at_once)):
            yield from self._found([self._step(start, number) for number in block])

    def _step(self, start: Place, number: int) -> Step:
        """Return a step with positions instead of rows."""
        n, epoch = self.order.n, start.epoch
        goes_on = self.tail == "next"
        # Where epochs follow each other in one step, positions are counted through all of them.
        begin = (epoch * n if goes_on else 0) + start.row + number * self.step_rows
        end = begin + self.step_rows
        mine = range(begin + (self.rank - begin) % self.world, end, self.world)
        if goes_on:
            return Step(tuple(divmod(p, n) for p in mine), Place(*divmod(end, n)))
        if self.tail == "short":
            mine = range(mine.start, min(end, n), self.world)
        is_last = end + (self.step_rows if self.tail == "drop" else 1) > n
        return Step(tuple((epoch, p % n) for p in mine), Place(epoch + 1) if is_last else Place(epoch, end))

    def _found(self, steps: list[Step]) -> Iterator[Step]:
        """Put rows in place of positions, for many steps together: a formula of arrays costs the same for one."""
        places = {place for step in steps for place in step.rows}
        found: dict[tuple[int, int], int] = {}
        for epoch in {epoch for epoch, _ in places}:
            positions = [position for of, position in places if of == epoch]
            rows = self.order.take(epoch, np.array(positions)).tolist()
            found |= {(epoch, position): row for position, row in zip(positions, rows, strict=True)}
        for step in steps:
            yield Step(tuple((place[0], found[place]) for place in step.rows), step.after)


def keyed_integer(below: int, *key: object) -> int:
    """Draw an integer, 0 to ``below`` - 1, that is a formula of the key alone."""
    digest = hashlib.blake2b(":".join(map(str, key)).encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little") % below


@lru_cache(maxsize=16)
def _rounds(n: int, seed: int, epoch: int) -> tuple[tuple[np.uint64, np.uint64], ...]:
    """Return key and pivot of each round.

    Twelve rounds and three for each bit of n: about as many as Ethereum shuffles its validators with (90 for 22 bits).
    The paper asks for six a bit where an enemy is to learn nothing.
    """
    count = 12 + 3 * n.bit_length()
    return tuple(
        (
            np.uint64(keyed_integer(1 << 64, "key", n, seed, epoch, number)),
            np.uint64(keyed_integer(n, "pivot", n, seed, epoch, number)),
        )
        for number in range(count)
    )


def _top_bits(values: np.ndarray) -> np.ndarray:
    """Hash uint64 values to one bit, bool: the finaliser of SplitMix64 (Steele, Lea, Flood 2014), modulo 2^64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (values ^ (values >> np.uint64(31))) >= np.uint64(1 << 63)

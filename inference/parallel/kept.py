"""What the caches of all processes keep is brought together for a state, and shared out when it is gone on from.

Keys are ``window/branch`` as ``inference.caches.kept.Kept`` has them. Where processes split the sequence, each keeps
its own share of a residual, so the keys also say ``@column/of``; such a state is for as many processes a row.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from catalogs.errors import UserError
from inference.parallel.group import Group
from inference.parallel.ticks import owner

Kept = dict[str, Tensor]


def gathered(group: Group, kept: Mapping[str, Tensor]) -> Kept:
    """The first process gets what all keep, on the CPU but for its own; the others get nothing.

    Raises:
        UserError: another process is gone.
    """
    if group.world == 1:
        return dict(kept)
    mine = {f"{key}{_mark(group.column, group.sequence)}": tensor.cpu() for key, tensor in kept.items()}
    return {key: tensor for share in group.gathered(mine) for key, tensor in share.items()}


def shared_out(group: Group, kept: Mapping[str, Tensor]) -> Kept:
    """Each process gets what it kept of its own windows; only the first one gives something.

    Raises:
        UserError: the state is of another number of processes a row, or another process is gone.
    """
    if group.is_first:
        marks = {key.partition("@")[2] for key in kept}
        for mark in marks - {_mark(column, group.sequence).removeprefix("@") for column in range(group.sequence)}:
            of = mark.partition("/")[2] or "1"
            raise UserError(
                f"the cache to go on with was split by {of} processes a window, and now there are {group.sequence}: "
                "start as before"
            )
    return group.scattered([_share(group, rank, kept) for rank in range(group.world)] if group.is_first else [])


def _share(group: Group, rank: int, kept: Mapping[str, Tensor]) -> Kept:
    row, column = divmod(rank, group.sequence)
    mark = _mark(column, group.sequence)
    found = {}
    for key, tensor in kept.items():
        if key.endswith(mark) and owner(int(key.partition("/")[0]), group.rows) == row:
            found[key.removesuffix(mark)] = tensor
    return found


def _mark(column: int, of: int) -> str:
    return f"@{column}/{of}" if of > 1 else ""

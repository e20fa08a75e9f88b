"""Sound is brought to another rate block by block, with the samples that one call on all of it would give.

The filter is that of ``scipy.signal.resample_poly``. It looks at a few input samples on either side, so each block is
resampled with these around it, and what belongs to the neighbours is dropped. An hour of sound needs no more memory
than a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import gcd

import numpy as np
import numpy.typing as npt
import scipy  # its parts load when they are used: half a second that few commands need

Float = npt.NDArray[np.float32]

_REACH = 10  #: resample_poly's filter reaches 10 samples of the lower rate to either side
_BLOCK_S = 1.0


def resampled(blocks: Iterable[Float], rate: int, wanted: int) -> Iterator[Float]:
    """Yield the same sound at another rate.

    Args:
        blocks: float32 [C, n] each, of any length, one after the other.
        rate: their samples per second.
        wanted: samples per second of the result.

    Yields:
        float32 [C, m]; joined they equal ``resample_poly`` of the joined blocks, ceil(N · wanted / rate) samples.
    """
    divisor = gcd(rate, wanted)
    up, down = wanted // divisor, rate // divisor
    if up == down:
        yield from blocks
        return
    # Whole multiples of ``down``: there an input sample and an output sample lie at the same time.
    step = max(1, round(_BLOCK_S * rate / down)) * down
    halo = -(-(_REACH * max(up, down) // up + 1) // down) * down
    before = 0  # samples of ``held`` that were resampled already and are there for the filter
    held: Float | None = None
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], axis=1)
        while held.shape[1] >= before + step + halo:
            piece = _resample(held[:, : before + step + halo], up, down)
            yield piece[:, before * up // down : (before + step) * up // down]
            gone = max(0, before + step - halo)
            held, before = held[:, gone:], before + step - gone
    if held is not None and held.shape[1] > before:
        yield _resample(held, up, down)[:, before * up // down :]


def _resample(samples: Float, up: int, down: int) -> Float:
    return scipy.signal.resample_poly(samples, up, down, axis=1).astype(np.float32)

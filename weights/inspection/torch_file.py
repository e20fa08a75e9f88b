"""PyTorch files, which are pickles, are read as tensors and plain values only, and compared with the network by names.

A network on the meta device has names and shapes but no memory, so comparing costs no more than opening the file.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs.errors import UserError

if TYPE_CHECKING:
    from torch import nn


def read(path: Path, what: str, classes: Sequence[type] = ()) -> Any:
    """Read what was saved into ``path`` to the CPU, without running code in the file.

    Tensors are mapped into memory, not read, where the file's format allows it (PyTorch 1.6 and later).

    Args:
        path: the file.
        what: whose file it should be, for messages: ``SyncNet``.
        classes: what may be constructed besides tensors and plain values.

    Raises:
        UserError: the file is damaged, of another kind, or names anything but ``classes``.
    """
    import torch

    try:
        with torch.serialization.safe_globals(list(classes)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is damaged, or holds Python code, which is not run; expected the weights of {what}"
        ) from error
    except Exception as error:  # wrong bytes make torch raise errors of any kind
        detail = type(error).__name__
        raise UserError(
            f"{path} is no PyTorch file or a damaged one ({detail}); expected the weights of {what}"
        ) from error


def fill(network: nn.Module, state: Any, path: Path, what: str) -> None:
    """Set every parameter of ``network`` from ``state``, none missing and none left over.

    A network on the meta device gets the file's tensors themselves: nothing is copied.

    Raises:
        UserError: the tensors are another network's.
    """
    on_meta = any(parameter.is_meta for parameter in network.parameters())
    try:
        # Files from before PyTorch 0.4.1 have no num_batches_tracked; load_state_dict accepts that.
        network.load_state_dict(state, assign=on_meta)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise wrong_content(path, what, error) from error


def wrong_content(path: Path, what: str, reason: object) -> UserError:
    """Make the error for a readable file that holds something else; ``reason`` is shortened to one line."""
    detail = " ".join(str(reason).split())[:200]
    return UserError(f"{path} does not hold the weights of {what} ({detail})")

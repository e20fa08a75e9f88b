"""This fixture seats people at browsers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.annotator import Annotator


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Yield a stack of contexts that are left at the end of the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def sit_down(tmp_path: Path, closing: ExitStack) -> Callable[[str], Annotator]:
    """Return ``sit_down(name)``, which opens a browser of one's own."""
    from tests.support.annotator import Annotator  # needs selenium, as few tests do

    def sit_down(who: str) -> Annotator:
        annotator = Annotator(tmp_path / f"profile-{who}")
        closing.callback(annotator.close)
        return annotator

    return sit_down

"""What a command says when the files of some clips are not what they were."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from funnel import console


def say_unopenable(clips: Mapping[str, int], of: int) -> None:
    """Warn about clips that can no longer be read.

    Args:
        clips: error code (``changed``, ``not_found``, ``unreadable``) -> clips whose file has that trouble.
        of: how many clips there are.
    """
    if not clips:
        return
    codes = ", ".join(f"{code} {count}" for code, count in sorted(clips.items()))
    console.notice(
        f"funnel: {sum(clips.values())} of {of} clips cannot be opened any more ({codes}): their files were replaced "
        "or moved since they were ingested; `funnel run` on the pool finds moved files again",
        logging.WARNING,
    )

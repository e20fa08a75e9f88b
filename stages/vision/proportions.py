"""This module says how high a whole head is, from what is known of it, and what share of the visible body it is."""

from __future__ import annotations

import numpy as np

HEAD_PER_FACE = 1.25  # vertex-gnathion over trichion-gnathion (Farkas, Anthropometry of the Head and Face, 1994)
HEAD_PER_TRUNK = 0.45  # 0.130 over 0.288 of body height (Drillis and Contini, Body Segment Parameters, 1966)


def proportions(
    head: tuple[float, float] | None, bottom: float | None, picture_height: int, close_up_heads: float
) -> tuple[float | None, float | None]:
    """Return ``(head_body_ratio, heads)``; None where the head's size or the body's end is not known.

    Args:
        head: rows of the head's top and chin; both may lie outside the picture.
        bottom: lowest row of the visible body; None if no body was found.
        picture_height: in pixels.
        close_up_heads: heads of visible body below which a picture is a close-up.
    """
    if head is None:
        return None, None
    top, chin = max(0.0, head[0]), min(float(picture_height), head[1])
    if bottom is None:
        # No body was found, but none reaches below the picture's lower edge: that may be enough to know a close-up.
        if (picture_height - top) / (head[1] - head[0]) >= close_up_heads:
            return None, None
        bottom = float(picture_height)
    visible = max(bottom - top, chin - top, 1.0)
    return float(np.clip((chin - top) / visible, 0, 1)), visible / (head[1] - head[0])

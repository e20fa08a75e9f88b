"""Every stage, in the default funnel order: cheap and sparse first, dense later, captions last."""

from __future__ import annotations

from difflib import get_close_matches

from catalogs.errors import UserError
from stages import (
    audio_quality,
    caption,
    face_count,
    head_body,
    language,
    person_count,
    scene_split,
    speakers,
    sync,
    video_quality,
)
from stages.base import Stage

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        scene_split.STAGE,
        person_count.STAGE,
        face_count.STAGE,
        head_body.STAGE,
        video_quality.STAGE,
        language.STAGE,
        audio_quality.STAGE,
        speakers.STAGE,
        sync.STAGE,
        caption.STAGE,
    )
}


def stage_named(name: str, where: str = "") -> Stage:
    """Raises UserError with the nearest valid name."""
    if name in STAGES:
        return STAGES[name]
    near = get_close_matches(name, STAGES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"stages are: {', '.join(STAGES)}"
    raise UserError(f"{where + ': ' if where else ''}unknown stage {name!r}; {hint}")

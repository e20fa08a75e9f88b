"""The structured caption has SkyCaptioner-V1's keys, so that captions of any origin are the same kind of JSON.

The keys are those of SkyCaptioner-V1's published answers (github.com/SkyworkAI/SkyCaptioner-V1). Every value but
``subjects`` is a string; what was not seen or measured is an empty string.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

SUBJECT_TEXTS = ("appearance", "action", "expression", "position")
CLIP_TEXTS = ("shot_type", "shot_angle", "shot_position", "camera_motion", "environment", "lighting")


@dataclass(frozen=True)
class Subject:
    """Describes one subject; ``type`` is e.g. Human, ``sub_type`` e.g. Woman."""

    type: str
    sub_type: str = ""
    appearance: str = ""
    action: str = ""
    expression: str = ""
    position: str = ""
    is_main_subject: bool = False


@dataclass(frozen=True)
class StructuralCaption:
    """Describes one clip."""

    subjects: tuple[Subject, ...] = ()
    shot_type: str = ""
    shot_angle: str = ""
    shot_position: str = ""
    camera_motion: str = ""
    environment: str = ""
    lighting: str = ""

    def to_json(self) -> str:
        """Write SkyCaptioner-V1's layout, on one line."""
        fields = asdict(self)
        fields["subjects"] = [
            {"TYPES": {"type": subject.pop("type"), "sub_type": subject.pop("sub_type")}, **subject}
            for subject in fields["subjects"]
        ]
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> StructuralCaption:
        """Read a captioner's answer; unknown keys are ignored, because models add some.

        Raises:
            ValueError: it is not one JSON object, a key is missing, or a value has the wrong type; the message says
                which.
        """
        given = _object(json.loads(text), "caption")
        subjects = given.get("subjects")
        if not isinstance(subjects, list):
            raise ValueError(f"subjects must be a list, got {type(subjects).__name__}")
        parsed = tuple(_subject(_object(item, f"subjects[{i}]"), f"subjects[{i}]") for i, item in enumerate(subjects))
        return cls(subjects=parsed, **{key: _text(given, key, "caption") for key in CLIP_TEXTS})


def _subject(given: dict[str, Any], where: str) -> Subject:
    types = _object(given.get("TYPES"), f"{where}.TYPES")
    main = given.get("is_main_subject")
    if not isinstance(main, bool):
        raise ValueError(f"{where}.is_main_subject must be true or false, got {main!r}")
    return Subject(
        type=_text(types, "type", f"{where}.TYPES"),
        sub_type=_text(types, "sub_type", f"{where}.TYPES"),
        is_main_subject=main,
        **{key: _text(given, key, where) for key in SUBJECT_TEXTS},
    )


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, got {type(value).__name__}")
    return value


def _text(given: dict[str, Any], key: str, where: str) -> str:
    value = given.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{where}.{key} must be a string, got {type(value).__name__}")
    return value

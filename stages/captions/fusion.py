"""The structured caption becomes prose: its fields in a fixed order, or a language model's wording of them.

:func:`prose` is deterministic and adds nothing: one clause per subject (the main one first: appearance or type,
position, action, expression), then the environment, the light, and the shot (type, angle, position, camera motion).
Empty fields, "other" and repetitions are left out, and underscores become spaces.

SkyCaptioner-V1's own second step lets a language model (Qwen2.5-32B-Instruct) word the same fields;
:func:`fusion_messages` asks for the same in words of our own.
"""

from __future__ import annotations

import re
from typing import Any

from stages.captions.structure import StructuralCaption, Subject

UNSAID = frozenset({"", "none", "other", "unknown", "n/a", "null"})

FUSION = (
    "Below are the fields of a structured description of one video clip, as JSON. Write one fluent English paragraph "
    "that says what is in them, as a caption for training a video generator: the main subject first (appearance, "
    "action, expression, position), then the others, the surroundings, the light, the shot and the camera's motion. "
    "Use only what the fields say; leave out empty fields and the word 'other'. Answer with the paragraph alone."
)


def prose(caption: StructuralCaption) -> str:
    """Write the fields as one paragraph; "" if they are all empty."""
    subjects = sorted(caption.subjects, key=lambda subject: not subject.is_main_subject)
    shot = [_said(caption.shot_type), _said(caption.shot_angle), _said(caption.shot_position)]
    sentences = [
        *(_of_subject(subject) for subject in subjects),
        _said(caption.environment),
        _said(caption.lighting),
        f"Shot: {', '.join(part for part in shot if part)}" if any(shot) else "",
        _said(caption.camera_motion) and f"Camera: {_lower(_said(caption.camera_motion))}",
    ]
    return " ".join(dict.fromkeys(_sentence(text) for text in sentences if text))


def fusion_messages(caption: StructuralCaption) -> list[dict[str, Any]]:
    """Write the question to a language model."""
    return [{"role": "user", "content": f"{FUSION}\n\n{caption.to_json()}"}]


def _of_subject(subject: Subject) -> str:
    kind = _said(subject.sub_type) or _said(subject.type)
    who = _said(subject.appearance) or (f"{_article(kind)} {_lower(kind)}" if kind else "")
    rest = [_said(subject.position), _said(subject.action), _said(subject.expression)]
    return "; ".join(part for part in (who, *(_lower(text) for text in rest if text)) if part)


def _said(text: str) -> str:
    """Return the field's words on one line, without underscores and the last full stop; "" if it says nothing."""
    words = " ".join(text.replace("_", " ").split()).rstrip(" .;,")
    return "" if words.lower() in UNSAID else words


def _lower(text: str) -> str:
    """Begin the text with a small letter, unless its first word is an abbreviation or "I"."""
    return text[0].lower() + text[1:] if re.match(r"[A-Z][a-z]|A ", text) else text


def _article(noun: str) -> str:
    return "An" if noun[0].lower() in "aeiou" else "A"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."

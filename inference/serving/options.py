"""This module says what a client may ask for beside the two files, once for checks, the OpenAPI document and the page.

Every option comes as text, as the fields of a form do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

from catalogs.errors import UserError

_INTEGER = re.compile(r"-?[0-9]{1,15}")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,30})?([eE]-?[0-9]{1,3})?")
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class Option:
    """Describes one option.

    Attributes:
        kind: as JSON Schema names it.
        about: what it does, one sentence.
        low, high: least and greatest value of a number; for a string, fewest and most characters.
    """

    kind: Literal["string", "integer", "number", "boolean"]
    about: str
    low: int = 0
    high: int = 0


@dataclass(frozen=True)
class Options:
    """Holds what a client asked for, by the names of ``inference.request.Request``; ``OPTIONS`` explains them."""

    title: str = ""
    prompt: str = ""
    seed: int = 0
    steps: int | None = None
    audio_scale: float | None = None
    text_scale: float | None = None
    cache: float = 0.0
    colour: float = 0.0
    scale: int = 1
    face: int | None = None
    force: bool = False


OPTIONS: dict[str, Option] = {
    "title": Option("string", "What lists call the video; it changes nothing else.", 0, 200),
    "prompt": Option("string", "What is to be seen, in words.", 0, 2000),
    "seed": Option("integer", "Another number gives another video; the same gives the same again.", 0, 2**31 - 1),
    "steps": Option("integer", "Steps from noise to video, more take longer; the model's own number without.", 1, 200),
    "audio_scale": Option("number", "How strongly the sound leads the face; the model's own strength without.", 0, 20),
    "text_scale": Option("number", "How strongly the prompt leads; the model's own strength without.", 0, 20),
    "cache": Option("number", "How much the model's steps may be skipped: 0 computes each, 0.3 is usual.", 0, 1),
    "colour": Option("number", "How strongly colours are held to the portrait's.", 0, 1),
    "scale": Option("integer", "The film's pictures are so many times larger than the model's.", 1, 8),
    "face": Option("integer", "Which of several faces, from 1, from the left; the largest without.", 1, 99),
    "force": Option("boolean", "Go on although no face is found.", 0, 0),
}

_DEFAULTS = {field.name: field.default for field in fields(Options) if field.default is not MISSING}


def read_options(given: Mapping[str, str]) -> Options:
    """A client's options are read.

    Args:
        given: name -> text; what is left out, or is an empty number, has its default.

    Raises:
        UserError: an option is unknown or has a value that it cannot have; the line names it.
    """
    values = {}
    for name, text in given.items():
        if name not in OPTIONS:
            raise UserError(f"there is no option {name!r}; there are {', '.join(OPTIONS)}")
        if text or OPTIONS[name].kind == "string":
            values[name] = _value(name, text)
    return Options(**values)


def option_schema(name: str) -> dict[str, Any]:
    """JSON Schema describes an option, for a reader of the API."""
    option, default = OPTIONS[name], _DEFAULTS[name]
    schema: dict[str, Any] = {"type": option.kind, "description": option.about}
    if option.kind == "string":
        schema["maxLength"] = option.high
    elif option.kind in ("integer", "number"):
        schema |= {"minimum": option.low, "maximum": option.high}
    return schema if default is None else schema | {"default": default}


def _value(name: str, text: str) -> Any:
    option = OPTIONS[name]
    if option.kind == "string":
        if len(text) > option.high:
            raise UserError(f"{name} has {len(text)} characters: at most {option.high} are taken")
        return text
    if option.kind == "boolean":
        if text.lower() not in _WORDS:
            raise UserError(f"{name} is true or false")
        return _WORDS[text.lower()]
    pattern, kind = (_INTEGER, int) if option.kind == "integer" else (_NUMBER, float)
    value: int | float = kind(text) if pattern.fullmatch(text) else math.nan
    if not option.low <= value <= option.high:
        what = "a whole number" if option.kind == "integer" else "a number"
        raise UserError(f"{name} is {what} from {option.low} to {option.high}")
    return value

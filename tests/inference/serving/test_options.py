"""Options come as text; what cannot be is refused by name, and the schema says the same as the check."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import jsonschema
import pytest

from catalogs.errors import UserError
from inference.request import Request
from inference.serving.generator import Work, request_of
from inference.serving.options import OPTIONS, Options, option_schema, read_options


def test_what_is_left_out_or_empty_has_its_default() -> None:
    assert read_options({}) == Options()
    assert read_options({"seed": "", "steps": "", "face": "", "force": "", "prompt": ""}) == Options()


def test_every_kind_is_read() -> None:
    given = {"title": " t ", "prompt": "zwei\n人", "seed": "7", "steps": "3", "audio_scale": "2.5e0", "face": "1"}
    read = read_options({**given, "force": "True"})
    assert read == Options(" t ", "zwei\n人", 7, 3, 2.5, face=1, force=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("seed", "-1"),
        ("seed", str(2**31)),
        ("seed", "1.0"),
        ("seed", "1_0"),
        ("seed", "٣"),
        ("seed", " 1"),
        ("seed", "9" * 5000),
        ("steps", "0"),
        ("steps", "201"),
        ("audio_scale", "nan"),
        ("audio_scale", "inf"),
        ("audio_scale", "1e999"),
        ("audio_scale", "20.01"),
        ("audio_scale", "-0.1"),
        ("face", "x"),
        ("face", "0"),
        ("scale", "9"),
        ("cache", "1.5"),
        ("force", "yes"),
        ("title", "x" * 201),
        ("prompt", "x" * 2001),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(UserError, match=f"^{name} ") as refused:
        read_options({name: text})
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_the_pipeline_is_asked_for_what_the_client_asked_for() -> None:
    options = read_options({"title": "t", "prompt": "p", "seed": "7", "audio_scale": "2.50", "scale": "2"})
    request = request_of(Work(Path("a"), Path("b"), options))
    assert request == Request(image=Path("a"), audio=Path("b"), prompt="p", seed=7, audio_scale="2.5", scale=2)
    assert request_of(Work(Path("a"), Path("b"), Options())) == Request(image=Path("a"), audio=Path("b"))


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(UserError, match="no option 'image'"):
        read_options({"image": "/etc/passwd"})


def test_every_option_is_described_and_its_default_fits_its_schema() -> None:
    assert list(OPTIONS) == [field.name for field in fields(Options)]
    for name in OPTIONS:
        schema = option_schema(name)
        jsonschema.Draft202012Validator.check_schema(schema)
        if "default" in schema:
            jsonschema.validate(schema["default"], schema)
        for bound in {"minimum", "maximum"} & schema.keys():
            read_options({name: str(schema[bound])})

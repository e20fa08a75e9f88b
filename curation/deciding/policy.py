"""A policy says which stages run, in which order, with which named rules. This module reads and validates its YAML.

A rule is a SQL boolean expression over its stage's columns; ``keep: {one_face: "face_count_max = 1"}`` keeps the clips
for which it is true. Rules decide later than measuring, so a new threshold costs no compute.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import yaml

from catalogs import schema
from catalogs.errors import UserError
from catalogs.media import MediaConfig
from stages.base import PROFILES, Profile, Stage, StageConfig
from stages.listing import STAGES, stage_named

OnUnavailable = Literal["pass", "drop"]
_POLICY_KEYS = ("name", "profile", "media", "stages")
_STAGE_KEYS = ("stage", "keep", "config", "on_unavailable", "why")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Rule:
    """A rule keeps the clips for which ``expression`` is true; ``columns`` are those that the expression looks at."""

    name: str
    expression: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class StagePolicy:
    """Holds one stage of a policy, with its rules in the order in which they are tried."""

    stage: Stage
    rules: tuple[Rule, ...]
    config: StageConfig
    on_unavailable: OnUnavailable = "pass"


@dataclass(frozen=True)
class Policy:
    """Holds a validated policy; ``text`` is the YAML that it came from, stored with every run."""

    name: str
    profile: Profile
    media: MediaConfig
    stages: tuple[StagePolicy, ...]
    text: str


def builtin_policies() -> list[str]:
    """List the names of the policies that ship with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in files("curation").joinpath("policies").iterdir())


def load_policy(name_or_path: str, profile: Profile | None = None) -> Policy:
    """Load a shipped policy by name (``lite``, ``reference``, ``measure_all``) or a YAML file by path.

    Args:
        profile: overrides the policy's own.

    Raises:
        UserError: file missing, not YAML, or anything in it unknown: one line with file, key and nearest valid name.
    """
    if name_or_path in builtin_policies():
        text = files("curation").joinpath("policies", f"{name_or_path}.yaml").read_text("utf-8")
        return parse_policy(text, f"policy {name_or_path}", profile)
    path = Path(name_or_path)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        shipped = ", ".join(builtin_policies())
        raise UserError(f"no policy file {name_or_path}; shipped policies are: {shipped}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"policy {name_or_path} cannot be read: {error}") from error
    return parse_policy(text, str(path), profile)


def parse_policy(text: str, where: str, profile: Profile | None = None) -> Policy:
    """Validate YAML text. ``where`` names it in messages."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(document, dict):
        raise UserError(f"{where}: a policy is a mapping with the keys {', '.join(_POLICY_KEYS)}")
    _check_keys(document, _POLICY_KEYS, where)
    chosen = profile or document.get("profile", "lite")
    if chosen not in PROFILES:
        raise UserError(f"{where}: profile must be one of {', '.join(PROFILES)}, got {chosen!r}")
    entries = document.get("stages")
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{where}: stages must be a non-empty list of mappings with a 'stage' key")
    stages = [_stage(entry, chosen, f"{where}: stages[{i}]") for i, entry in enumerate(entries)]
    names = [s.stage.name for s in stages]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{where}: stage {name} is listed twice")
    if "scene_split" not in names:
        split = STAGES["scene_split"]
        stages.insert(0, StagePolicy(split, (), split.config_of(chosen)()))
    elif names[0] != "scene_split":
        raise UserError(f"{where}: scene_split makes the clips, so it must be the first stage")
    return Policy(
        name=str(document.get("name") or Path(where).stem),
        profile=chosen,
        media=_media(document.get("media") or {}, where),
        stages=tuple(stages),
        text=text,
    )


def _stage(entry: Any, profile: Profile, where: str) -> StagePolicy:
    if isinstance(entry, str):
        entry = {"stage": entry}
    if not isinstance(entry, dict) or "stage" not in entry:
        raise UserError(f"{where}: needs a 'stage' key")
    stage = stage_named(str(entry["stage"]), where)
    where = f"{where} ({stage.name})"
    _check_keys(entry, _STAGE_KEYS, where)
    keep = entry.get("keep") or {}
    if not isinstance(keep, dict):
        raise UserError(f"{where}: keep must be a mapping of rule name to SQL expression")
    on_unavailable = entry.get("on_unavailable", "pass")
    if on_unavailable not in ("pass", "drop"):
        raise UserError(f"{where}: on_unavailable must be pass or drop, got {on_unavailable!r}")
    config = entry.get("config") or {}
    if not isinstance(config, dict):
        raise UserError(f"{where}: config must be a mapping")
    return StagePolicy(
        stage=stage,
        rules=tuple(_rule(name, sql, stage, where) for name, sql in keep.items()),
        config=stage.config_of(profile).parse(config, where),
        on_unavailable=on_unavailable,
    )


def _media(given: Any, where: str) -> MediaConfig:
    if not isinstance(given, dict):
        raise UserError(f"{where}: media must be a mapping")
    _check_keys(given, tuple(f.name for f in fields(MediaConfig)), f"{where}: media")
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise UserError(f"{where}: media.{key} must be a positive number, got {value!r}")
    return MediaConfig(**given)


def _check_keys(given: dict, known: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            raise UserError(f"{where}: unknown key {key!r}; {hint}")


def rule_columns(stage: Stage) -> pa.Schema:
    """Return the columns that a stage's rules may use."""
    return schema.CLIPS if stage.key == "source_id" else schema.measurement_schema(stage.columns)


def _rule(name: object, sql: object, stage: Stage, where: str) -> Rule:
    where = f"{where}: rule {name!r}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(f"{where}: a rule's name is letters, digits and underscores")
    if not isinstance(sql, str) or not sql.strip():
        raise UserError(f"{where}: needs a SQL expression in quotes, got {sql!r}")
    columns = _referenced(sql, where)
    known = rule_columns(stage).names
    for column in columns:
        if column not in known:
            near = get_close_matches(column, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"columns of {stage.name}: {', '.join(known)}"
            raise UserError(f"{where}: unknown column {column!r}; {hint}")
    _check_boolean(sql, stage, where)
    return Rule(name, sql.strip(), columns)


def _referenced(sql: str, where: str) -> tuple[str, ...]:
    """Return the columns of a scalar expression; refuse all that is not one (statements, subqueries, aggregates)."""
    with duckdb.connect() as connection:
        (parsed,) = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({sql}\n)"]).fetchone() or ("{}",)
    tree = json.loads(parsed)
    if tree.get("error"):
        raise UserError(f"{where}: bad SQL in {sql!r}: {_first_line(tree.get('error_message', ''))}")
    statements = tree["statements"]
    node = statements[0]["node"]
    kinds = {entry.get("class") for entry in _walk(node)}
    simple = (
        node.get("type") == "SELECT_NODE" and len(node["select_list"]) == 1 and node["from_table"]["type"] == "EMPTY"
    )
    if len(statements) != 1 or not simple or kinds & {"SUBQUERY", "WINDOW", "STAR"}:
        raise UserError(f"{where}: {sql!r} must be one expression over the stage's columns, without subqueries")
    names = [entry["column_names"][-1] for entry in _walk(node) if entry.get("class") == "COLUMN_REF"]
    return tuple(dict.fromkeys(names))


def _walk(node: Any) -> Iterator[dict]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)


def _check_boolean(sql: str, stage: Stage, where: str) -> None:
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        # A row of nulls rather than none: a constant of the wrong type shows only when the expression is run.
        connection.register("t", pa.Table.from_pylist([{}], schema=rule_columns(stage)))
        try:
            connection.execute(f"SELECT ({sql}\n) FROM t").fetchall()
            described = connection.execute(f"DESCRIBE SELECT ({sql}\n) FROM t").fetchall()
        except duckdb.Error as error:
            raise UserError(f"{where}: bad SQL in {sql!r}: {_first_line(str(error))}") from error
    kind = described[0][1]
    if kind != "BOOLEAN":
        raise UserError(f"{where}: {sql!r} is {kind}, a rule must be true or false")


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0] if message.strip() else "cannot be parsed"

"""A query's answer for other programs: each format has a place for every type of SQL, or refuses it in words."""

from __future__ import annotations

import csv
import io
import json

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs.errors import UserError
from funnel import answers, console


def answer(**columns: str) -> pa.Table:
    """One row of SQL expressions."""
    with duckdb.connect() as connection:
        sql = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
        return connection.sql(f"SELECT {sql}").to_arrow_table()


def csv_row(table: pa.Table) -> dict[str, str]:
    (row,) = csv.DictReader(io.StringIO(answers.as_csv(table).decode()))
    return row


@pytest.mark.parametrize(("expression", "cell"), [
    ("[1, 2, NULL]", "[1, 2, null]"),
    ("""['a "b"', 'c, d']""", '["a \\"b\\"", "c, d"]'),
    ("{'a': 1, 'b': DATE '2026-01-31'}", '{"a": 1, "b": "2026-01-31"}'),
    ("[{'a': 1}, {'a': 2}]", '[{"a": 1}, {"a": 2}]'),
    ("MAP {'a': 1, 'b': 2}", '[["a", 1], ["b", 2]]'),
    ("MAP {1: [1, 2]}", "[[1, [1, 2]]]"),
    ("array_value(1, 2)", "[1, 2]"),
    ("union_value(number := 1)", "1"),
    ("[]::INTEGER[]", "[]"),
    ("NULL::INTEGER[]", ""),
    ("['话']", '["话"]'),
])  # fmt: skip
def test_what_is_nested_is_a_cell_of_json(expression: str, cell: str) -> None:
    assert csv_row(answer(nested=expression, beside="7")) == {"nested": cell, "beside": "7"}


@pytest.mark.parametrize(("expression", "cell"), [
    ("1.5", "1.5"),
    ("sum(7)", "7"),
    ("'a, \"b\"'", 'a, "b"'),
    ("NULL", ""),
    ("true", "true"),
    ("DATE '2026-01-31'", "2026-01-31"),
    ("'x'::ENUM('x', 'y')", "x"),
    ("'a\\xFF'::BLOB", "61ff"),
    ("INTERVAL 1 DAY", "[0, 1, 0]"),
])  # fmt: skip
def test_what_is_plain_is_a_plain_cell(expression: str, cell: str) -> None:
    assert csv_row(answer(plain=expression, beside="7")) == {"plain": cell, "beside": "7"}


def test_an_answer_without_rows_is_a_line_of_names() -> None:
    empty = answer(a="[1]", b="2").slice(0, 0)
    assert answers.as_csv(empty).decode().splitlines() == ['"a","b"']
    assert json.loads(console.json_text(empty.to_pylist())) == []


@pytest.mark.parametrize(("expression", "value"), [
    ("sum(7)", 7),
    ("1.5::DECIMAL(10, 2)", 1.5),
    ("TIMESTAMP '2026-01-31 10:00:00'", "2026-01-31T10:00:00"),
    ("TIME '10:00:00'", "10:00:00"),
    ("[DATE '2026-01-31']", ["2026-01-31"]),
    ("'a\\xFF'::BLOB", "61ff"),
])  # fmt: skip
def test_json_has_a_word_for_every_type(expression: str, value: object) -> None:
    assert json.loads(console.json_text(answer(it=expression).to_pylist())) == [{"it": value}]


def test_parquet_keeps_types_and_refuses_in_words_what_it_has_none_for() -> None:
    nested = answer(nested="[{'a': 1}]")
    assert pq.read_table(io.BytesIO(answers.as_parquet(nested))).to_pylist() == nested.to_pylist()
    with pytest.raises(UserError, match=r"cannot be written as Parquet: .*interval.*; cast the column in the query"):
        answers.as_parquet(answer(span="INTERVAL 1 DAY"))

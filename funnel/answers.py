"""A query's answer is written here as a file of another program: CSV or Parquet."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from pyarrow import types

from catalogs.errors import UserError
from funnel.console import json_text


def as_csv(answer: pa.Table) -> bytes:
    """Write a line per row, after one of names. Lists, structs and maps are cells of JSON; bytes are hexadecimal."""
    columns = [
        column if _fits_into_a_cell(column.type) else pa.array(map(_cell, column.to_pylist()), pa.string())
        for column in answer.columns
    ]
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(pa.table(columns, names=answer.column_names), sink)
    return sink.getvalue().to_pybytes()


def as_parquet(answer: pa.Table) -> bytes:
    """Write a Parquet file.

    Raises:
        UserError: Parquet has no such type as one of the columns, an interval for instance.
    """
    sink = pa.BufferOutputStream()
    try:
        pyarrow.parquet.write_table(answer, sink, compression="zstd")
    except pa.ArrowNotImplementedError as error:
        raise UserError(f"this answer cannot be written as Parquet: {error}; cast the column in the query") from error
    return sink.getvalue().to_pybytes()


def _fits_into_a_cell(kind: pa.DataType) -> bool:
    """Say whether Arrow itself writes values of this type as CSV."""
    if types.is_dictionary(kind):
        return _fits_into_a_cell(kind.value_type)
    is_text = types.is_string(kind) or types.is_large_string(kind)
    return (
        is_text
        or types.is_null(kind)
        or (types.is_primitive(kind) and not types.is_interval(kind))
        or types.is_decimal(kind)
    )


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return value.hex() if isinstance(value, bytes) else json_text(value)

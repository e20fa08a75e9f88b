"""`funnel query` answers SQL over a catalog."""

from __future__ import annotations

import enum
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from funnel import console, options

if TYPE_CHECKING:
    import pyarrow as pa


class Format(str, enum.Enum):
    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def query(
    catalog: options.Catalog,
    sql: Annotated[str, typer.Argument(help="One SELECT over sources, clips, failures, <stage>, verdicts, curated.")],
    form: Annotated[Format, typer.Option("--format", help="How to print the answer.")] = Format.table,
    policy: options.Policy = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows shown by --format table.")] = 50,
) -> None:
    """Ask the catalog anything, in SQL.

    `funnel query CATALOG "select drop_rule, count(*) from verdicts group by 1"`

    `"show tables"` lists the tables, `"describe clips"` the columns of one. As CSV, lists, structs and maps
    are cells of JSON.
    """
    from catalogs.catalog import Catalog
    from catalogs.errors import UserError
    from catalogs.query import run_query
    from curation.deciding.verdicts import open_views
    from funnel import answers
    from funnel.policies import funnel_to_read

    if form is Format.parquet and sys.stdout.isatty():
        command = f"funnel query {catalog} … --format parquet > answer.parquet"
        raise UserError(f"parquet is binary: send it to a file, e.g. `{command}`")
    opened = Catalog.open(catalog)
    answer = run_query(open_views(opened, funnel_to_read(opened, policy)), sql)
    if form is Format.table:
        _print_table(answer, limit)
    elif form is Format.json:
        console.as_json(answer.to_pylist())
    else:
        written = answers.as_csv(answer) if form is Format.csv else answers.as_parquet(answer)
        sys.stdout.buffer.write(written)


def _print_table(answer: pa.Table, limit: int) -> None:
    from pyarrow.types import is_floating, is_integer

    columns = [
        console.Column(field.name, align="right" if is_integer(field.type) or is_floating(field.type) else "left")
        for field in answer.schema
    ]
    shown = answer.slice(0, limit).to_pylist()
    console.table(columns, [[_text(value) for value in row.values()] for row in shown])
    if len(answer) > limit:
        console.line(f"… {len(answer) - limit} more rows (--limit, or --format csv)")


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""`funnel labels` exchanges lots and answers with other tools, as files."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated

import typer

from funnel import console, options
from funnel.command_line import CONTEXT

app = typer.Typer(
    no_args_is_help=True,
    context_settings=CONTEXT,
    help="Exchange lots and answers with other tools (CSV, Label Studio).",
)
_MEDIA_URL = "{path}#t={start_s},{end_s}"


class Form(str, enum.Enum):
    csv = "csv"
    answers_csv = "answers-csv"
    label_studio = "label-studio"


@app.command("export")
def export_lot(
    catalog: options.Catalog,
    lot: options.Lot,
    form: Annotated[Form, typer.Option("--format", help="Items or answers as CSV, or Label Studio tasks.")] = Form.csv,
    media_url: Annotated[
        str | None,
        typer.Option(
            help="label-studio: where clips are served, e.g. 'http://host/{clip_id}.mp4'; default: the source."
        ),
    ] = None,
    label_config: Annotated[
        Path | None, typer.Option(help="label-studio: also write the labelling interface (XML) to this file.")
    ] = None,
) -> None:
    """Print a lot for another tool: its items, or its answers.

    `funnel labels export CATALOG LOT > items.csv`
    """
    from catalogs.catalog import Catalog
    from catalogs.errors import UserError
    from curation.annotation import exchange, label_studio
    from curation.annotation.records import read_lot
    from curation.report.write import check_target

    if label_config and form is not Form.label_studio:
        raise UserError("--label-config goes with --format label-studio")
    if media_url and form is not Form.label_studio:
        raise UserError("--media-url goes with --format label-studio")
    if label_config:
        check_target(label_config, "--label-config", "label_config.xml")
    opened = Catalog.open(catalog)
    found, items = read_lot(opened, lot)
    if form is Form.label_studio:
        console.line(json.dumps(label_studio.label_studio_tasks(found, items, media_url or _MEDIA_URL), indent=1))
        if label_config:
            label_config.write_text(label_studio.label_studio_config(found), "utf-8")
            console.notice(f"wrote {label_config}")
        return
    text = exchange.items_csv(found, items) if form is Form.csv else exchange.answers_csv(opened, found)
    console.verbatim(text)


@app.command("import")
def import_answers(
    catalog: options.Catalog,
    lot: options.Lot,
    file: Annotated[Path, typer.Argument(help="CSV of answers, or Label Studio's JSON export.")],
) -> None:
    """Take in answers that were given in another tool.

    The file is checked whole before its first answer is stored. It may be imported again.
    """
    from catalogs.catalog import Catalog
    from catalogs.errors import UserError
    from curation.annotation import exchange, label_studio
    from curation.annotation.records import read_lot

    opened = Catalog.open(catalog)
    found, items = read_lot(opened, lot)
    try:
        text = file.read_bytes().decode("utf-8")  # line ends inside notes stay as they are
    except OSError as error:
        raise UserError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} cannot be read: it is not UTF-8 text, as CSV and JSON must be") from error
    read = label_studio.read_label_studio if file.suffix.lower() == ".json" else exchange.read_answers_csv
    try:
        answers = read(found, items, text)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    new = exchange.store_answers(opened, found, answers)
    console.line(f"{new} new answers in lot {lot}, {len(answers) - new} were there already")

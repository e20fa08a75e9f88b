"""`funnel annotate` serves a page on which people judge the clips of a lot."""

from __future__ import annotations

import os
import shlex
import sys
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from funnel import console, options
from funnel.unopenable import say_unopenable

if TYPE_CHECKING:
    from curation.annotation.records import Lot


def annotate(
    catalog: options.Catalog,
    lot: options.Lot,
    annotator: Annotated[str | None, typer.Option(help="Name of the annotator; default: the page asks.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes any free one.")] = 8765,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser, if there is a desktop.")] = True,
) -> None:
    """Judge the clips of a lot in a browser.

    Answers are stored as they are given. Ctrl-C ends; the same command goes on where it stopped.
    """
    from catalogs.catalog import Catalog
    from catalogs.names import check_name
    from curation.annotation.page.desk import Desk
    from curation.annotation.page.lot_clips import LotClips
    from curation.annotation.page.scores import scores_of
    from curation.annotation.page.serve import serve
    from curation.annotation.records import read_lot

    if annotator is not None:
        check_name(annotator, "annotator")
    opened = Catalog.open(catalog)
    drawn, items = read_lot(opened, lot)
    opened.store.check_writable()

    def ready(address: str) -> None:
        console.line(f"lot {lot}: {_amount(drawn)} that {drawn.stage} {drawn.side}; Ctrl-C ends, answers are kept")
        console.line(address)
        if browser and _has_desktop():
            webbrowser.open(address)

    desk, lot_clips = Desk(opened, drawn, items), LotClips(opened, items)
    say_unopenable(lot_clips.troubles(), drawn.clips)
    serve(desk, lot_clips, scores_of(drawn, items), annotator, port, ready)
    where = shlex.quote(catalog)
    counting = f"funnel accept {where} {lot}" if drawn.mode == "verdict" else f"funnel lots {where}"
    console.paragraph(f"\nTo go on, run the same command again. To see what the answers say: {counting}")


def _amount(lot: Lot) -> str:
    return f"{lot.size} {'pairs of clips' if lot.mode == 'pair' else 'clips'}"


def _has_desktop() -> bool:
    """Say whether there is a desktop: without one, Python would start a text browser in this terminal."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))

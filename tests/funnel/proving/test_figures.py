"""Figures are held against their bars, shown, written and read."""

import json
import math
from pathlib import Path

import pytest

from catalogs.errors import UserError
from funnel.proving.figures import (
    Figure,
    ProofFallsShort,
    at_least,
    at_most,
    read_figures,
    require,
    show,
    skipped,
    stated,
    versions,
    write_figures,
)

GOOD = at_least("mouth r, own sound", 0.91, 0.85, "16 clips, spread .02")
BAD = at_most("mouth r, other sound", 0.42, 0.3)
MISSING = skipped("sync confidence", "no weights")


@pytest.mark.parametrize(
    ("figure", "holds"),
    [
        (at_least("r", 0.85, 0.85), True),
        (at_least("r", 0.8499, 0.85), False),
        (at_most("r", 0.3, 0.3), True),
        (at_most("r", 0.31, 0.3), False),
        (at_least("r", math.nan, 0.85), False),
        (at_most("r", math.nan, 0.3), False),
        (at_most("r", math.inf, 0.3), False),
        (stated("r", 0.5), None),
        (skipped("r", "no weights"), None),
    ],
)
def test_a_bar_holds_on_its_own_side_only_and_no_number_never_does(figure: Figure, holds: bool | None) -> None:
    assert figure.holds is holds


def test_a_proof_ends_with_the_figures_that_fall_short() -> None:
    require([GOOD, stated("seconds", 9.0), MISSING])
    with pytest.raises(ProofFallsShort) as end:
        require([GOOD, BAD, at_least("gap", math.nan, 0.2, form="+.0%"), MISSING])
    assert str(end.value) == (
        "2 of 3 figures with a bar fall short: mouth r, other sound is 0.420, the bar is <= 0.300; "
        "gap is -, the bar is >= +20%"
    )
    assert [figure.name for figure in end.value.short] == ["mouth r, other sound", "gap"]


def test_the_table_shows_value_bar_and_mark(capsys: pytest.CaptureFixture[str]) -> None:
    show([GOOD, BAD, at_least("gap", 0.313, 0.2, form="+.1%"), MISSING])
    heading, *rows = (" ".join(line.split()) for line in capsys.readouterr().out.splitlines())
    assert heading == "figure value bar note"
    assert rows[0] == "ok mouth r, own sound 0.910 >= 0.850 16 clips, spread .02"
    assert rows[1] == "XX mouth r, other sound 0.420 <= 0.300"
    assert rows[2] == "ok gap +31.3% >= +20.0%"
    assert rows[3] == "sync confidence - skipped: no weights"


def test_what_is_written_is_read_again_and_is_plain_json(tmp_path: Path) -> None:
    figures = (GOOD, BAD, MISSING, at_least("gap", math.nan, 0.2))
    facts = {"seed": 0, "encoder": {"name": "log_mel", "digest": "ab"}, "versions": versions()}
    write_figures(tmp_path / "figures.json", figures, facts)
    assert read_figures(tmp_path / "figures.json") == (figures, facts)
    content = json.loads((tmp_path / "figures.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert content["figures"][0]["value"] == 0.91
    assert content["figures"][3]["value"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


@pytest.mark.parametrize("text", [None, "{", '{"format": 99, "figures": [], "facts": {}}', "[]", '{"format": 1}'])
def test_a_file_without_figures_is_one_line(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"figures\.json holds no figures of a proof"):
        read_figures(path)


def test_versions_name_what_changes_numbers() -> None:
    import torch

    assert versions()["torch"] == torch.__version__.split("+")[0] or versions()["torch"] == torch.__version__
    assert {"python", "numpy", "cpus", "machine"} <= versions().keys()

"""The dashboard draws metrics that the workers export, and is what Grafana expects to import."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from runner.metrics import FIGURES
from tests.support.deploy_paths import DEPLOY

BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "portrait-funnel.json").read_text("utf-8"))
SCRAPED = frozenset(series for name, figure in FIGURES.items() for series in figure.scraped(name))
RAYS_OWN_LABELS = {"SessionName", "le"}


def expressions() -> Iterator[tuple[str, str]]:
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_expression_asks_for_series_that_exist(where: str, expression: str) -> None:
    asked = set(re.findall(r"ray_\w+", expression))
    assert asked
    assert asked <= SCRAPED


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_label_is_one_that_the_series_carry(where: str, expression: str) -> None:
    series = re.findall(r"ray_\w+", expression)
    tags = [set(figure.tags) for name, figure in FIGURES.items() if figure.scraped(name) & set(series)]
    carried = set.intersection(*tags) | RAYS_OWN_LABELS
    grouped = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", expression) for label in labels.split(",")}
    assert grouped | set(re.findall(r"(\w+)=~", expression)) <= carried


def test_every_figure_is_drawn() -> None:
    drawn = {series for _, expression in expressions() for series in re.findall(r"ray_\w+", expression)}
    assert [name for name, figure in FIGURES.items() if not figure.scraped(name) & drawn] == []


def test_parentheses_close_and_variables_exist() -> None:
    variables = {variable["name"] for variable in BOARD["templating"]["list"]}
    for where, expression in expressions():
        for opened, closed in ("()", "[]", "{}"):
            assert expression.count(opened) == expression.count(closed), where
        assert set(re.findall(r"\$(\w+)", expression)) <= variables, where


def test_it_can_be_imported() -> None:
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= BOARD.keys()
    assert BOARD["schemaVersion"] >= 36  # data sources are objects
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [cell for panel in panels for cell in covered(panel["gridPos"])]
    assert len(cells) == len(set(cells)), "panels overlap"
    for panel in panels:
        assert panel["type"] in ("stat", "timeseries")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def covered(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y

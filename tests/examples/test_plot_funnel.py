"""The figure says what the catalog's funnel does, and can be read as SVG."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from curation.deciding.lines import Amount, FunnelLine
from tests.support.examples import example
from tests.support.house import ROOT, python
from tests.support.made_catalog import STAGES, World, make

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make(tmp_path_factory.mktemp("plotted"))


@pytest.fixture(scope="module")
def drawn(world: World, tmp_path_factory: pytest.TempPathFactory) -> ElementTree.Element:
    target = tmp_path_factory.mktemp("figure") / "funnel.svg"
    python(ROOT, "examples/plot_funnel.py", world.catalog.store.url, target)
    return ElementTree.fromstring(target.read_text("utf-8"))


def test_every_stage_has_a_bar_as_long_as_its_hours(world: World, drawn: ElementTree.Element) -> None:
    full = example("plot_funnel").WIDTH
    bars = [float(bar.get("width", "")) for bar in drawn.iter(f"{SVG}rect") if bar.get("height") == "16"]
    came, stayed = bars[0::2], bars[1::2]
    whole = sum(clip.duration_s for clip in world.clips)
    passing = [clip for clip in world.clips if clip.stop is None or clip.stop[0] != "scene_split"]
    assert len(came) == len(STAGES)
    assert came[0] == full
    assert stayed[0] == pytest.approx(full * sum(clip.duration_s for clip in passing) / whole, abs=0.1)
    assert came[1:] == stayed[:-1], "what one stage keeps is what the next one gets"
    assert sorted(came, reverse=True) == came


def test_names_and_reasons_are_written_beside_the_bars(drawn: ElementTree.Element) -> None:
    texts = [text.text or "" for text in drawn.iter(f"{SVG}text")]
    assert [text for text in texts if text in STAGES] == list(STAGES)
    assert any(text.startswith("length ") for text in texts)
    assert any("small_offset" in text and "not measured yet" in text for text in texts)


def test_a_catalog_without_clips_is_drawn_too() -> None:
    ElementTree.fromstring(example("plot_funnel").figure([]))


def test_names_stay_text() -> None:
    minute = Amount(1, 60.0)
    line = FunnelLine("<b>", minute, minute, {"a & b": minute}, minute, minute, minute)
    ElementTree.fromstring(example("plot_funnel").figure([line]))

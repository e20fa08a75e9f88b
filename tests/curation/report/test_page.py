"""The page as a file is complete without JavaScript, safe whatever a catalog holds, and of bounded size."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from curation.report.data import PICTURE_BYTES, ReportData, collect
from curation.report.page import page
from tests.support.made_catalog import NASTY, WORD, World


class Read(HTMLParser):
    """Takes a page apart as a browser does."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.scripts if self._inside in ("script", "style") else self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def read(html: str) -> Read:
    return Read(html)


def test_names_from_the_catalog_are_only_text(html: str, read: Read) -> None:
    assert NASTY not in html
    assert WORD not in html
    assert f"/pool/{NASTY}" in read.texts  # the example of a file that cannot be used
    assert WORD in read.texts
    assert [attributes for tag, attributes in read.tags if "onerror" in attributes] == []
    assert sum(tag == "script" for tag, _ in read.tags) == 2
    assert all(
        (attributes["src"] or "").startswith("data:image/jpeg;") for tag, attributes in read.tags if tag == "img"
    )


def test_the_page_asks_nobody_for_anything(read: Read) -> None:
    loading = ("src", "href", "action", "data", "poster", "srcset", "xlink:href")
    addresses = [attributes[key] or "" for _, attributes in read.tags for key in loading if key in attributes]
    assert addresses
    assert all(address.startswith(("#", "data:image/jpeg;")) for address in addresses)
    assert not any(re.search(r"https?://|url\(|@import|fetch\(|import\s", script) for script in read.scripts)


def test_only_its_own_script_and_styles_may_run(html: str, read: Read) -> None:
    (policy,) = (a["content"] or "" for tag, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not any("style" in attributes for _, attributes in read.tags)  # the policy would ignore it


def test_without_javascript_every_figure_is_there_as_text(report: ReportData, read: Read) -> None:
    for stage in report.stages:
        assert f"{stage.line.entered.clips:,}" in read.text
        for rule, gone in stage.line.dropped.items():
            assert f"{rule}: {gone.clips} clip" in read.text
        for slider in stage.sliders:
            assert f"{slider.comparison} lets {slider.passing[slider.now].clips} clip" in read.text.replace(" : ", ": ")
    assert report.funnel.policy.text.strip() in "".join(read.texts)
    for bound in report.funnel.stages:
        assert bound.digest in read.texts


def test_the_data_for_the_sliders_are_those_of_the_report(html: str, report: ReportData) -> None:
    (text,) = re.findall(r'<script type="application/json" id="sliders">(.*?)</script>', html)
    sliders = [slider for stage in report.stages for slider in stage.sliders]
    for data, slider in zip(json.loads(text), sliders, strict=True):
        assert data["clips"] == [amount.clips for amount in slider.passing]
        assert data["clips"][data["now"]] == slider.passing[slider.now].clips


def test_the_page_stays_small(world: World, html: str) -> None:
    assert len(html) < 2_000_000
    most = collect(world.catalog, world.funnel, clips_per_sheet=12)
    pictures = sum(
        len(most.strips[pick.clip_id].jpeg) for stage in most.stages for sheet in stage.sheets for pick in sheet.picks
    )
    assert 0 < pictures <= PICTURE_BYTES


def test_a_page_without_pictures_opens_no_media(world: World) -> None:
    report = collect(world.catalog, world.funnel, clips_per_sheet=0)
    assert report.strips == {}
    assert "<img" not in page(report)


def test_an_empty_catalog_has_a_page_too(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    from catalogs.catalog import Catalog

    empty = Catalog.open_or_create(str(tmp_path_factory.mktemp("empty") / "catalog"))
    text = Read(page(collect(empty, world.funnel))).text
    assert "0 clips, 0 s kept of 0 clips, 0 s" in text
    assert "Nothing has been measured here." in text

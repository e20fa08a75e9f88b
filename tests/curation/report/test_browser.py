"""A real browser opens the page from a file, as somebody does who got it by mail."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from curation.report.data import ReportData
from curation.report.write import write_page
from tests.support.browser import needs_browser, open_browser, webdriver

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, html: str) -> Iterator[webdriver.Chrome]:
    folder = tmp_path_factory.mktemp("browser")
    write_page(folder / "report.html", html)
    browser = open_browser(folder / "profile")
    browser.get((folder / "report.html").as_uri())
    yield browser
    browser.quit()


def move_slider(browser: webdriver.Chrome, number: int, at: int) -> str:
    """Put a slider at a position, and return what the page then says."""
    script = """
        const place = document.querySelector(`.threshold[data-slider="${arguments[0]}"]`);
        const slider = place.querySelector("input");
        slider.value = arguments[1];
        slider.dispatchEvent(new Event("input"));
        return place.querySelector("output").textContent;
    """
    return browser.execute_script(script, number, at)


def background(browser: webdriver.Chrome) -> str:
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_a_slider_tells_what_another_threshold_would_let_through(browser: webdriver.Chrome, report: ReportData) -> None:
    sliders = [slider for stage in report.stages for slider in stage.sliders]
    number = next(i for i, slider in enumerate(sliders) if slider.rule == "small_offset")
    slider = sliders[number]
    looser = slider.now + 2
    said = move_slider(browser, number, looser)
    assert slider.passing[looser].clips > slider.passing[slider.now].clips
    assert said.startswith(f"{slider.passing[looser].clips} clips, ")
    assert f"+{slider.passing[looser].clips - slider.passing[slider.now].clips} clip" in said
    assert "is unknown" in said
    assert 'small_offset: "abs(sync_offset_frames) <= 5"' in said
    stricter = slider.now - 2
    said = move_slider(browser, number, stricter)
    assert f"−{slider.passing[slider.now].clips - slider.passing[stricter].clips} clip" in said
    assert f"Of {report.kept.clips} clips kept to the end, {slider.kept[stricter].clips} clip" in said
    assert move_slider(browser, number, slider.now) == " This is the present threshold."


def test_the_line_of_a_moved_threshold_moves_with_it(browser: webdriver.Chrome, report: ReportData) -> None:
    sliders = [slider for stage in report.stages for slider in stage.sliders]
    number = next(i for i, slider in enumerate(sliders) if slider.rule == "small_offset")
    script = (
        f"return [...document.querySelectorAll('line.moved[data-slider=\"{number}\"]')].map(l => +l.getAttribute('x1'))"
    )
    before = browser.execute_script(script)
    move_slider(browser, number, sliders[number].now + 1)
    after = browser.execute_script(script)
    steps = sorted(round(b - a, 3) for a, b in zip(before, after, strict=True))
    assert steps[0] == -steps[1] < 0  # one to the left, one to the right, equally far
    move_slider(browser, number, sliders[number].now)


def test_dark_and_light(browser: webdriver.Chrome) -> None:
    light = background(browser)
    browser.find_element("id", "theme").click()
    dark = background(browser)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 23, 27)")
    browser.find_element("id", "theme").click()
    assert background(browser) == light
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    browser.refresh()
    assert background(browser) == dark  # what the reader's system asks for, without a click
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.refresh()


def test_the_funnel_can_be_read_on_a_telephone(browser: webdriver.Chrome) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    drawn = browser.execute_script("return document.querySelector('svg.funnel').getBoundingClientRect().width")
    assert drawn >= 500  # at the width of the window its words would be 4 px high
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390  # it scrolls in its own box
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_words_of_an_open_gate_have_contrast(browser: webdriver.Chrome) -> None:
    script = """
        const word = document.body.appendChild(document.createElement("b"));
        word.className = "outcome missing";
        const colour = getComputedStyle(word).color;
        word.remove();
        return colour.match(/\\d+/g).map(Number);
    """
    linear = [
        (part / 255 / 12.92) if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4
        for part in browser.execute_script(script)
    ]
    luminance = sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    assert background(browser) == "rgb(255, 255, 255)"
    assert 1.05 / (luminance + 0.05) >= 4.5  # WCAG 2.1, 1.4.3


def test_on_paper_there_are_no_controls(browser: webdriver.Chrome) -> None:
    shown = "return [...document.querySelectorAll('.control, nav')].filter(e => e.getClientRects().length).length"
    assert browser.execute_script(shown) > 0
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script(shown) == 0
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_nothing_is_requested_and_nothing_complains(browser: webdriver.Chrome) -> None:
    assert browser.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.get_log("browser") == []
    entries = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    sent = (entry["params"]["request"]["url"] for entry in entries if entry["method"] == "Network.requestWillBeSent")
    asked = [address for address in sent if not address.startswith(("data:", "chrome:", "chrome-untrusted:"))]
    assert asked
    assert set(asked) == {browser.current_url}

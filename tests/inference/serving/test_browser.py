"""A real browser uploads a portrait and a voice, watches the progress, plays the film, cancels, and removes.

It skips where Debian's chromium and chromium-driver are not installed.
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.inference.serving.server_process import Server
from tests.inference.serving.visitor import Visitor
from tests.support.browser import needs_browser

pytestmark = needs_browser

NAME = "<img src=x> & co.png"


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def visit(tmp_path: Path, closing: ExitStack) -> Callable[[], Visitor]:
    """Return ``visit()``, which opens a browser of one's own."""

    def visit() -> Visitor:
        visitor = Visitor(tmp_path / "profile")
        closing.callback(visitor.close)
        return visitor

    return visit


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    done, data = cv2.imencode(".png", np.full((80, 60, 3), (80, 120, 200), np.uint8))
    assert done
    path.write_bytes(data.tobytes())
    return path


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    path = tmp_path / "voice.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.zeros(16_000, "<i2").tobytes())
    return path


def test_a_visitor_makes_a_film_and_plays_it(
    tmp_path: Path, closing: ExitStack, visit: Callable[[], Visitor], portrait: Path, voice: Path
) -> None:
    server = closing.enter_context(Server(tmp_path / "to"))
    guest = visit()
    guest.open(server.address)
    assert "token" not in guest.browser.current_url
    assert "fake · 64×64 · 25 fps" in guest.element("model").text
    assert guest.element("none").is_displayed()
    guest.choose(portrait, voice, 'a "woman" speaks')
    guest.until(lambda: guest.run("return document.getElementById('portrait-seen').naturalWidth") == 60)
    guest.until(lambda: guest.run("return document.getElementById('sound-heard').duration") == 1)
    guest.element("make").click()
    guest.until(lambda: guest.cards() == ["done"])
    assert guest.told().startswith("done in ")
    assert guest.run("return document.querySelector('.job h3').textContent") == f"{NAME} + voice.wav"
    assert guest.run("return document.querySelector('.job .said').textContent") == 'a "woman" speaks'
    guest.run("document.querySelector('video').play()")
    guest.until(lambda: guest.run("return document.querySelector('video').currentTime") > 0.2)
    guest.until(lambda: guest.run("return document.querySelector('video').webkitAudioDecodedByteCount") > 0)
    assert guest.run("return document.querySelector('video').duration") == pytest.approx(1.0, abs=0.03)
    assert guest.run("return document.querySelector('video').videoWidth") == 64
    link = guest.run("const a = document.querySelector('a[download]'); return [a.download, a.getAttribute('href')]")
    assert link[0].startswith("portrait-")
    assert link[1].endswith("/film")

    guest.browser.get(f"http://127.0.0.1:{server.port}/")  # no token: the cookie knows
    guest.until(lambda: guest.cards() == ["done"])
    guest.press("remove")
    assert guest.cards() == ["done"]
    guest.press("really remove?")
    guest.until(lambda: guest.cards() == [])
    assert not [path for path in (tmp_path / "to" / "jobs").rglob("*")]
    assert guest.complaints() == []
    assert guest.hosts_asked() == {"127.0.0.1"}


def test_progress_is_shown_a_job_is_cancelled_and_others_wait(
    tmp_path: Path, closing: ExitStack, visit: Callable[[], Visitor], portrait: Path, voice: Path
) -> None:
    server = closing.enter_context(Server(tmp_path / "to", waiting=1))
    guest = visit()
    guest.open(server.address)
    guest.make(portrait, voice, "slow")
    guest.until(lambda: guest.told() == "sampling · 25 % · about 12 s to go")
    assert guest.run("const bar = document.querySelector('.job progress'); return bar.value / bar.max") == 0.25
    assert guest.browser.title == "25 % – Portraits"
    guest.make(portrait, voice)
    guest.until(lambda: guest.told() == "waits; 1 before it")
    assert guest.element("queue").text == "1 in work, 1 waiting"
    guest.element("make").click()
    guest.until(lambda: "as many jobs wait as may wait" in guest.element("refused").text)
    guest.press("cancel", 1)
    guest.until(lambda: guest.cards() == ["done"])
    assert guest.element("news").get_attribute("textContent") == f"{NAME} + voice.wav is done"
    assert len(list((tmp_path / "to" / "jobs").iterdir())) == 1


def test_what_goes_wrong_is_told(
    tmp_path: Path, closing: ExitStack, visit: Callable[[], Visitor], portrait: Path, voice: Path
) -> None:
    server = closing.enter_context(Server(tmp_path / "to"))
    guest = visit()
    guest.open(server.address)
    guest.make(portrait, voice, "no face")
    guest.until(lambda: guest.told() == "portrait: no face is found; force goes on without one")
    large = tmp_path / "large.png"
    large.write_bytes(portrait.read_bytes() + bytes(2 << 20))
    guest.choose(large, voice)
    guest.element("make").click()
    guest.until(lambda: guest.element("refused").text == "large.png is larger than 1 MiB")
    assert guest.complaints() == []

    guest.make(portrait, voice, "slow")
    guest.until(lambda: guest.cards() == ["running", "failed"])
    assert server.end() == 0
    guest.until(lambda: "the server does not answer" in guest.element("trouble").text)
    again = closing.enter_context(Server(tmp_path / "to", server.port))
    guest.until(lambda: guest.cards() == ["interrupted", "failed"])  # the same token, so the cookie still knows
    assert not guest.element("trouble").is_displayed()
    guest.press("go on")
    guest.until(lambda: guest.cards() == ["running", "failed"])
    guest.press("cancel")
    guest.until(lambda: guest.cards() == ["failed"])
    assert again.end() == 0

"""The page in a real browser, against the real command: judged by keyboard, watched, heard, and read back from the
catalog. Skips where Debian's chromium and chromium-driver are not installed."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from catalogs.catalog import Catalog
from curation.annotation.records import Answer, all_answers, current_answers
from tests.curation.annotation.page.drawn_lot import CLIPS, NASTY, draw_lot, level

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser: apt-get install chromium chromium-driver"
)
PATIENCE_S = 60  # what a busy machine may take
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--window-size=1400,900",
)


class Server:
    """``funnel annotate`` in a process of its own."""

    def __init__(self, catalog: Catalog, port: int = 0) -> None:
        command = ["annotate", catalog.store.url, "first", "--port", str(port), "--no-browser"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "curation.cli", *command], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        lines = iter(self._process.stdout.readline, "")
        self.address = next(line.strip() for line in lines if line.startswith("http"))

    @property
    def port(self) -> int:
        port = urlsplit(self.address).port
        assert port is not None
        return port

    def stop(self) -> int:
        """Ctrl-C; returns the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        code = self._process.wait(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


class Annotator:
    """Somebody at a browser."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        self.close = self.browser.quit

    def open(self, address: str, name: str = "") -> None:
        self.browser.get(address)
        if name:
            self.until(lambda: self.browser.find_element("id", "name").is_displayed())
            self.browser.find_element("id", "name").send_keys(name + Keys.ENTER)
        self.until(lambda: self.text("place"))

    def press(self, *keys: str) -> None:
        ActionChains(self.browser).send_keys(*keys).perform()

    def text(self, element: str) -> str:
        return self.browser.find_element("id", element).text

    def run(self, script: str) -> Any:
        return self.browser.execute_script(f"const video = document.querySelector('video'); {script}")

    def until(self, holds: Callable[[], Any]) -> None:
        WebDriverWait(self.browser, PATIENCE_S, 0.05).until(lambda _: holds())

    def is_at(self, number: int) -> None:
        """Waits until an item is on the screen, its clip playing or its trouble told."""
        self.until(lambda: self.text("place").startswith(f"item {number} of"))
        self.until(lambda: self.run("return video.readyState >= 2") or "cannot be played" in self.text("players"))

    def is_saved(self) -> None:
        self.until(lambda: self.text("saved") == "saved")

    def grey(self) -> float:
        """Mean brightness of what the video shows now."""
        return self.run(
            "const canvas = document.createElement('canvas'); [canvas.width, canvas.height] = [8, 8];"
            "const pen = canvas.getContext('2d'); pen.drawImage(video, 0, 0, 8, 8);"
            "const data = pen.getImageData(0, 0, 8, 8).data;"
            "return (data.reduce((sum, v) => sum + v, 0) / 64 - 255) / 3;"
        )

    def complaints(self) -> list[str]:
        """Errors in the console, apart from the one clip that is meant to be missing."""
        lines = (entry["message"] for entry in self.browser.get_log("browser") if entry["level"] != "INFO")
        return [line for line in lines if f"/api/items/{CLIPS}/first" not in line]

    def hosts_asked(self) -> set[str | None]:
        entries = (json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance"))
        sent = (entry["params"] for entry in entries if entry["method"] == "Network.requestWillBeSent")
        addresses = (urlsplit(params["request"]["url"]) for params in sent)
        return {address.hostname for address in addresses if address.scheme not in ("chrome", "data")}


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def sit_down(tmp_path: Path, closing: ExitStack) -> Callable[[str], Annotator]:
    def sit_down(who: str) -> Annotator:
        annotator = Annotator(tmp_path / f"profile-{who}")
        closing.callback(annotator.close)
        return annotator

    return sit_down


def serve(catalog: Catalog, closing: ExitStack, port: int = 0) -> Server:
    server = Server(catalog, port)
    closing.callback(server.stop)
    return server


def stored(catalog: Catalog) -> dict[tuple[str, int], Answer]:
    return {(one.annotator, one.number): one for one in current_answers(all_answers(catalog, "first"))}


def test_an_annotator_judges_by_keyboard_undoes_and_resumes(
    tmp_path: Path, closing: ExitStack, sit_down: Callable[[str], Annotator]
) -> None:
    catalog, _, _ = draw_lot(tmp_path, size=(320, 240))
    server = serve(catalog, closing)
    anna = sit_down("anna")
    anna.open(server.address, "anna")
    anna.is_at(1)
    assert "token" not in anna.browser.current_url
    anna.until(lambda: anna.run("return video.currentTime > 0.2 && !video.paused && video.videoWidth === 320"))
    anna.until(lambda: anna.run("return video.webkitAudioDecodedByteCount > 0"))
    assert anna.run("return video.duration") == pytest.approx(1.0, abs=0.02)
    assert anna.text("question") == "Do the lips move in time with this voice?"
    assert "sync_confidence >= 3" in anna.text("scores")

    anna.press("g")
    anna.is_at(2)
    anna.press("n")
    anna.press("<b>hm</b> & \"so\" g u 1", Keys.ENTER)  # fmt: skip
    anna.press("b", "1", "3", Keys.ENTER)
    anna.is_at(3)
    anna.press("u", "1", "u")
    anna.is_at(4)
    anna.is_saved()
    anna.press("z")
    anna.is_at(3)
    anna.press("b", Keys.ESCAPE, "2", "2")  # nothing; then bad, and the second key is a reason
    anna.press(Keys.ENTER)
    anna.is_at(4)
    anna.is_saved()
    answers = stored(catalog)
    assert {number: answer.verdict for (_, number), answer in answers.items()} == {1: "good", 2: "bad", 3: "bad"}
    assert answers["anna", 2].reasons == ("sound_late", "other_voice")
    assert answers["anna", 2].note == '<b>hm</b> & "so" g u 1'
    assert answers["anna", 3].reasons == ("sound_early",)
    assert 0 < answers["anna", 1].seconds < PATIENCE_S
    assert len(all_answers(catalog, "first")) == 5  # good, bad, unsure, taken back, bad

    anna.open(f"http://127.0.0.1:{server.port}/")  # the browser was closed midway: no token, the cookie knows
    anna.is_at(4)
    assert "3 done" in anna.text("progress-text")
    anna.press("k", "k")
    anna.is_at(2)
    assert anna.run("return document.getElementById('note').value") == '<b>hm</b> & "so" g u 1'
    anna.press("k", "k")  # round the corner, to the clip whose file has gone
    anna.is_at(CLIPS)
    anna.until(lambda: "cannot be played: the file is not there any more" in anna.text("players"))
    assert NASTY in anna.text("place")
    anna.press("u", Keys.ENTER)
    anna.is_at(4)
    anna.is_saved()
    assert stored(catalog)["anna", CLIPS].verdict == "unsure"
    assert anna.browser.title.startswith("first")
    assert anna.complaints() == []
    assert anna.hosts_asked() == {"127.0.0.1"}
    anna.close()
    assert server.stop() == 0


def test_the_player_shows_the_clips_own_frames_and_steps_by_them(
    tmp_path: Path, closing: ExitStack, sit_down: Callable[[str], Annotator]
) -> None:
    catalog, _, _ = draw_lot(tmp_path)
    anna = sit_down("anna")
    anna.open(serve(catalog, closing).address, "anna")
    for number in (1, 2, 3):
        anna.is_at(number)
        anna.press(",")  # pauses
        seen = set()
        for _ in range(12):
            anna.press(",")
        for step in range(10):
            anna.until(lambda step=step: f"frame {step + 1} of 10" in anna.text("transport"))
            anna.until(lambda: not anna.run("return video.seeking"))
            seen.add(round(anna.grey()))
            anna.press(".")
        assert all(abs(grey - level(number - 1)) <= 3 for grey in seen), (number, seen)
        anna.press("j")


def test_two_annotators_at_once_share_the_work_and_see_nothing_of_each_other(
    tmp_path: Path, closing: ExitStack, sit_down: Callable[[str], Annotator]
) -> None:
    catalog, _, _ = draw_lot(tmp_path)
    address = serve(catalog, closing).address
    anna, bea = sit_down("anna"), sit_down("bea")
    anna.open(address, "anna")
    anna.is_at(1)
    bea.open(address, "bea")
    bea.is_at(3)  # anna looks at 1, and 2 is ready for her
    anna.press("g")
    anna.is_saved()
    anna.is_at(2)
    bea.press("k", "k")
    bea.is_at(1)
    assert bea.run("return document.querySelectorAll('[aria-pressed=true]').length") == 0
    bea.press("b", Keys.ENTER)  # the same item again: both count
    bea.is_saved()
    answers = stored(catalog)
    assert (answers["anna", 1].verdict, answers["bea", 1].verdict) == ("good", "bad")
    assert anna.complaints() == bea.complaints() == []


def test_nothing_is_lost_while_the_storage_refuses_or_the_server_is_gone(
    tmp_path: Path, closing: ExitStack, sit_down: Callable[[str], Annotator]
) -> None:
    catalog, _, _ = draw_lot(tmp_path)
    server = serve(catalog, closing)
    anna = sit_down("anna")
    anna.open(server.address, "anna")
    anna.is_at(1)
    folder = Path(catalog.store.root) / "annotations/lots/first/answers"
    folder.write_text("in the way")
    anna.press("g")
    anna.until(lambda: "Not saved yet: the storage refused" in anna.text("trouble"))
    anna.is_at(2)
    folder.unlink()
    anna.is_saved()
    assert stored(catalog)["anna", 1].verdict == "good"
    assert anna.text("trouble") == ""

    assert server.stop() == 0
    anna.press("u", "u")
    anna.until(lambda: "the server does not answer" in anna.text("trouble"))
    anna.until(lambda: re.match("item [3-9]", anna.text("place")))
    anna.press("b", "1", Keys.ENTER)
    anna.until(lambda: "2 not saved yet" in anna.text("saved"))
    again = serve(catalog, closing, server.port)
    anna.browser.get(again.address)
    WebDriverWait(anna.browser, PATIENCE_S).until(lambda _: len(stored(catalog)) == 3)
    assert stored(catalog)["anna", 2].verdict == "unsure"
    assert stored(catalog)["anna", 3].reasons == ("sound_late",)


@pytest.mark.parametrize(("mode", "keys", "scores"), [("scale", "20", (2, 0)), ("pair", "13", (-1, 1))])
def test_user_studies_score_each_axis_in_turn(
    mode: Any,
    keys: str,
    scores: tuple[int, int],
    tmp_path: Path,
    closing: ExitStack,
    sit_down: Callable[[str], Annotator],
) -> None:
    catalog, _, _ = draw_lot(tmp_path, mode=mode)
    anna = sit_down("anna")
    anna.open(serve(catalog, closing).address, "anna")
    anna.is_at(1)
    assert anna.run("return document.querySelectorAll('video').length") == (2 if mode == "pair" else 1)
    anna.press(*keys)
    anna.is_at(2)
    anna.is_saved()
    assert stored(catalog)["anna", 1].scores == {"av_consistency": scores[0], "visual_quality": scores[1]}
    anna.press("z")
    anna.is_at(1)
    anna.until(lambda: not stored(catalog))
    assert anna.complaints() == []

"""A real browser shows the real command's page: judged by keyboard, watched, heard, and read back from the catalog.

It skips where Debian's chromium and chromium-driver are not installed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from catalogs.catalog import Catalog
from curation.annotation.records import Answer, all_answers, current_answers
from tests.support.annotator import Annotator, Keys, Server
from tests.support.browser import needs_browser
from tests.support.drawn_lot import CLIPS, NASTY, draw_lot, level

pytestmark = needs_browser


def serve(catalog: Catalog, closing: ExitStack, port: int = 0) -> Server:
    return closing.enter_context(Server(catalog, "first", port))


def complaints(annotator: Annotator) -> list[str]:
    """List the errors in the console, apart from the one clip that is meant to be missing."""
    return [line for line in annotator.complaints() if f"/api/items/{CLIPS}/first" not in line]


def stored(catalog: Catalog) -> dict[tuple[str, int], Answer]:
    return {(answer.annotator, answer.number): answer for answer in current_answers(all_answers(catalog, "first"))}


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
    assert 0 < answers["anna", 1].seconds < 60
    assert len(all_answers(catalog, "first")) == 5  # good, bad, unsure, taken back, bad

    anna.open(f"http://127.0.0.1:{server.port}/")  # the browser was closed midway: no token, the cookie knows
    anna.is_at(4)
    assert "3 done" in anna.text("progress-text")
    anna.press("k", "k")
    anna.is_at(2)
    assert anna.run("return document.getElementById('note').value") == '<b>hm</b> & "so" g u 1'
    anna.press("k", "k")  # round the corner, to the clip whose file has gone
    anna.is_at(CLIPS)
    said = "cannot be played: the file is not there any more; press u for unsure"
    anna.until(lambda: said in anna.text("players"))
    assert NASTY in anna.text("place")
    anna.press("u", Keys.ENTER)
    anna.is_at(4)
    anna.is_saved()
    assert stored(catalog)["anna", CLIPS].verdict == "unsure"
    assert anna.browser.title.startswith("first")
    assert complaints(anna) == []
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
    assert complaints(anna) == complaints(bea) == []


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
    anna.until(lambda: len(stored(catalog)) == 3)
    assert stored(catalog)["anna", 2].verdict == "unsure"
    assert stored(catalog)["anna", 3].reasons == ("sound_late",)


def test_what_another_tab_has_sent_is_not_sent_again(
    tmp_path: Path, closing: ExitStack, sit_down: Callable[[str], Annotator]
) -> None:
    catalog, _, _ = draw_lot(tmp_path)
    server = serve(catalog, closing)
    anna = sit_down("anna")
    anna.open(server.address, "anna")
    anna.is_at(1)
    anna.run("window.online = window.fetch; window.fetch = () => Promise.reject(new TypeError('offline'))")
    anna.press("b", Keys.ENTER)
    anna.until(lambda: "1 not saved yet" in anna.text("saved"))
    first = anna.browser.current_window_handle
    anna.browser.switch_to.new_window("tab")
    anna.open(server.address)
    anna.until(lambda: stored(catalog))  # what waited in the browser's storage
    anna.is_at(2)
    anna.press("k")
    anna.is_at(1)
    anna.press("g")
    anna.until(lambda: stored(catalog)["anna", 1].verdict == "good")
    anna.browser.switch_to.window(first)
    anna.until(lambda: anna.text("saved") == "saved in another tab")
    assert anna.text("trouble") == ""
    anna.run("window.fetch = window.online")
    anna.press("b", Keys.ENTER)  # of another item
    anna.is_saved()
    assert stored(catalog)["anna", 1].verdict == "good"
    assert len(all_answers(catalog, "first")) == 3


def test_what_helps_to_look(tmp_path: Path, closing: ExitStack, sit_down: Callable[[str], Annotator]) -> None:
    catalog, _, _ = draw_lot(tmp_path, size=(320, 240))
    anna = sit_down("anna")
    anna.open(serve(catalog, closing).address, "anna")
    anna.is_at(1)
    anna.until(lambda: anna.is_drawn("#wave canvas"))
    fetched = "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).pathname)"
    anna.until(lambda: "/media/2/first.mp4" in anna.run(fetched))  # the next clip, before it is wanted
    assert "/media/5/first.mp4" not in anna.run(fetched)

    box = "{kind: 'face', score: 0.9, left: 0.25, top: 0.25, width: 0.5, height: 0.5}"
    anna.run(
        f"const overlay = {{times_s: [0], boxes: [[{box}]]}}; const ask = window.fetch;"
        "window.fetch = async (path, how) => path.endsWith('/boxes') ? Response.json(overlay) : ask(path, how)"
    )
    assert not anna.is_drawn(".overlay")
    anna.press("o")
    anna.until(lambda: anna.is_drawn(".overlay"))
    anna.press("o")
    anna.until(lambda: not anna.is_drawn(".overlay"))
    anna.run(
        "const ask = window.fetch; window.fetch = async (path, how) =>"
        " path.endsWith('/boxes') ? Response.json({times_s: [0], boxes: [[]]}) : ask(path, how)"
    )
    anna.press("o")  # looked for and not found is not the same as not there yet
    anna.until(lambda: anna.text("players") == "no face found")
    anna.press("o")
    anna.until(lambda: anna.text("players") == "")

    anna.press("s")
    anna.until(lambda: anna.text("scores") == "")
    anna.press("s")
    assert "sync_confidence" in anna.text("scores")
    anna.press("l")
    anna.until(lambda: anna.run("return !video.loop") and "loop" not in anna.text("transport"))
    anna.press("?")
    assert "boxes around faces" in anna.text("keys")
    anna.press(Keys.ESCAPE, "g")
    anna.is_at(2)
    anna.press("k", "n")
    anna.press("a second thought", Keys.ENTER)  # for an item that is judged: saved at once
    anna.until(lambda: stored(catalog)["anna", 1].note == "a second thought")
    assert complaints(anna) == []


def test_the_last_answer_can_be_undone_from_the_dialog_that_thanks(
    tmp_path: Path, closing: ExitStack, sit_down: Callable[[str], Annotator]
) -> None:
    catalog, _, _ = draw_lot(tmp_path)
    anna = sit_down("anna")
    anna.browser.get(serve(catalog, closing).address)
    anna.until(lambda: "no spaces" in anna.text("name-dialog"))
    anna.browser.find_element("id", "name").send_keys("anna" + Keys.ENTER)
    thanks = anna.browser.find_element("id", "done-dialog")
    for number in range(1, CLIPS + 1):
        anna.is_at(number)
        anna.press("g")
    anna.until(thanks.is_displayed)
    assert "once it says “saved”" in anna.text("done-text")
    anna.press("g", "b")  # no answers through the dialog
    assert thanks.is_displayed()
    anna.press("z")
    anna.until(lambda: not thanks.is_displayed() and len(stored(catalog)) == CLIPS - 1)
    anna.is_at(CLIPS)
    anna.press("g")
    anna.until(thanks.is_displayed)
    anna.press("k")
    anna.is_at(CLIPS - 1)


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
    asked = "Which has the better picture?" if mode == "pair" else "How good is the picture?"
    assert asked in anna.text("form")
    anna.press(*keys)
    anna.is_at(2)
    anna.is_saved()
    assert stored(catalog)["anna", 1].scores == {"av_consistency": scores[0], "visual_quality": scores[1]}
    anna.press("z")
    anna.is_at(1)
    anna.until(lambda: not stored(catalog))
    assert complaints(anna) == []

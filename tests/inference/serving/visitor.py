"""A visitor drives a real browser on the page of `funnel serve`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.browser import open_browser

_PATIENCE_S = 60


class Visitor:
    """Drives a browser with a profile of its own."""

    def __init__(self, profile: Path) -> None:
        self.browser = open_browser(profile)
        self.close = self.browser.quit

    def open(self, address: str) -> None:
        self.browser.get(address)
        self.until(lambda: self.element("main").is_displayed())

    def element(self, name: str) -> WebElement:
        return self.browser.find_element("id", name)

    def choose(self, portrait: Path, sound: Path, prompt: str = "") -> None:
        """Fill in the form."""
        self.element("portrait").send_keys(str(portrait))
        self.element("sound").send_keys(str(sound))
        self.element("option-prompt").clear()
        self.element("option-prompt").send_keys(prompt)

    def make(self, portrait: Path, sound: Path, prompt: str = "") -> None:
        """Ask for a film, and wait for its card."""
        before = len(self.cards())
        self.choose(portrait, sound, prompt)
        self.element("make").click()
        self.until(lambda: len(self.cards()) == before + 1)

    def cards(self) -> list[str]:
        """Return the states of all jobs, from the top."""
        return self.run("return [...document.querySelectorAll('.job')].map((card) => card.dataset.state)")

    def told(self, number: int = 0) -> str:
        """Return what the card tells of its job's state."""
        return self.run(f"return document.querySelectorAll('.job .state')[{number}]?.textContent ?? ''")

    def press(self, label: str, number: int = 0) -> None:
        """Press a button of a card."""
        card = self.browser.find_elements("css selector", ".job")[number]
        next(button for button in card.find_elements("tag name", "button") if button.text == label).click()

    def run(self, script: str) -> Any:
        return self.browser.execute_script(script)

    def until(self, holds: Callable[[], Any]) -> None:
        WebDriverWait(self.browser, _PATIENCE_S, 0.05).until(lambda _: holds())

    def complaints(self) -> list[str]:
        """Return the errors in the console."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] != "INFO"]

    def hosts_asked(self) -> set[str | None]:
        """Return the hosts that the browser has sent requests to."""
        entries = (json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance"))
        sent = (entry["params"] for entry in entries if entry["method"] == "Network.requestWillBeSent")
        addresses = (urlsplit(params["request"]["url"]) for params in sent)
        return {address.hostname for address in addresses if address.scheme in ("http", "https", "ws", "wss")}

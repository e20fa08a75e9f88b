"""An annotator drives a browser on the page of `funnel annotate`, which runs in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.ui import WebDriverWait

from catalogs.catalog import Catalog
from tests.support.browser import open_browser

__all__ = ["Annotator", "Keys", "Server"]
_PATIENCE_S = 60  # a busy machine may take this long


class Server:
    """Runs ``funnel annotate`` in a process of its own; leaving the context stops it."""

    def __init__(self, catalog: Catalog, lot: str, port: int = 0) -> None:
        command = ["annotate", catalog.store.url, lot, "--port", str(port), "--no-browser"]
        self._process = subprocess.Popen([sys.executable, "-m", "funnel", *command], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        lines = iter(self._process.stdout.readline, "")
        self.address = next(line.strip() for line in lines if line.startswith("http"))

    @property
    def port(self) -> int:
        port = urlsplit(self.address).port
        assert port is not None
        return port

    def stop(self) -> int:
        """Send Ctrl-C, and return the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        code = self._process.wait(_PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class Annotator:
    """Drives a browser with a profile of its own."""

    def __init__(self, profile: Path) -> None:
        self.browser = open_browser(profile)
        self.close = self.browser.quit

    def open(self, address: str, name: str = "") -> None:
        """Open the page, and give a name if it is asked for."""
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
        WebDriverWait(self.browser, _PATIENCE_S, 0.05).until(lambda _: holds())

    def is_at(self, number: int) -> None:
        """Wait until an item is on the screen, with its clip playing or its trouble shown."""
        self.until(lambda: self.text("place").startswith(f"item {number} of"))
        self.until(lambda: self.run("return video.readyState >= 2") or "cannot be played" in self.text("players"))

    def is_saved(self) -> None:
        self.until(lambda: self.text("saved") == "saved")

    def grey(self) -> float:
        """Return the mean brightness of what the video shows now."""
        return self.run(
            "const canvas = document.createElement('canvas'); [canvas.width, canvas.height] = [8, 8];"
            "const pen = canvas.getContext('2d'); pen.drawImage(video, 0, 0, 8, 8);"
            "const data = pen.getImageData(0, 0, 8, 8).data;"
            "return (data.reduce((sum, v) => sum + v, 0) / 64 - 255) / 3;"
        )

    def is_drawn(self, canvas: str) -> bool:
        """Say whether anything is visible on the canvas with this selector."""
        return self.run(
            f"const seen = document.querySelector('{canvas}'); if (!seen.width || !seen.height) return false;"
            "const copy = document.createElement('canvas'); [copy.width, copy.height] = [seen.width, seen.height];"
            "const pen = copy.getContext('2d'); pen.drawImage(seen, 0, 0);"
            "const data = pen.getImageData(0, 0, copy.width, copy.height).data;"
            "return data.some((value, i) => i % 4 === 3 && value > 0);"
        )

    def complaints(self) -> list[str]:
        """Return the errors in the console."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] != "INFO"]

    def hosts_asked(self) -> set[str | None]:
        """Return the hosts that the browser has sent requests to."""
        entries = (json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance"))
        sent = (entry["params"] for entry in entries if entry["method"] == "Network.requestWillBeSent")
        addresses = (urlsplit(params["request"]["url"]) for params in sent)
        return {address.hostname for address in addresses if address.scheme in ("http", "https", "ws", "wss")}

import pytest

from stages.captions.chat import KEY_VARIABLE
from tests.support.chat_server import skipped_waits


@pytest.fixture(autouse=True)
def _local_web(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between a test and its own server, and nobody's key."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, which then take no time."""
    return skipped_waits(monkeypatch)

"""The first signal asks, the second one ends."""

import signal

import pytest

from runner.drain import Drain, Terminated


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_the_first_signal_asks_and_the_second_ends(number: signal.Signals, ends: type[BaseException]) -> None:
    before = signal.getsignal(number)
    with Drain() as drain:
        drain.stop_if_requested()
        signal.raise_signal(number)
        assert drain.requested
        with pytest.raises(ends):
            signal.raise_signal(number)
        with pytest.raises(ends):
            drain.stop_if_requested()
    assert signal.getsignal(number) is before


def test_it_listens_again_after_another_library_took_the_signal() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Drain() as drain:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        drain.listen()
        signal.raise_signal(signal.SIGTERM)
        assert drain.requested
    assert signal.getsignal(signal.SIGTERM) is before

"""A process can tell how much memory it holds, and the most it held."""

from runner.memory import forget_peak, peak_mb, resident_mb

HELD_MB = 200


def test_a_peak_is_seen_and_forgotten() -> None:
    held = bytearray(b"x" * (HELD_MB << 20))
    with_it = resident_mb()
    del held
    assert peak_mb() >= with_it > HELD_MB
    forget_peak()
    assert peak_mb() < with_it

"""This package makes videos with known truth: talking portraits, and every way in which such a video can be bad.

It serves ``make demo``, the tests and the benchmarks. No stage or policy may import it.
"""

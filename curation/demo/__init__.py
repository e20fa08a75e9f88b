"""Media made on the spot, with known truth: talking portraits and every way in which they go wrong.

Serves ``make demo``, the tests and the benchmarks. No stage or policy may import it.
"""

"""The command line ``funnel``: one module per group of commands, registered by name in main.py.

Commands parse, call the packages below, and show the answer through console.py. They compute nothing themselves, and
import what is heavy (ray, torch, duckdb, av) inside the command, so that ``funnel --help`` is fast.
"""

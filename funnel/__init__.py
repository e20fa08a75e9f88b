"""This package is the command line ``funnel``: a module per command, or group of commands; main.py puts them together.

Commands parse, call the packages below, and show the answer through console.py. They compute nothing themselves, and
import what is heavy (ray, torch, duckdb, av) inside the command, so that ``funnel --help`` is fast.
"""

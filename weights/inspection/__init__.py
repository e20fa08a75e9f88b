"""This package inspects what a weights file really holds, whatever its name and hash say, without running code in it.

The modules that load a network use these, and each has an ``inspect(path)`` that a backend's ``check`` calls on the
driver, so that a wrong file is one clear line before any worker starts. Nothing heavy is imported before it is needed.
"""

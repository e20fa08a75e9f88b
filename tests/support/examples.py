"""The examples are loaded as modules: they lie in a folder that is no package, as a user's own scripts do."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from tests.support.house import ROOT


def example(name: str) -> ModuleType:
    """Load ``examples/<name>.py``, importable by that name, as worker processes of a loader need it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

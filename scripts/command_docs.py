"""This script writes docs/commands.md from the commands' own help, so that it cannot drift: run it after changing one.

python scripts/command_docs.py            # writes; `--check` only compares (a test does)
"""

from __future__ import annotations

import sys
from pathlib import Path

from funnel.command_page import command_page

TARGET = Path(__file__).parent.parent / "docs" / "commands.md"


def main() -> int:
    text = command_page()
    if "--check" in sys.argv:
        return 0 if TARGET.is_file() and TARGET.read_text("utf-8") == text else 1
    TARGET.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""docs/stages.md is what the stages declare."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_page_of_stages_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "stage_docs.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"run python scripts/stage_docs.py\n{done.stderr}"

"""Where the files lie that these tests read."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
CLUSTER_PAGE = ROOT / "docs" / "cluster.md"

"""This module says where the files lie that the tests of ``deploy`` read."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
CLUSTER_PAGE = ROOT / "docs" / "cluster.md"

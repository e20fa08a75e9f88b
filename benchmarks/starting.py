"""How long the command line, a worker and a run take to start, beside those of an earlier checkout.

    git worktree add ../before REVISION
    python -m benchmarks.starting --before ../before
    python -m benchmarks.starting --before ../before --only help --rounds 60

Both sides run in turns, and take turns at beginning, each as whole processes with the checkout as the current folder.
The ratio is that of the medians. ``help`` is `funnel --help`; ``worker`` imports what a worker of the last phase runs
and makes one; ``look`` is a run on a catalog where nothing is owed; ``run`` starts Ray, ingests a video of two seconds
and cuts it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.support.written_media import write_video

HERE = Path(__file__).resolve().parent.parent
POLICY = "name: cut\nstages: [scene_split]\n"
MAIN = "import sys; sys.path.insert(0, ''); from {package}.main import main; main(sys.argv[1:])"
WORKER = """import sys; sys.path.insert(0, '')
import {host}, curation.running.clip_worker as worker
from catalogs.media import MediaLimits
from {bound} import resolve
from {policy} import load_policy
worker.ClipWorker(sys.argv[1], resolve(load_policy("lite")), MediaLimits())"""
#: Where things lie in this checkout, and where they lay before the packages ``runner`` and ``funnel`` were made.
NOW = {
    "package": "funnel",
    "host": "runner.host",
    "bound": "curation.deciding.bound",
    "policy": "curation.deciding.policy",
}
ONCE = {
    "package": "curation.cli",
    "host": "curation.running.host",
    "bound": "curation.resolve",
    "policy": "curation.policy",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="folder with an earlier checkout")
    parser.add_argument("--rounds", type=int, default=9, help="starts of each kind and side; runs get a third")
    parser.add_argument("--only", choices=["help", "worker", "look", "run"], help="start just this")
    given = parser.parse_args()
    sides = {"before": given.before.resolve(), "now": HERE}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pool").mkdir()
        write_video(folder / "pool" / "talk.mp4", [np.full((64, 96, 3), 90 + i % 3, np.uint8) for i in range(50)])
        (folder / "cut.yaml").write_text(POLICY)
        _start(HERE, "run", folder, folder / "done")
        print("| what | before, s | now, s | now / before |\n|---|---:|---:|---:|")
        all_rounds = {
            "help": given.rounds,
            "worker": given.rounds,
            "look": given.rounds,
            "run": max(1, given.rounds // 3),
        }
        for what, rounds in all_rounds.items():
            if given.only not in (None, what):
                continue
            seconds: dict[str, list[float]] = {side: [] for side in sides}
            for number in range(rounds + 1):
                for side, checkout in list(sides.items())[:: 1 if number % 2 else -1]:
                    catalog = folder / (f"{side}-{what}-{number}" if what == "run" else "done")
                    took = _start(checkout, what, folder, catalog)
                    if number:  # the first fills caches of the disk
                        seconds[side].append(took)
            before, now = (statistics.median(values) for values in seconds.values())
            print(f"| {what} | {before:.3f} | {now:.3f} | {now / before:.2f} |", flush=True)


def _start(checkout: Path, what: str, folder: Path, catalog: Path) -> float:
    """Start a process and wait for its end; returns the seconds that it took."""
    layout = NOW if (checkout / "runner").is_dir() else ONCE
    run = ["run", str(folder / "pool"), "--catalog", str(catalog), "--policy", str(folder / "cut.yaml")]
    program, words = {
        "help": (MAIN, ["--help"]),
        "worker": (WORKER, [str(catalog)]),
        "look": (MAIN, run),
        "run": (MAIN, run),
    }[what]
    began = time.perf_counter()
    command = [sys.executable, "-c", program.format(**layout), *words]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} in {checkout} failed:\n{done.stderr}")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

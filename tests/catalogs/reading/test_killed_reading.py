"""A training that is killed at any moment goes on with the next row, and with the rows of an unbroken one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

from catalogs.reading.clips import ClipForm
from catalogs.reading.rows import open_snapshot
from catalogs.reading.torch_clips import ClipStream, TorchClips
from tests.catalogs.reading.made_snapshot import Cut, make_snapshot, numbered_video
from tests.support.house import ROOT

#: A trainer that saves the reader's state after each batch, as one rename, and writes down what it read.
TRAINER = """
import json, os, sys
from catalogs.reading.clips import ClipForm
from catalogs.reading.rows import open_snapshot
from catalogs.reading.torch_clips import ClipStream, TorchClips

catalog, state, log, workers = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
clips = TorchClips(open_snapshot(catalog, "v1", ["number"]), ClipForm(frames=2, size=(16, 16), where="random"), seed=8)
stream = ClipStream(clips, batch_size=3, tail="next")
if os.path.exists(state):
    stream.load_state_dict(json.load(open(state)))
for batch in stream.loader(workers):
    digest = int(batch["frames"].sum())
    with open(state + ".new", "w") as file:
        json.dump(stream.state_dict(), file)
    os.replace(state + ".new", state)
    print(json.dumps([row["number"] for row in batch["row"]] + [digest]), file=open(log, "a"), flush=True)
    print("read", flush=True)
"""


def train(folder: Path, name: str, workers: int, batches: int) -> None:
    """Let the trainer read some batches, then kill it and all its workers at once."""
    command = [sys.executable, "-c", TRAINER, str(folder / "cat"), str(folder / f"{name}.json"), str(folder / name)]
    trainer = subprocess.Popen(
        [*command, str(workers)], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert trainer.stdout is not None
    for _ in range(batches):
        assert trainer.stdout.readline() == "read\n"
    os.killpg(trainer.pid, signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()


def test_a_killed_reading_goes_on_exactly(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 4)
    catalog = make_snapshot(tmp_path, [Cut(path, i * 0.2, i * 0.2 + 0.6) for i in range(17)], number=list(range(17)))
    train(tmp_path, "log", workers=2, batches=4)
    train(tmp_path, "log", workers=1, batches=8)
    killed = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    form = ClipForm(frames=2, size=(16, 16), where="random")
    whole = ClipStream(TorchClips(open_snapshot(catalog, "v1", ["number"]), form, seed=8), batch_size=3, tail="next")
    # A kill may fall between the state and the log: then that line is missing from the log, but nothing is read twice.
    steps = ([row["number"] for row in batch["row"]] + [int(batch["frames"].sum())] for batch in whole.loader())
    unbroken = list(islice(steps, len(killed) + 2))
    position = 0
    for line in killed:
        position = unbroken.index(line, position) + 1
    assert len(killed) >= 12
    assert position <= len(killed) + 1

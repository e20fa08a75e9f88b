"""The chain of `funnel prove`: a pool becomes a catalog, a snapshot, latents and two trained models.

Each step is the command that a user would type. What is there already is kept, so a proof that was stopped goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from catalogs.catalog import Catalog
from catalogs.errors import UserError
from catalogs.snapshots import snapshot_names
from curation.deciding.bound import Funnel, resolve
from curation.deciding.policy import load_policy
from curation.demo.speech import SpeechError
from curation.demo.talking import load_lips, talking_pool
from curation.exports.snapshot import freeze
from curation.running.options import RunOptions
from funnel import console
from funnel.job import execute
from stages.ingest import list_pool
from training.checkpoints import read_marker
from training.config import TrainConfig
from training.latents import FACTS, LatentClips
from training.meters import METRICS, read_metrics
from training.yaml_config import load_config, save_config

SNAPSHOT = "proof"
SIZE = 96  #: pixels: the tiny world's pictures
_HELDOUT_SHARE = 0.2  # of a user's clips
_RECIPE = Path(__file__).parents[2] / "training" / "recipes" / "tiny.yaml"
_LOOK_S = 0.05


@dataclass(frozen=True)
class Places:
    """Says where the parts of a proof lie, below its folder."""

    folder: Path
    pool: Path

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog"

    @property
    def latents(self) -> Path:
        return self.folder / "latents"

    @property
    def speaking(self) -> Path:
        """Return the run of the model that is proven."""
        return self.folder / "runs" / "speaking"

    @property
    def deaf(self) -> Path:
        """Return the run of the same model without audio RoPE: it hears, but does not know when."""
        return self.folder / "runs" / "no_audio_rope"


@dataclass(frozen=True)
class Killing:
    """Says what became of a training that was killed and begun again.

    Attributes:
        killed_after: steps that it had logged.
        resumed_from: steps that its checkpoint had.
        repeated: steps that were trained twice.
        same: how many of these had exactly the same loss again.
    """

    killed_after: int
    resumed_from: int
    repeated: int
    same: int


def check_free(folder: Path) -> None:
    """Raise UserError if a proof in this folder would overwrite something of somebody else's."""
    for name, sign in (("model", "model.json"), ("generated", "pool")):
        there = folder / name
        if there.exists() and not (there / sign).exists():
            raise UserError(f"{there} is there, and no proof made it: give --to a folder of its own")


def make_pool(places: Places, minutes: float, seed: int) -> None:
    """Make the pool of talking portraits, as far as it is not there. Raises UserError without the demo's packages."""
    try:
        talking_pool(places.pool, minutes, seed=seed)
    except (SpeechError, ImportError) as error:
        raise UserError(f"{error}: the demo's packages are missing; pip install 'portrait-funnel[demo]'") from error


def curate(places: Places) -> Funnel:
    """Run the lite funnel on the pool, and freeze what it keeps.

    Raises:
        UserError: too little is kept to train on.
    """
    catalog, funnel = Catalog.open_or_create(str(places.catalog)), resolve(load_policy("lite"))
    execute(catalog, funnel, RunOptions(max_failure_rate=1.0), pool=list_pool(str(places.pool), "proof"))
    if SNAPSHOT not in snapshot_names(catalog):
        freeze(catalog, funnel, SNAPSHOT)
    return funnel


def encode(places: Places) -> None:
    """Turn the snapshot into latents. Raises UserError if that fails."""
    if not (places.latents / FACTS).exists():
        size = [f"--height={SIZE}", f"--width={SIZE}", "--crop=centre", "--dtype=float32"]
        _run(
            "training.precompute",
            f"--catalog={places.catalog}",
            f"--snapshot={SNAPSHOT}",
            f"--to={places.latents}",
            *size,
        )


def config_of(places: Places, run: Path, steps: int, seed: int, **overrides: object) -> TrainConfig:
    """Describe a training of the proof: the shipped recipe, on the proof's latents.

    Sentences that nobody may hear in training are held out; of a user's own clips the last ones by their ids.
    """
    recipe = load_config(_RECIPE)
    held = replace(recipe.data.heldout, where=_heldout(places))
    return replace(
        recipe,
        run=str(run),
        steps=steps,
        seed=seed,
        data=replace(recipe.data, latents=str(places.latents), heldout=held),
        model=replace(recipe.model, overrides=overrides),
        checkpoints=replace(recipe.checkpoints, every=max(1, min(recipe.checkpoints.every, steps // 8))),
        meters=replace(recipe.meters, every=1, heldout_every=max(1, min(recipe.meters.heldout_every, steps // 4))),
    )


def train_both(speaking: TrainConfig, deaf: TrainConfig | None) -> Killing | None:
    """Train the model and its ablation side by side; kill the first in the middle (SIGKILL), and let it go on.

    Returns:
        What became of the killed training; None if it was trained before.

    Raises:
        UserError: a training failed.
    """
    other = _start(deaf) if deaf is not None and not _is_done(deaf) else None
    try:
        killing = None if _is_done(speaking) else _train_and_kill(speaking)
    except BaseException:
        if other:
            other.terminate()
        raise
    if other:
        _wait(other)
    return killing


def _heldout(places: Places) -> str:
    table = LatentClips.open(places.latents).table
    if load_lips(places.pool):
        unheard = sum("/unheard/" in path for path in table["path"].to_pylist())
        if unheard < 2:
            raise UserError(
                f"the funnel kept {unheard} clip(s) of sentences to be held out, and a proof compares two at least: "
                "give it more --minutes"
            )
        return "path LIKE '%/unheard/%'"
    ids = sorted(table["clip_id"].to_pylist())
    n = max(2, round(_HELDOUT_SHARE * len(ids)))
    if len(ids) < n + 2:
        raise UserError(f"the funnel kept {len(ids)} clips of {places.pool}; a proof needs at least 4 of 3 s or more")
    return "clip_id IN ({})".format(", ".join(f"'{clip_id}'" for clip_id in ids[-n:]))


def _train_and_kill(config: TrainConfig) -> Killing:
    """Train, kill once between two checkpoints, and go on."""
    process = _start(config)
    wanted = config.checkpoints.every + config.checkpoints.every // 2
    while _logged(config) < wanted and process.poll() is None:
        time.sleep(_LOOK_S)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if process.returncode != -signal.SIGKILL:
        _wait(process)
    before = _losses(config)
    marks = (read_marker(folder) for folder in (Path(config.run) / "checkpoints").glob("step-*"))
    resumed = max((mark.step for mark in marks if mark), default=0)
    console.line(f"killed (SIGKILL) after step {max(before, default=-1) + 1}; the same command goes on from {resumed}")
    _wait(_start(config))
    after = _losses(config)
    again = [step for step in before if step >= resumed and step in after]
    same = sum(before[step] == after[step] for step in again)
    return Killing(max(before, default=-1) + 1, resumed, len(again), same)


def _losses(config: TrainConfig) -> dict[int, float]:
    lines = read_metrics(Path(config.run) / METRICS)
    return {line["step"]: line["joint"] for line in lines if line["kind"] == "train"}


def _logged(config: TrainConfig) -> int:
    return max(_losses(config), default=-1) + 1


def _is_done(config: TrainConfig) -> bool:
    return (Path(config.run) / "model" / "model.json").exists() and _logged(config) == config.steps


def _start(config: TrainConfig) -> subprocess.Popen[bytes]:
    Path(config.run).mkdir(parents=True, exist_ok=True)
    path = Path(config.run) / "train.yaml"
    save_config(config, path)
    return subprocess.Popen([*_python("training.train"), f"--config={path}"], env=_environment())  # noqa: S603


def _wait(process: subprocess.Popen[bytes]) -> None:
    if process.wait():
        raise UserError(f"a training ended with exit code {process.returncode}; its last lines say why")


def _run(module: str, *arguments: str) -> None:
    if code := subprocess.run([*_python(module), *arguments], env=_environment(), check=False).returncode:  # noqa: S603
        raise UserError(f"python -m {module} ended with exit code {code}; its last lines say why")


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _environment() -> dict[str, str]:
    """Return the environment of a step: this package before any folder of the same name where the user stands."""
    ours, theirs = str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, [ours, theirs]))}

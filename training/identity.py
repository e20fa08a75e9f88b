"""This module says which trainings are the same: one may go on from the other's checkpoint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from training.clips import TrainingClips
from training.config import CheckpointConfig, MeterConfig, TrainConfig
from training.yaml_config import as_document


def numbers_digest(config: TrainConfig, clips: TrainingClips) -> str:
    """Return a digest of all that decides a training's numbers: not where it writes, how often it looks, how it runs.

    With a constant learning rate the number of steps is no part of it: a training may be made longer.
    """
    plain = replace(config, run="", checkpoints=CheckpointConfig(), meters=MeterConfig(), threads=0, peak_tflops=0.0)
    plain = replace(plain, recompute=False, compile=False)
    if config.optimiser.schedule == "constant":
        plain = replace(plain, steps=1)
    document = as_document(plain)
    for name in ("latents", "catalog", "workers", "microbatch"):
        document["data"].pop(name)
    facts = {name: clips.store.facts[name] for name in ("snapshot", "config", "codec", "audio", "text")}
    text = json.dumps([document, facts, [clips.clip_id(row) for row in clips.trained]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

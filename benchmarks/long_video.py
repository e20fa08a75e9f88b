"""Ways of joining windows into a long video, on the model of a proof: the paper's Figure 7 as numbers and a picture.

    make prove && python -m benchmarks.long_video --proof prove [--seconds 60] [--seeds 3] [--picture seams.png]

The model speaks one long take of sentences that it never heard, once for each join and seed, in one process. Printed
are r of the mouth with the truth, the change from latent to latent at seams over that elsewhere, and the identity error
of the last ten seconds over that of the first (the mean absolute difference of the upper face to the portrait). With
--seconds 600 the last one says whether a face drifts in ten minutes; the peak of this process's memory is printed too.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from curation.demo.talking import load_lips, long_take
from funnel.proving import chain
from funnel.proving.minutes import Spoken, Take, seams, speak
from funnel.proving.speaking import Listener
from inference.pipeline import Pipeline

JOINS = ("blf", "none", "overwrite", "chain")
_STRIP = 12  # pictures around a seam


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proof", type=Path, default=Path("prove"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--joins", nargs="+", choices=JOINS, default=JOINS)
    parser.add_argument("--overlap", type=int, default=None)
    parser.add_argument("--picture", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    places = chain.Places(chosen.proof, chosen.proof / "pool")
    lips = load_lips(places.pool)
    listener = Listener(chain.config_of(places, places.speaking, 1, 0), lips)
    truth = long_take(chosen.proof / "take", chosen.seconds, len(lips))
    take = Take(chosen.proof / "take" / truth.file, truth)
    pipeline = Pipeline.load(chosen.proof / "model", device="cpu")
    strips = []
    print("| join | mouth, r | change at seams / elsewhere | identity error, last 10 s / first | seconds |")
    print("|---|---|---|---|---|")
    for join in chosen.joins:
        found = []
        for seed in range(chosen.seeds):
            began = time.monotonic()
            made = speak(pipeline, take.request(join=join, seed=seed, overlap=chosen.overlap, seconds=chosen.seconds))
            found.append(
                (made.mouth_r(listener.reader, truth), made.seam_ratio, made.drift(), time.monotonic() - began)
            )
            if seed == 0:
                strips.append((join, _strip(made)))
        print(f"| `{join}` | " + " | ".join(_spread(column) for column in zip(*found, strict=True)) + " |", flush=True)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{chosen.seconds:g} s, {len(made.prepared.plan.layout.windows)} windows; peak memory {peak_mb:.0f} MB")
    if chosen.picture:
        _write(chosen.picture, strips)


def _spread(values: tuple[float, ...]) -> str:
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f} to {max(values):.3f})"


def _strip(made: Spoken) -> np.ndarray:
    """Return the pictures around the seam with the largest change, side by side, uint8 [H, n W, 3]."""
    plan = made.prepared.plan
    change = made.latents[0].diff(dim=1).square().mean((0, 2, 3)).sqrt().numpy()
    at = max((seam for seam in seams(plan.layout, plan.request.join) if seam < len(change)), key=lambda k: change[k])
    first = max(0, 1 + 4 * at - _STRIP // 2)
    return np.concatenate(list(made.frames[first : first + _STRIP]), axis=1)


def _write(path: Path, strips: list[tuple[str, np.ndarray]]) -> None:
    rows = []
    for join, strip in strips:
        label = np.full((strip.shape[0], 110, 3), 255, np.uint8)
        where = (6, strip.shape[0] // 2)
        cv2.putText(label, join, where, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
        rows.append(np.concatenate([label, strip], axis=1))
    cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()

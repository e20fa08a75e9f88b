"""This stage measures how good a clip's pictures are: sharp, clean, well lit, moving, without bars.

* ``sharpness``: variance of the Laplacian at a longer side of at most 1024 px; ``noise``: its deviation (Immerkaer);
  ``brisque``: 0 best to 100 worst (stages/quality/brisque.py). Medians over the sampled pictures, bars left out.
* ``brightness_mean``: mean luma; ``brightness_drift``: largest minus smallest mean of the sampled pictures.
* ``motion``: mean optical flow in picture widths a second; ``flicker``: jitter of the light from picture to picture;
  ``is_static``: nothing moves anywhere, a still with sound. On the dense view (25 pictures a second).
* ``border_ratio``: area of dark even bars. A black studio wall that reaches the edge counts as a bar.
* ``iqa``, ``aesthetic`` (1-5): levels of quality as a vision-language model names them (stages/quality/levels.py), in
  the reference profile with a model in its config; null otherwise. ``brisque`` is never used in place of ``iqa``.
* ``text_area_ratio`` is null in both profiles: no text detector is among the models that the packages ship.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.errors import UserError
from catalogs.media import ClipMedia
from catalogs.schema import column
from stages.base import Backend, Measurement, Resources, Stage, StageConfig, operational
from stages.declared import Question
from stages.quality import measures
from stages.quality.brisque import Brisque
from weights import registry
from weights.folder import folder_sha256, require_checkpoint

MACHINE = "brisque"


@dataclass(frozen=True)
class VideoQualityConfig(StageConfig):
    """Sets limits.

    Attributes:
        brisque_pictures: at most this many of the sampled pictures get a BRISQUE score (0.2 s each at 1080p).
        static_levels: below this change of the liveliest block, in levels of 255, a clip is a still.
    """

    brisque_pictures: int = 5
    static_levels: float = 1.5


@dataclass(frozen=True)
class LevelsConfig(VideoQualityConfig):
    """Sets the same, and which vision-language model names the levels.

    Attributes:
        folder: a local transformers checkpoint of an image-text-to-text model; "" leaves iqa and aesthetic null.
        level_pictures: at most this many of the sampled pictures are shown to it.
        level_max_side: longest side of a shown picture, in pixels.
    """

    folder: str = operational("")
    level_pictures: int = 3
    level_max_side: int = 768

    def numbers(self) -> dict[str, Any]:
        """Return the settings that change numbers: of the model's folder the content, not the path."""
        return super().numbers() | {"weights": folder_sha256(self.folder) if self.folder else "none"}

    def needs(self) -> Resources | None:
        """Ask for a GPU if there is a model to run."""
        return Resources(gpus=1.0, memory_gb=24.0) if self.folder else None


COLUMNS = pa.schema(
    [
        column("sharpness", pa.float32(), "variance of the Laplacian, luma 0-255, longer side at most 1024 px"),
        column("iqa", pa.float32(), "quality as a vision-language model sees it; null without one", "1-5"),
        column("aesthetic", pa.float32(), "aesthetics as a vision-language model sees them; null without one", "1-5"),
        column("brightness_mean", pa.float32(), "mean luma, bars left out", "0-1"),
        column("brightness_drift", pa.float32(), "largest minus smallest mean luma of the sampled pictures", "0-1"),
        column("motion", pa.float32(), "mean optical flow", "widths/s"),
        column("flicker", pa.float32(), "deviation of the mean luma from picture to picture", "0-1"),
        column("text_area_ratio", pa.float32(), "area of burnt-in text; null: no detector yet", "0-1"),
        column("border_ratio", pa.float32(), "area of dark even bars at the edges", "0-1"),
        column("is_static", pa.bool_(), "nothing moves: a still picture"),
        column("brisque", pa.float32(), "BRISQUE, 0 best to 100 worst, may leave that range", "0-100"),
        column("noise", pa.float32(), "deviation of noise in smooth parts", "levels of 255"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class VideoQualityMeasurement(Measurement):
    """Holds one row; see COLUMNS."""

    sharpness: float | None = None
    iqa: float | None = None
    aesthetic: float | None = None
    brightness_mean: float | None = None
    brightness_drift: float | None = None
    motion: float | None = None
    flicker: float | None = None
    text_area_ratio: float | None = None
    border_ratio: float | None = None
    is_static: bool | None = None
    brisque: float | None = None
    noise: float | None = None


class SignalScorer:
    """Computes signal measures and BRISQUE."""

    def __init__(self, config: VideoQualityConfig) -> None:
        self._config = config
        self._brisque = Brisque(registry.require(MACHINE))

    def score(self, clip: ClipMedia) -> VideoQualityMeasurement:
        """Measure a clip; raise ClipError if the pictures do not decode."""
        rgb, dense = clip.sample().rgb, clip.dense()
        shown = measures.luma(rgb)
        bars = measures.borders(shown)
        inside = bars.inside(shown)
        means = inside.mean(axis=(1, 2)) / 255
        seen = measures.luma(dense.rgb)
        small = measures.small(measures.borders(seen).inside(seen))
        scores = [self._brisque.score(picture) for picture in spread(bars.inside(rgb), self._config.brisque_pictures)]
        found = [score for score in scores if score is not None]
        return VideoQualityMeasurement(
            sharpness=float(np.median([measures.sharpness(picture) for picture in inside])),
            noise=float(np.median([measures.noise(picture) for picture in inside])),
            brisque=float(np.median(found)) if found else None,
            brightness_mean=float(means.mean()),
            brightness_drift=float(np.ptp(means)),
            motion=measures.motion(small, clip.config.dense_fps),
            flicker=measures.flicker(small.mean(axis=(1, 2)).tolist()),
            border_ratio=bars.ratio(*shown.shape[1:]),
            is_static=len(small) > 1 and measures.liveliest_block(small) < self._config.static_levels,
        )


class LevelsScorer:
    """Adds a vision-language model's levels of quality and aesthetics to the signal measures."""

    def __init__(self, config: LevelsConfig) -> None:
        from stages.quality.levels import LevelModel

        self._config = config
        self._signals = SignalScorer(config)
        self._model = LevelModel(require_checkpoint(config.folder, "video_quality")) if config.folder else None

    def score(self, clip: ClipMedia) -> VideoQualityMeasurement:
        """Measure a clip; raise ClipError if the pictures do not decode."""
        row = self._signals.score(clip)
        if self._model is None:
            return replace(row, status="unavailable", status_detail="config folder names no model for iqa, aesthetic")
        pictures = spread(clip.sample().rgb, self._config.level_pictures)
        rated = [self._model.rate(picture, self._config.level_max_side) for picture in pictures]
        return replace(
            row,
            iqa=float(np.mean([rating.quality for rating in rated])),
            aesthetic=float(np.mean([rating.aesthetics for rating in rated])),
        )


def spread(pictures: np.ndarray, n: int) -> np.ndarray:
    """Return at most ``n`` of ``pictures`` [T, ...], evenly spread."""
    parts = min(n, len(pictures))
    return pictures[((np.arange(parts) + 0.5) * len(pictures) / parts).astype(int)]


def check(config: StageConfig) -> None:
    """Check before work starts that the model's folder, if one is named, holds a model; raise UserError if not."""
    assert isinstance(config, LevelsConfig)
    if config.level_pictures < 1:
        raise UserError("video_quality: level_pictures must be positive")
    if config.folder:
        from stages.quality import levels

        levels.inspect(require_checkpoint(config.folder, "video_quality"))


STAGE: Stage = Stage(
    name="video_quality",
    summary="picture quality: sharpness, noise, BRISQUE, light, bars, motion, stillness",
    columns=COLUMNS,
    config=VideoQualityConfig,
    backends={
        "lite": Backend(name="signals_brisque", scorer="stages.video_quality:SignalScorer", weights=(MACHINE,)),
        "reference": Backend(
            name="signals_levels",
            scorer="stages.video_quality:LevelsScorer",
            weights=(MACHINE,),
            packages=("transformers",),
            config=LevelsConfig,
            check="stages.video_quality:check",
        ),
    },
    views=frozenset({"sample", "dense"}),
    resources=Resources(memory_gb=1.0),
    question=Question(
        text="Is the picture good enough to train on?",
        bad={
            "blurred": "blurred or out of focus",
            "compressed": "blocks or other coding damage",
            "noisy": "noise or grain",
            "light": "too dark, too bright or flickering",
            "overlay": "text, logo or subtitles over the picture",
            "bars": "black bars or a frame around the picture",
            "shaky": "shaky camera",
            "still": "a still picture",
        },
        misled={
            "soft_background": "a soft background taken for blur",
            "dark_on_purpose": "a dark scene that is well lit",
        },
    ),
)


if __name__ == "__main__":  # python -m stages.video_quality: the program, so it may know the runner
    from funnel.stage import stage_main

    stage_main(STAGE.name)

"""This stage cuts a source into clips, one per shot; every other stage measures these clips.

Method: one decode gives 48 × 27 pictures to TransNetV2 (arXiv 2008.04838), whose two scores mark the pictures of hard
and gradual transitions. Where one step between neighbours carries at least half of a mark's change it is a cut, exactly
there; otherwise it is a dissolve (or a fade, if a picture of one colour takes part), and its blended pictures belong to
no clip. Times are the pts of real pictures.

Cost: the network takes nine tenths of the time (about 20 ms a picture against 1 ms for decoding 480p), so windows in
which neither two neighbours nor two pictures a second apart differ are not shown to it (``network: suspect``).
Core-seconds per hour of video, always against suspect: talking persons 2472 / 673, the exact lists (a cut every two
seconds) 2278 / 1802; every cut there to the picture, the same boundaries in both modes (benchmarks/scene_split.py).

PySceneDetect: AdaptiveDetector on the same small pictures finds the same hard cuts for next to nothing, but no
dissolve, and takes changing captions for cuts (5 in one talking video); it is not used here. A jump cut (same person,
same camera) mostly gets low scores from the network and is often missed.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import av
import numpy as np
import pyarrow as pa

from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import MediaLimits, open_media
from catalogs.media.container import Deadline
from catalogs.media.frames import PictureReader
from catalogs.schema import CLIPS
from stages.base import Backend, Resources, Stage, StageConfig
from stages.declared import Question
from stages.scenes.boundaries import Boundary, PictureScores, Thresholds, find_boundaries
from stages.scenes.transnet import HEIGHT, WIDTH, Suspicion, TransitionScores, TransNet
from weights import registry

LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
LIMIT_COVERS_S = 600.0  #: MediaLimits.max_seconds is taken per this much video: sources may last hours
LIMIT_MAX_TIMES = 36.0  #: a header that claims more than six hours gets no more time

CutIn = Literal["start", "cut", "dissolve", "fade"]
CutOut = Literal["end", "cut", "dissolve", "fade"]


@dataclass(frozen=True)
class SceneSplitConfig(StageConfig):
    """Sets thresholds; the defaults were measured by benchmarks/scene_split.py.

    Attributes:
        network: ``suspect``: show TransNetV2 only windows in which something changes; ``always``: show it all.
        threshold: network score from which a mark is a boundary (the paper's 0.5).
        edge_threshold: score down to which a mark is followed on either side (how far a dissolve reaches).
        edge_guard_frames: pictures left out on each side of a gradual transition besides the marked ones, because its
            first and last blended pictures hardly differ from pure ones. Hard cuts are exact: none is left out.
        suspect_step: see stages.scenes.transnet.Suspicion; the weakest labelled cut measures 11, and any hard cut
            also drifts.
        suspect_drift: the weakest fade seen measures 15.
    """

    network: str = "suspect"
    threshold: float = 0.5
    edge_threshold: float = 0.2
    edge_guard_frames: int = 1
    suspect_step: float = 8.0
    suspect_drift: float = 10.0

    def __post_init__(self) -> None:
        if self.network not in ("suspect", "always"):
            raise UserError(f"scene_split: network must be 'suspect' or 'always', got {self.network!r}")


#: This stage's rows are rows of the clips table; these are what it decides about each.
COLUMNS = pa.schema([f for f in CLIPS if f.name not in ("clip_id", "source_id", "path")])


@dataclass(frozen=True)
class SceneSpan:
    """Describes one shot.

    Attributes:
        start_pts: pts of the first picture.
        end_pts: pts at which the last picture ends (exclusive): the next picture's, or one usual step further.
        n_frames: decoded pictures in the span.
        cut_in: how it begins.
        cut_out: how it ends.
        corrupt_frames: pictures in the span that do not decode, or not cleanly.
    """

    start_pts: int
    end_pts: int
    n_frames: int
    cut_in: CutIn
    cut_out: CutOut
    corrupt_frames: int = 0


@dataclass(frozen=True)
class SplitResult:
    """Holds the shots of one source.

    Attributes:
        spans: the shots to make clips of, in order. Empty if the whole source is one transition.
        time_base: seconds per pts unit.
        corrupt: shots with broken pictures: each becomes a failure with code ``corrupt``.
        truncated: the file ended early; the part that is there is split.
        network_share: part of the windows that the network looked at, 0…1 (1 with ``network: always``).
    """

    spans: list[SceneSpan]
    time_base: Fraction
    corrupt: list[SceneSpan] = field(default_factory=list)
    truncated: bool = False
    network_share: float = 1.0


class SceneSplitter:
    """Cuts sources into shots.

    Args:
        config: thresholds, and whether every window is looked at.
        device: where the network runs, ``cpu`` or ``cuda``.
    """

    def __init__(self, config: SceneSplitConfig, device: str = "cpu") -> None:
        self._config = config
        self._network = TransNet(registry.require("transnetv2"), device)
        self._thresholds = Thresholds(config.threshold, config.edge_threshold, config.edge_guard_frames)
        suspicion = Suspicion(config.suspect_step, config.suspect_drift)
        self._worth_looking = suspicion if config.network == "suspect" else None

    def split(self, path: str, limits: MediaLimits) -> SplitResult:
        """Find the shots of the source at ``path``. Memory: 24 bytes a picture (4 MB for 2 h) besides decoding.

        Raises:
            ClipError: no_frames, corrupt (no shot is free of broken pictures), truncated (the file ends early and
                nothing of it is usable), timeout, no_video and what opening raises.
        """
        with open_media(path, limits) as container:
            reader = PictureReader(container, Deadline(_for_length(limits, container.duration)))
            shown = _Shown(TransitionScores(self._network, self._worth_looking))
            for frame in reader:
                assert frame.pts is not None  # the reader drops pictures without a time
                small = frame.to_ndarray(format="rgb24", width=WIDTH, height=HEIGHT, interpolation="AREA")
                shown.push(frame.pts, small)
            time_base = reader.stream.time_base
        if time_base is None or not shown.pts:
            code = ErrorCode.TRUNCATED if reader.truncated else ErrorCode.NO_FRAMES
            raise ClipError(code, f"not one picture decodes ({reader.corrupt} broken packets)")
        boundaries = find_boundaries(shown.scores(), self._thresholds)
        spans = list(_spans(np.asarray(shown.pts), boundaries, np.sort(np.asarray(reader.corrupt_pts, np.int64))))
        result = SplitResult(
            spans=[s for s in spans if not s.corrupt_frames],
            time_base=time_base,
            corrupt=[s for s in spans if s.corrupt_frames],
            truncated=reader.truncated,
            network_share=shown.network_share,
        )
        if result.corrupt and not result.spans:
            code = ErrorCode.TRUNCATED if reader.truncated else ErrorCode.CORRUPT
            raise ClipError(code, f"{reader.corrupt} pictures do not decode, and no shot is free of them")
        return result


class _Shown:
    """Remembers numbers of the pictures that were decoded."""

    def __init__(self, transitions: TransitionScores) -> None:
        self._transitions = transitions
        self._last: np.ndarray | None = None
        self.pts = array("q")
        self._step, self._spread = array("f"), array("f")

    def push(self, pts: int, picture: np.ndarray) -> None:
        """Add a picture, uint8 [27, 48, 3] RGB."""
        self._transitions.push(picture)
        values = picture.astype(np.float32)
        if self._last is not None:
            self._step.append(float(np.abs(values - self._last).mean()))
        self._last = values
        self.pts.append(pts)
        self._spread.append(float((values @ LUMA).std()))

    def scores(self) -> PictureScores:
        """Return the scores; call it once, after the last picture."""
        self._transitions.finish()
        self._step.append(0.0)
        columns = (self._transitions.cut, self._transitions.transition, self._step, self._spread)
        return PictureScores(*(np.asarray(column, np.float32) for column in columns))

    @property
    def network_share(self) -> float:
        return self._transitions.windows_scored / max(1, self._transitions.windows)


def _for_length(limits: MediaLimits, duration: int | None) -> MediaLimits:
    times = min(LIMIT_MAX_TIMES, (duration or 0) / av.time_base / LIMIT_COVERS_S)
    return replace(limits, max_seconds=limits.max_seconds * max(1.0, times))


def _spans(pts: np.ndarray, boundaries: list[Boundary], corrupt_pts: np.ndarray) -> Iterator[SceneSpan]:
    """Return the stretches between boundaries. ``pts``: int64 [n], ascending; ``corrupt_pts``: ascending."""
    n = len(pts)
    usual_step = max(1, round(float(np.median(np.diff(pts))))) if n > 1 else 1
    ends = np.append(pts[1:], pts[-1] + usual_step)
    for before, after in pairwise([None, *boundaries, None]):
        first = before.first_new if before else 0
        last = after.last_old if after else n - 1
        if first > last:
            continue
        start_pts, end_pts = int(pts[first]), int(ends[last])
        broken = np.searchsorted(corrupt_pts, [start_pts, end_pts])
        yield SceneSpan(
            start_pts=start_pts,
            end_pts=end_pts,
            n_frames=last - first + 1,
            cut_in=before.kind if before else "start",
            cut_out=after.kind if after else "end",
            corrupt_frames=int(broken[1] - broken[0]),
        )


_TRANSNET = Backend(
    name="transnetv2",
    scorer="stages.scene_split:SceneSplitter",
    weights=("transnetv2",),
    cost="670 core-seconds per hour of talking video, 1800 with a cut every two seconds, decoding included",
)

STAGE: Stage = Stage(
    name="scene_split",
    summary="splits sources into shots at hard cuts, dissolves and fades (TransNetV2)",
    columns=COLUMNS,
    config=SceneSplitConfig,
    backends={"lite": _TRANSNET, "reference": _TRANSNET},
    views=frozenset(),
    resources=Resources(cpus=1.0, memory_gb=1.5),
    key="source_id",
    question=Question(
        text="Is this one unbroken shot, with nothing of a neighbouring shot at either end?",
        bad={
            "hard_cut": "a hard cut inside",
            "dissolve": "a dissolve or fade inside",
            "stray_frames": "frames of another shot at an end",
            "no_motion": "a still or a slide",
            "cut_mid_word": "begins or ends in the middle of a word",
        },
        misled={
            "flash": "a flash or a quick move taken for a cut",
            "useful_length": "length is fine for training",
        },
    ),
)


if __name__ == "__main__":  # python -m stages.scene_split: the program, so it may know the runner
    from funnel.stage import stage_main

    stage_main(STAGE.name)

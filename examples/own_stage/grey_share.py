"""How much of a clip is nearly grey: the share of its sampled pictures that show hardly any colour.

A pixel's colour is the difference between its largest and its smallest channel, 0 to 255; a picture is nearly grey if
the mean of that over its pixels is below ``max_colour``. Black-and-white film gives 0, the palest talking
portrait of our labelled media 9.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from catalogs.media import ClipMedia
from catalogs.schema import column
from stages.base import Backend, Measurement, Stage, StageConfig


@dataclass(frozen=True)
class GreyShareConfig(StageConfig):
    """Says from which colour on a picture is not grey any more.

    Attributes:
        max_colour: a nearly grey picture has less than this, 0-255.
    """

    max_colour: float = 4.0


COLUMNS = pa.schema([column("grey_share", pa.float32(), "share of the sampled pictures that are nearly grey", "0-1")])


@dataclass(frozen=True, kw_only=True)
class GreyShareMeasurement(Measurement):
    """Holds one row; see COLUMNS."""

    grey_share: float | None = None


class GreyShareScorer:
    """Looks at the pictures that all sparse stages share, so it costs no decoding of its own."""

    def __init__(self, config: GreyShareConfig) -> None:
        self._config = config

    def score(self, clip: ClipMedia) -> GreyShareMeasurement:
        """Return the clip's row. Raises ClipError if the pictures do not decode."""
        rgb = clip.sample().rgb  # uint8 [T, H, W, 3]
        colour = [float(np.ptp(picture, axis=2).mean()) for picture in rgb]
        return GreyShareMeasurement(grey_share=float(np.mean(np.array(colour) < self._config.max_colour)))


_BACKEND = Backend(name="channel_spread", scorer=f"{__name__}:GreyShareScorer")
STAGE = Stage(
    name="grey_share",
    summary="share of the pictures that show hardly any colour",
    columns=COLUMNS,
    config=GreyShareConfig,
    backends={"lite": _BACKEND, "reference": _BACKEND},
    views=frozenset({"sample"}),
)


if __name__ == "__main__":  # the stage as a job of its own: python -m MODULE --catalog … --policy …
    from funnel.stage import stage_main

    stage_main(STAGE.name)

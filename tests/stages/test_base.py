"""A stage is checked where it is declared, and can measure a clip without a catalog."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from catalogs.errors import UserError
from catalogs.media import whole_clip
from catalogs.schema import column
from stages.base import Stage
from tests.support.fakes import Number, fake_stage
from tests.support.written_media import grey_ramp, write_video


@pytest.mark.parametrize("name", ["clips", "sources", "verdicts", "curated", "Sync", "my-stage", "my.stage", "9", ""])
def test_a_stage_is_not_called_like_a_table(name: str) -> None:
    with pytest.raises(ValueError, match="a lower_case name is needed"):
        fake_stage(name)


@pytest.mark.parametrize("names", [["duration_s"], ["status"], ["clip_id"], ["Number"], ["one", "one"], ["a b"]])
def test_a_column_has_a_name_of_its_own(names: list[str]) -> None:
    columns = pa.schema([column(name, pa.int32(), "made up") for name in names])
    with pytest.raises(ValueError, match=f"stage first: column {names[0]!r} is there twice"):
        replace(fake_stage("first"), columns=columns)


def test_a_clip_is_scored_without_a_catalog(tmp_path: Path) -> None:
    stage: Stage = fake_stage("first")
    clip = whole_clip(write_video(tmp_path / "a.mp4", grey_ramp(5)))
    assert stage.scorer().score(clip) == Number(number=0.0)
    assert stage.scorer("lite", stage.config()).score(clip) == Number(number=0.0)
    with pytest.raises(UserError, match="has no reference backend yet"):
        stage.scorer("reference")

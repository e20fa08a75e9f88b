"""Another profile is another fingerprint, unless the very same backend serves both."""

from __future__ import annotations

import pytest

from catalogs.media import MediaConfig
from stages.base import PROFILES, fingerprint
from stages.listing import STAGES

SWAPPED = [stage for stage in STAGES.values() if set(stage.backends) == set(PROFILES)]


@pytest.mark.parametrize("stage", SWAPPED, ids=lambda stage: stage.name)
def test_swapping_the_profile_changes_the_fingerprint_with_the_backend(stage):
    lite, reference = (
        fingerprint(stage, stage.backend(profile), stage.config_of(profile)(), MediaConfig()) for profile in PROFILES
    )
    is_shared = stage.backend("lite") is stage.backend("reference")
    assert (lite.digest == reference.digest) == is_shared
    assert (lite.backend == reference.backend) == is_shared


def test_the_stages_that_the_paper_names_models_for_do_not_share_a_backend():
    swapped = {stage.name for stage in SWAPPED if stage.backend("lite") is not stage.backend("reference")}
    assert swapped >= {
        "person_count", "face_count", "head_body", "language", "speakers", "sync", "video_quality", "caption",
    }  # fmt: skip

"""What tests of precompute share: a small request, and the program as a user types it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from funnel.precompute import main
from tests.support.talking_snapshot import Talking
from training.encode_config import EncodeConfig
from training.encoders import Encoders
from training.precompute import PrecomputeOptions
from training.precompute_plan import Request

CONFIG = EncodeConfig(height=64, width=64, crop="centre", window_frames=33)
WORDS = ("--height", "64", "--width", "64", "--crop", "centre", "--window-frames", "33", "--audio", "log_mel")
OPTIONS = PrecomputeOptions(workers=2)
ANY = "--max-failure-rate=1"


def request(talking: Talking, folder: Path, config: EncodeConfig = CONFIG, codec: Path | str = "linear") -> Request:
    return Request(
        catalog=talking.url,
        snapshot="v1",
        folder=folder,
        codec=str(codec),
        encoders=Encoders(audio="log_mel", device="cpu"),
        config=config,
    )


def program(*words: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["precompute", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def arguments(talking: Talking, folder: Path) -> list[str]:
    return ["--catalog", talking.url, "--snapshot", "v1", "--to", str(folder), *WORDS, "--workers", "1", ANY]

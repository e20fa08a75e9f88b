"""This package opens media: what a file holds, a clip's frames, a clip's sound.

Everything that touches PyAV lives here. Times are presentation times; pictures come out upright, in square
pixels, as uint8 RGB; sound as float32. Pool files are untrusted: no network or playlist protocol is ever opened.
"""

from catalogs.media.clip import ClipMedia, ClipSpan, MediaConfig
from catalogs.media.container import MediaLimits, open_media
from catalogs.media.frames import Frames
from catalogs.media.probe import probe
from catalogs.media.sound import Sound
from catalogs.media.whole import whole_clip

__all__ = [
    "ClipMedia",
    "ClipSpan",
    "Frames",
    "MediaConfig",
    "MediaLimits",
    "Sound",
    "open_media",
    "probe",
    "whole_clip",
]

"""These functions write small media files with known truth, through PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from catalogs.ids import clip_id
from catalogs.media import ClipSpan


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    fps: int = 25,
    pts: Sequence[int] | None = None,
    sound: np.ndarray | None = None,
    sound_rate: int = 16_000,
) -> Path:
    """Write uint8 [H, W, 3] RGB frames (even sizes) as H.264, and float32 [channels, N] sound as AAC.

    Args:
        pts: presentation times in 1/1000 s; default is an even ``fps``.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "18"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        base = stream.codec_context.time_base = Fraction(1, 1000) if pts else Fraction(1, fps)
        track = None
        if sound is not None:
            track = container.add_stream("aac", rate=sound_rate, layout="mono" if len(sound) == 1 else "stereo")
        for number, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts = pts[number] if pts else number
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None and sound is not None:
            for start in range(0, sound.shape[1], 1024):
                block = np.ascontiguousarray(sound[:, start : start + 1024], np.float32)
                audio = av.AudioFrame.from_ndarray(block, format="fltp", layout=track.layout.name)
                audio.sample_rate, audio.pts = sound_rate, start
                container.mux(track.encode(audio))
            container.mux(track.encode(None))
    return path


def whole_span(path: Path | str) -> ClipSpan:
    """Return the span of a whole file, as scene_split would make it for a single shot."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pts = sorted(p.pts for p in container.demux(stream) if p.pts is not None)
        base = stream.time_base
    step = pts[1] - pts[0] if len(pts) > 1 else round(Fraction(1, 25) / base)
    start, end = pts[0], pts[-1] + step
    return ClipSpan(
        clip_id("s0", start, end), "s0", str(path), float(start * base), float(end * base), start, end, base
    )


def grey_ramp(count: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
    """Make frames whose brightness says which they are: frame i has grey level 2 i + 10."""
    return [np.full((height, width, 3), 2 * i + 10, np.uint8) for i in range(count)]

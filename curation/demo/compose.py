"""A source spec is rendered to an MP4, whose truth is then known.

Picture and sound both begin at 0. AAC starts with 1024 samples of priming; FFmpeg's muxer notes them in the edit list
and its demuxer skips them, so the decoded sound is the sound that was encoded (the tests measure it).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from curation.demo.scenes import Studio, portrait_views
from curation.demo.soundtrack import SAMPLE_RATE, ShotVoice, shot_voice, soundtrack
from curation.demo.spec import CODECS, Line, Shot, SourceSpec, Truth
from curation.demo.speech import language_of

__all__ = ["Line", "Shot", "SourceSpec", "Truth", "frames", "render", "truth_of"]

Float = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

_AAC_FRAME = 1024
_AUDIO_BIT_RATE = 96_000
# One thread and no B-frames give the same bytes on every machine with the same codec build, and pts from 0.
_VIDEO_OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "21", "bf": "0"},
    "libx265": {"preset": "ultrafast", "crf": "24", "x265-params": "log-level=none:bframes=0:pools=none"},
}


def render(spec: SourceSpec, path: str | Path, studio: Studio | None = None) -> Truth:
    """Write a source.

    Args:
        spec: What to make.
        path: Local MP4 file, overwritten.
        studio: Keeps prepared portraits between calls; a new one when None.

    Returns:
        What is true of the file.

    Raises:
        SpeechError: ``espeakng_loader`` is not installed, or a voice is unknown.
        ImportError: scikit-image is not installed.
    """
    voices = tuple(shot_voice(shot) for shot in spec.shots)
    sound = soundtrack(spec, voices) if spec.sound else None
    _write_mp4(spec, Path(path), frames(spec, voices, studio or Studio()), sound)
    return truth_of(spec, Path(path).name)


def frames(spec: SourceSpec, voices: tuple[ShotVoice, ...], studio: Studio) -> Iterator[Image]:
    """Yield every frame of a source in order, uint8 [height, width, 3] RGB; at most two are in memory."""
    running = studio.frames(spec, 0, voices[0])
    for index, shot in enumerate(spec.shots):
        overlap = spec.overlap_before(index + 1)
        for _ in range(spec.frames_of(shot) - spec.overlap_before(index) - overlap):
            yield next(running)
        if index + 1 == len(spec.shots):
            return
        following = studio.frames(spec, index + 1, voices[index + 1])
        for step in range(1, overlap + 1):
            weight = step / (overlap + 1)
            yield np.asarray(cv2.addWeighted(next(following), weight, next(running), 1 - weight, 0), np.uint8)
        running = following


def truth_of(spec: SourceSpec, file: str) -> Truth:
    """Return what is true of a spec that was rendered to ``file``."""
    lines = [line for shot in spec.shots for line in shot.sounding_lines] if spec.sound else []
    languages = sorted({language_of(line.voice) for line in lines})
    portraits = [shot for shot in spec.shots if shot.people]
    views = [view for shot in portraits for view in portrait_views(spec, shot)]
    starts = spec.starts
    joins = range(1, len(spec.shots))
    return Truth(
        file=file,
        name=spec.name,
        n_frames=spec.n_frames,
        duration_s=spec.n_frames / spec.fps,
        fps=spec.fps,
        width=spec.width,
        height=spec.height,
        cuts=tuple(starts[i] for i in joins if not spec.overlap_before(i)),
        dissolves=tuple((starts[i], starts[i] + spec.overlap_before(i)) for i in joins if spec.overlap_before(i)),
        face_count=max(shot.people for shot in spec.shots),
        person_count=max(shot.people for shot in spec.shots),
        framing=portraits[0].framing if portraits else "",
        face_height_px=round(min((view.face_height_px for view in views), default=0.0), 1),
        language="und" if not languages else languages[0] if len(languages) == 1 else "mul",
        speakers=len({(line.voice, line.pitch) for line in lines}),
        speech=bool(lines),
        sound=spec.sound,
        lips_follow_sound=bool(lines) and not spec.still and all(s.people and s.heard is None for s in spec.shots),
        offset_frames=spec.offset_frames if spec.sound else 0,
        verdict=spec.verdict,
        drop_stage=spec.drop_stage,
        note=spec.note,
    )


def _write_mp4(spec: SourceSpec, path: Path, pictures: Iterator[Image], sound: Float | None) -> None:
    codec: Any = CODECS[spec.codec]  # a plain str would be typed as "some kind of stream"
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream(codec, rate=spec.fps, options=dict(_VIDEO_OPTIONS[codec]))
        video.width, video.height, video.pix_fmt = spec.width, spec.height, "yuv420p"
        video.codec_context.thread_count = 1
        video.codec_context.time_base = Fraction(1, spec.fps)
        audio = _AudioTrack(container, sound) if sound is not None else None
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, spec.fps)
            container.mux(video.encode(frame))
            if audio:
                audio.write_until((index + 1) / spec.fps)
        container.mux(video.encode(None))
        if audio:
            audio.finish()


class _AudioTrack:
    """Encodes the sound to AAC in step with the picture, so that the muxer has little to hold."""

    def __init__(self, container: av.container.OutputContainer, sound: Float) -> None:
        self._container, self._sound, self._at = container, sound, 0
        self._stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", options={"aac_coder": "fast"})
        self._stream.bit_rate = _AUDIO_BIT_RATE

    def write_until(self, time_s: float) -> None:
        """Encode whole AAC frames up to a time in seconds."""
        while self._at + _AAC_FRAME <= min(round(time_s * SAMPLE_RATE), len(self._sound)):
            self._encode(_AAC_FRAME)

    def finish(self) -> None:
        """Encode the rest and flush."""
        while self._at < len(self._sound):
            self._encode(min(_AAC_FRAME, len(self._sound) - self._at))
        self._container.mux(self._stream.encode(None))

    def _encode(self, n_samples: int) -> None:
        block = self._sound[self._at : self._at + n_samples]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block[None]), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self._at, Fraction(1, SAMPLE_RATE)
        self._container.mux(self._stream.encode(frame))
        self._at += n_samples

"""A spec says which shots a source has, and its truth says what is then known about the file.

Frames count from 0 in display order; ``offset`` is in frames of 25 per second, positive when the sound comes late.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SUBJECTS = ("portrait", "coffee", "cat", "rocket")
TRANSITIONS = ("cut", "dissolve")
CODECS = {"h264": "libx264", "hevc": "libx265"}
STAGES = (
    "ingest", "scene_split", "person_count", "face_count", "head_body", "language", "sync", "speakers", "audio_quality",
)  # fmt: skip
OFFSET_RATE = 25  # frames per second in which offsets are counted, whatever the video's own rate


@dataclass(frozen=True)
class Line:
    """A line is an utterance: ``text`` in the language of ``voice`` (see ``speech.synthesise``)."""

    text: str
    voice: str = "en-us+f3"
    rate: int = 165
    pitch: int = 50


@dataclass(frozen=True)
class Shot:
    """Describes one continuous shot.

    Attributes:
        duration_s: Length in seconds.
        lines: What the person says, in turn and over again until the shot ends; empty for a silent person.
        framing: ``close_up``, ``half_body`` or ``wide``.
        subject: ``portrait``, or a picture without people: ``coffee``, ``cat``, ``rocket``.
        persons: 1 or 2, side by side.
        second_lines: What the right-hand person says, between the lines of the first.
        heard: Lines that are heard instead of those that the lips say, for swapped sound or a voice-over; None when
            the two agree.
        seed: Decides blinks and head motion.
    """

    duration_s: float
    lines: tuple[Line, ...] = ()
    framing: str = "half_body"
    subject: str = "portrait"
    persons: int = 1
    second_lines: tuple[Line, ...] = ()
    heard: tuple[Line, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.subject not in SUBJECTS:
            raise ValueError(f"subject must be one of {', '.join(SUBJECTS)}, not {self.subject!r}")
        if self.persons not in (1, 2):
            raise ValueError(f"persons must be 1 or 2, not {self.persons}; for none choose another subject")
        if self.second_lines and self.persons != 2:
            raise ValueError("second_lines need persons=2")

    @property
    def people(self) -> int:
        """Return the number of people in view."""
        return self.persons if self.subject == "portrait" else 0

    @property
    def sounding_lines(self) -> tuple[Line, ...]:
        """Return every line that is heard."""
        return self.lines + self.second_lines if self.heard is None else self.heard


@dataclass(frozen=True)
class SourceSpec:
    """Describes one video file.

    Attributes:
        name: File name without suffix.
        shots: The shots in order.
        transitions: ``cut`` or ``dissolve`` between neighbours; empty for cuts throughout.
        dissolve_frames: Length of a dissolve; both shots run under it.
        width: Pixels, even.
        height: Pixels, even.
        fps: Frames per second.
        codec: ``h264`` or ``hevc``.
        sound: False for a file without a sound track.
        offset_frames: Delay of the sound, frames of 25 per second; at most 25 either way.
        music_db: Level of synthetic music, dBFS RMS; None for none. Speech is at -20.
        noise_db: Level of white noise, dBFS RMS; None for a faint noise floor.
        clip_gain_db: Gain before the sound is cut off at full scale.
        blur_px: Sigma of a Gaussian blur over the picture.
        brightness: Factor on pixel values.
        still: Freeze every shot on its first frame.
        seed: Decides music and noise.
        verdict: ``keep`` or ``drop``: what a good funnel does with it.
        drop_stage: The stage that should drop it; empty for keep.
        note: What is wrong, in a few words.
    """

    name: str
    shots: tuple[Shot, ...]
    transitions: tuple[str, ...] = ()
    dissolve_frames: int = 12
    width: int = 640
    height: int = 480
    fps: int = 25
    codec: str = "h264"
    sound: bool = True
    offset_frames: int = 0
    music_db: float | None = None
    noise_db: float | None = None
    clip_gain_db: float = 0.0
    blur_px: float = 0.0
    brightness: float = 1.0
    still: bool = False
    seed: int = 0
    verdict: str = "keep"
    drop_stage: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if not self.shots:
            raise ValueError(f"{self.name}: a source needs at least one shot")
        if self.transitions and len(self.transitions) != len(self.shots) - 1:
            need, got = len(self.shots) - 1, len(self.transitions)
            raise ValueError(f"{self.name}: {len(self.shots)} shots need {need} transitions, got {got}")
        if unknown := set(self.transitions) - set(TRANSITIONS):
            raise ValueError(f"{self.name}: transitions are {', '.join(TRANSITIONS)}, not {', '.join(sorted(unknown))}")
        if self.codec not in CODECS:
            raise ValueError(f"{self.name}: codec must be one of {', '.join(CODECS)}, not {self.codec!r}")
        if abs(self.offset_frames) > OFFSET_RATE:
            raise ValueError(f"{self.name}: offset_frames must lie within ±{OFFSET_RATE}, not {self.offset_frames}")
        if self.width % 2 or self.height % 2:
            raise ValueError(f"{self.name}: width and height must be even, got {self.width}x{self.height}")
        if (self.verdict == "drop") != (self.drop_stage in STAGES):
            raise ValueError(f"{self.name}: a dropped source names one of {', '.join(STAGES)}, a kept one none")
        self._check_lengths()

    def _check_lengths(self) -> None:
        for index, shot in enumerate(self.shots):
            overlap = self.overlap_before(index) + self.overlap_before(index + 1)
            if self.frames_of(shot) <= overlap:
                raise ValueError(
                    f"{self.name}: shot {index} has {self.frames_of(shot)} frames, its dissolves take {overlap}"
                )

    def frames_of(self, shot: Shot) -> int:
        """Return the number of frames of a shot, with those under dissolves."""
        return max(1, round(shot.duration_s * self.fps))

    def overlap_before(self, index: int) -> int:
        """Return the number of frames that shot ``index`` shares with the one before it."""
        if not 0 < index < len(self.shots) or not self.transitions:
            return 0
        return self.dissolve_frames if self.transitions[index - 1] == "dissolve" else 0

    @property
    def starts(self) -> tuple[int, ...]:
        """Return the first frame of each shot; a dissolve begins there."""
        starts = [0]
        for index in range(1, len(self.shots)):
            starts.append(starts[-1] + self.frames_of(self.shots[index - 1]) - self.overlap_before(index))
        return tuple(starts)

    @property
    def n_frames(self) -> int:
        """Return the number of frames of the whole file."""
        return self.starts[-1] + self.frames_of(self.shots[-1])


@dataclass(frozen=True)
class Truth:
    """Holds what is known about a made file.

    Attributes:
        file: File name.
        name: Name of its spec.
        n_frames: Frames; 0 for a file that is no video.
        duration_s: Seconds of picture and of sound.
        fps: Frames per second.
        width: Pixels.
        height: Pixels.
        cuts: First frame of each shot that begins with a hard cut.
        dissolves: (first mixed frame, first frame after) of each dissolve.
        face_count: Most faces in view at once.
        person_count: Most persons in view at once.
        framing: Of the first portrait shot; empty without one.
        face_height_px: Brow line to chin, smallest over the portrait shots; 0 without one.
        language: ISO 639-1 of the speech, ``und`` without speech, ``mul`` for several.
        speakers: Distinct voices heard.
        speech: Whether anyone is heard speaking.
        sound: Whether there is a sound track.
        lips_follow_sound: Whether the lips in view say what is heard (perhaps late or early).
        offset_frames: Delay of the sound, frames of 25 per second.
        verdict: ``keep`` or ``drop``.
        drop_stage: Stage that should drop it.
        note: What is wrong, in a few words.
    """

    file: str
    name: str
    n_frames: int = 0
    duration_s: float = 0.0
    fps: int = 0
    width: int = 0
    height: int = 0
    cuts: tuple[int, ...] = ()
    dissolves: tuple[tuple[int, int], ...] = ()
    face_count: int = 0
    person_count: int = 0
    framing: str = ""
    face_height_px: float = 0.0
    language: str = "und"
    speakers: int = 0
    speech: bool = False
    sound: bool = False
    lips_follow_sound: bool = False
    offset_frames: int = 0
    verdict: str = "keep"
    drop_stage: str = ""
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return plain values, for ``json.dump``."""
        return asdict(self)

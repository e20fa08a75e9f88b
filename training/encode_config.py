"""These settings decide what the latents of a clip are: all of them change numbers, so all are part of their hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from catalogs.errors import UserError
from catalogs.media import ClipSpan, MediaConfig
from catalogs.media.sound import SPEECH_RATE

STEP = 16  #: pixels: a latent cell is 8 pixels and the transformer's patch 2 cells
DTYPES = ("bfloat16", "float16", "float32")
AUDIO_TAIL_S = 0.5  #: sound that is still heard after the last picture: more than a window's margin of 10 tokens
_LEAST_PIXELS = 640 * 400  #: faces are looked for in pictures of at least this size, as the stages do
_FITS = 2.4  #: pictures are decoded this many times larger than the target, as a part of them may be cut off


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """Says how a clip becomes tensors.

    A clip begins at its first picture. It is cut after the last picture that completes a latent and is within
    ``max_frames``; a clip with fewer than ``window_frames`` pictures is left out.

    Attributes:
        fps: pictures per second; a source with other times gives the picture that is on screen at each of these.
        height, width: of the encoded pictures, multiples of 16.
        crop: ``centre`` cuts the largest rectangle of that shape from the picture's middle. ``fit`` first chooses, of
            five shapes with about as many pixels (this one, this one turned, square, 4:3, 3:4), the one most like the
            picture's, so that little is cut away.
        window_frames: pictures of a training window, 4 k + 1; 81 are 21 latents (the paper's 80 fit nothing).
        max_frames: most pictures of a clip, 4 k + 1; 481 are 19.2 s, all of what the shipped policies keep.
        max_enlarge: a picture that would have to be enlarged by more is left out.
        faces: who finds the lower face: ``mesh`` (MediaPipe, profile lite) or ``dwpose`` (profile reference).
        face_every: pictures from one look at the face to the next; landmarks between are interpolated. 2: a jaw takes
            some 0.1 s to open.
        max_unseen: share of these looks that may find no face.
        dtype: of latents, audio and text: ``bfloat16``, ``float16`` or ``float32``.
    """

    fps: float = 25.0
    height: int = 480
    width: int = 832
    crop: Literal["centre", "fit"] = "fit"
    window_frames: int = 81
    max_frames: int = 481
    max_enlarge: float = 1.25
    faces: Literal["mesh", "dwpose"] = "mesh"
    face_every: int = 2
    max_unseen: float = 0.4
    dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        """Check the values. Raises UserError for one that cannot be."""
        for name, value in (("height", self.height), ("width", self.width)):
            if value < STEP or value % STEP:
                near = max(STEP, round(value / STEP) * STEP)
                raise UserError(f"{name} {value}: pictures are multiples of {STEP} pixels, e.g. {near}")
        for name, value in (("window_frames", self.window_frames), ("max_frames", self.max_frames)):
            if value < 1 or value % 4 != 1:
                raise UserError(f"{name} {value}: a video has 4 k + 1 pictures, e.g. {max(1, value // 4 * 4 + 1)}")
        if self.max_frames < self.window_frames:
            raise UserError(f"max_frames {self.max_frames} is less than window_frames {self.window_frames}")
        if not 1 <= self.fps <= 120:
            raise UserError(f"fps {self.fps:g}: pictures per second are between 1 and 120")
        if self.dtype not in DTYPES:
            raise UserError(f"dtype {self.dtype!r} is none of {', '.join(DTYPES)}")
        if self.crop not in ("centre", "fit") or self.faces not in ("mesh", "dwpose"):
            raise UserError(f"crop is centre or fit, faces is mesh or dwpose, not {self.crop!r} and {self.faces!r}")
        if self.face_every < 1:
            raise UserError(f"face_every {self.face_every}: faces are looked for in every 1st, 2nd, … picture")

    @property
    def media(self) -> MediaConfig:
        """Return how the pictures are decoded: all of them, as large as the largest cut may need."""
        return MediaConfig(
            sample_min=1,
            sample_max=1,
            sample_max_pixels=STEP * STEP,  # nobody looks at the sparse view
            dense_fps=self.fps,
            dense_max_pixels=max(_LEAST_PIXELS, int(_FITS * self.height * self.width)),
            dense_max_s=self.max_frames / self.fps + 1.0,
        )

    @property
    def speech_tail(self) -> int:
        """Return how many samples of sound are kept after the last picture."""
        return round(AUDIO_TAIL_S * SPEECH_RATE)

    def frames_of(self, duration_s: float, temporal: int) -> int:
        """Return how many pictures of a clip are encoded: 1 + a multiple of ``temporal``; 0 if it is too short."""
        shown = min(int(duration_s * self.fps + 1e-6), self.max_frames)
        return 1 + (shown - 1) // temporal * temporal if shown >= self.window_frames else 0

    def beginning(self, span: ClipSpan) -> ClipSpan:
        """Return the part of a clip that is encoded, so that nothing else is decoded."""
        length_s = self.max_frames / self.fps + AUDIO_TAIL_S
        if span.duration_s <= length_s:
            return span
        end_pts = span.start_pts + round(length_s / span.time_base)
        return span._replace(end_s=span.start_s + length_s, end_pts=end_pts)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> EncodeConfig:
        """Make the config of what ``encoding.json`` says of it; ``window_latents`` follows from it and the codec."""
        return cls(**{key: value for key, value in document.items() if key != "window_latents"})

"""A clip becomes tensors here: what precompute stores, and what on-the-fly training makes for every step. No Ray.

Pictures come by presentation time at the config's rate, cut and resized (training/crops.py); sound from the same
instant on, at 16 kHz. The lower face is a box around jaw, base of the nose and lips that goes with the head
(``steady_boxes`` in stages/vision/face_landmarks.py), from landmarks of the whole picture before it is cut. It is the
hole of video editing, and ``lips`` is the share of each latent cell's area that it covers.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from catalogs.media import ClipMedia, ClipSpan, MediaLimits
from catalogs.media.crop import Crop
from catalogs.media.sound import SPEECH_RATE
from model.audio import AudioEncoder
from model.codecs.codec import Codec
from model.conditioning import blank_latents, fold_hole, pool_area
from model.image import ClipImage
from model.shapes import frames_of_latents, latents_of_frames
from model.text import TextEncoder
from stages.vision.face_landmarks import FaceLandmarks, steady_boxes
from training.crops import crop_of
from training.encode_config import EncodeConfig
from training.shards import EncodedClip

TOO_SHORT, TOO_SMALL, NO_FACE, FACE_OUTSIDE, NO_SOUND = "too_short", "too_small", "no_face", "face_outside", "no_sound"
VERSION = 1  #: raise it whenever the code below changes numbers
SOUND_PEAK = 32767  #: the sound is kept as 16-bit numbers, as most files have it
_PLACES = 1000  #: tokens from the encoder's first place; with a clip of 10 s it still hears all of it at once
_MIN_INSIDE = 0.5  #: share of the lower face, over all pictures, that must lie inside the cut


class NotEncodableError(Exception):
    """Says that a clip cannot be trained on, and why; it is left out and counted.

    Args:
        reason: a short name, stored as data.
        detail: one line for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)  # both, so that it survives pickling between processes
        self.reason, self.detail = reason, detail


class ClipEncoder:
    """Encodes clips, one at a time.

    Args:
        config: what decides the numbers.
        codec: of the pictures; it computes on ``device``.
        audio, text: encoders of sound and caption, wherever they lie.
        faces: finds the landmarks.
        device: where pictures are encoded.
        image: encoder of the first picture, for models with an image branch.

    Attributes:
        seconds: part of the work -> wall-clock seconds spent on it so far.
    """

    def __init__(
        self,
        config: EncodeConfig,
        codec: Codec,
        audio: AudioEncoder,
        text: TextEncoder,
        faces: FaceLandmarks,
        device: torch.device | str = "cpu",
        image: ClipImage | None = None,
    ) -> None:
        self.config, self.codec, self.audio, self.text, self.faces = config, codec, audio, text, faces
        self.image = image
        self._device = device
        self._dtype: torch.dtype = getattr(torch, config.dtype)
        self.seconds: dict[str, float] = defaultdict(float)

    @property
    def window_latents(self) -> int:
        """Return the latents of a training window."""
        return latents_of_frames(self.config.window_frames, self.codec.shape.temporal)

    def open(self, span: ClipSpan, limits: MediaLimits = MediaLimits()) -> ClipMedia:
        """Return the part of a clip that is encoded, with pictures of the right kind; nothing is read yet."""
        return ClipMedia(self.config.beginning(span), self.config.media, limits)

    def encode(self, clip: ClipMedia, caption: str) -> dict[str, Tensor]:
        """Encode a clip that :meth:`open` made.

        Returns:
            The tensors that training/latents.py describes, on the CPU.

        Raises:
            NotEncodableError: too short, too small, no sound, or no face in it.
            ClipError: the file cannot be decoded, or has changed.
        """
        with self._timing("decode"):
            rgb, crop = decoded(clip, self.config, self.codec.shape.temporal)
        speech = self._speech(clip, len(rgb))
        with self._timing("audio"):
            tokens = self.audio.encode(speech, at=_place(clip.span.clip_id)).tokens
        boxes = self._boxes(rgb, crop)
        with self._timing("crop"):
            pictures = crop.pictures(rgb)
        with self._timing("text"):
            text = self.text.encode([caption])[0]
        found = {**self._video(pictures, boxes), "audio": tokens, "text": text}
        if self.image is not None:
            with self._timing("image"):
                found["clip_image"] = self.image.encode(pictures[:1])[0]
        moved = {name: tensor.to("cpu", self._dtype).contiguous() for name, tensor in found.items()}
        sound = torch.from_numpy(np.round(speech * SOUND_PEAK).clip(-SOUND_PEAK, SOUND_PEAK).astype(np.int16))
        return moved | self._masks(boxes, crop) | {"sound": sound}

    def facts(self, clip_id: str, tensors: dict[str, Tensor]) -> EncodedClip:
        """Return what the index says of an encoded clip."""
        _, latents, height, width = tensors["video"].shape
        shape = self.codec.shape
        return EncodedClip(
            clip_id=clip_id,
            n_frames=frames_of_latents(latents, shape.temporal),
            n_latents=latents,
            height=height * shape.spatial,
            width=width * shape.spatial,
            fps=self.config.fps,
            n_tokens=len(tensors["audio"]),
        )

    @contextmanager
    def _timing(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] += time.monotonic() - began

    def _speech(self, clip: ClipMedia, n_frames: int) -> np.ndarray:
        """Decode the sound from the first picture to a little after the last, float32 [N], 16 kHz."""
        with self._timing("decode"):
            speech = clip.speech
        if speech is None:
            raise NotEncodableError(NO_SOUND, "the file has no sound track")
        end = round(n_frames / self.config.fps * SPEECH_RATE) + self.config.speech_tail
        return np.ascontiguousarray(speech[:end], np.float32)

    def _boxes(self, rgb: np.ndarray, crop: Crop) -> np.ndarray:
        """Return the lower face of each picture after the cut, int64 [F, 4]: x0 y0 x1 y1 in pixels."""
        with self._timing("masks"):
            landmarks = self.faces.find(rgb, self.config.face_every, self.config.max_unseen)
            if landmarks is None:
                raise NotEncodableError(NO_FACE, "no face is seen in enough of the pictures")
            boxes, inside = steady_boxes(crop.points(landmarks), (crop.height, crop.width))
        if inside < _MIN_INSIDE:
            raise NotEncodableError(
                FACE_OUTSIDE, "the lower face lies outside the part that is cut out of the pictures"
            )
        return boxes

    @torch.inference_mode()
    def _video(self, pictures: np.ndarray, boxes: np.ndarray) -> dict[str, Tensor]:
        with self._timing("codec"):
            video = video_of(pictures, self._device)[None]
            latents = self.codec.encode(video)[0]
            first = torch.zeros(1, 3, self.config.window_frames, *video.shape[3:], device=video.device)
            first[:, :, 0] = video[:, :, 0]
            image = self.codec.encode(first)[0]
            for frame, (x0, y0, x1, y1) in enumerate(boxes):
                video[:, :, frame, y0:y1, x0:x1] = 0
            blanked = self.codec.encode(video)[0]
        return {"video": latents, "image_condition": image, "video_condition": blanked}

    def _masks(self, boxes: np.ndarray, crop: Crop) -> dict[str, Tensor]:
        with self._timing("masks"):
            hole = torch.zeros(1, 1, len(boxes), crop.height, crop.width, dtype=torch.uint8)
            for frame, (x0, y0, x1, y1) in enumerate(boxes):
                hole[:, :, frame, y0:y1, x0:x1] = 1
            shape = self.codec.shape
            folded = fold_hole(hole, shape.spatial, shape.temporal)[0].contiguous()
            lips = pool_area(hole, shape.spatial, shape.temporal)[0, 0]
        return {"hole": folded, "lips": lips.to(torch.float16).contiguous()}


def nulls(
    codec: Codec, text: TextEncoder, window_latents: int, sizes: Iterable[tuple[int, int]], dtype: torch.dtype
) -> tuple[dict[tuple[int, int], Tensor], Tensor]:
    """Return what stands for a picture and a text that are left out.

    Args:
        window_latents: latents of a training window.
        sizes: height and width of the pictures, in pixels, each once.
        dtype: of the results.

    Returns:
        (height, width) -> latents of a grey video [C, W, h, w], and the empty caption [N, D], on the CPU.
    """
    step = codec.shape.spatial
    blanks = {
        (height, width): blank_latents(codec, window_latents, height // step, width // step)[0].to("cpu", dtype)
        for height, width in sizes
    }
    return {size: blank.contiguous() for size, blank in blanks.items()}, text.encode([""])[0].to("cpu", dtype)


def _place(clip_id: str) -> int:
    """Return at which of the encoder's places a clip's sound begins, drawn by its id.

    Whisper adds an absolute position to what it hears. Clips that all begin at its first place would never show a model
    what the later minutes of a long track sound like.
    """
    return int(clip_id[-8:], 16) % _PLACES


def decoded(clip: ClipMedia, config: EncodeConfig, temporal: int) -> tuple[np.ndarray, Crop]:
    """Decode the pictures that are encoded, uint8 [F, H, W, 3] before the cut, and find what is cut out of them.

    Raises:
        NotEncodableError: too short, too small.
        ClipError: they do not decode.
    """
    rgb = clip.dense().rgb
    n = config.frames_of(len(rgb) / config.fps, temporal)
    if not n:
        raise NotEncodableError(TOO_SHORT, f"{len(rgb)} pictures; a window has {config.window_frames}")
    crop = crop_of(rgb.shape[1], rgb.shape[2], config)
    if crop.enlarges > config.max_enlarge:
        wanted = f"{crop.cut_width}x{crop.cut_height} pixels for {crop.width}x{crop.height}"
        raise NotEncodableError(TOO_SMALL, f"{wanted}: enlarged {crop.enlarges:.2f} times (max_enlarge)")
    return rgb[:n], crop


def video_of(pictures: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Turn pictures, uint8 [F, H, W, 3], into a codec's input: float32 [3, F, H, W] in -1..1."""
    return torch.from_numpy(pictures).to(device).permute(3, 0, 1, 2).float().div_(127.5).sub_(1)

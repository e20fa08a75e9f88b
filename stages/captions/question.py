"""A vision-language model is shown the pictures of a clip and asked for the structured caption.

The pictures are ``n`` moments evenly from the clip's first frame to its last (SkyCaptioner-V1's own script goes through
fifteen sixteenths of a clip and squeezes every picture to 360 x 420; here the end is seen and shapes are kept). The
question names the keys, and the closed lists of values, that SkyCaptioner-V1 was trained to answer with; the wording is
ours. To ask in the wording of its training, put that into the config (``question``).
"""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np

from catalogs.media import ClipMedia

FRAMES_AS = ("images", "video")
JPEG_QUALITY = 90

QUESTION = """\
Describe this video clip as one JSON object and nothing else. Its keys:
"subjects": a list, the main subject first; each an object with
  "TYPES": {"type": main category, e.g. "Human", "sub_type": a closer one, e.g. "Woman"},
  "appearance": what the subject looks like, "action": what it does in the course of the clip,
  "expression": its facial expression and how that changes (people and animals only, else ""),
  "position": where it is in the picture or relative to others, "is_main_subject": true or false;
"shot_type": long_shot, full_shot, medium_shot, close_up, extreme_close_up or other;
"shot_angle": eye_level, high_angle, low_angle or other;
"shot_position": front_view, back_view, side_view, over_the_shoulder, overhead_view, point_of_view, aerial_view,
  overlooking_view or other;
"camera_motion": how the camera moves; "environment": the surroundings; "lighting": the light.
Every value but "subjects", "TYPES" and "is_main_subject" is a string; write "" for what cannot be seen."""

AGAIN = (
    "That answer cannot be read: {problem}. Answer again with the one JSON object that was asked for: "
    "all of its keys, and no text around it."
)


def pictures(clip: ClipMedia, n: int, max_side: int) -> list[np.ndarray]:
    """Return ``n`` pictures over the whole clip, uint8 [H, W, 3] RGB each, longest side at most ``max_side``.

    They are from the dense view if that covers the whole clip (first and last frame included), else from the sparse
    sample.

    Raises:
        ClipError: as ``clip.dense()``.
    """
    frames = clip.dense() if clip.dense_wanted and clip.duration_s <= clip.config.dense_max_s else clip.sample()
    chosen = np.linspace(0, len(frames) - 1, min(n, len(frames))).round().astype(int)
    return [_shrunk(frames.rgb[i], max_side) for i in chosen]


def _shrunk(rgb: np.ndarray, max_side: int) -> np.ndarray:
    height, width = rgb.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def first_message(shown: list[np.ndarray], question: str, frames_as: str) -> dict[str, Any]:
    """Make the user's turn in an OpenAI-compatible conversation, with the pictures in one of :data:`FRAMES_AS`.

    Every server understands ``images``. ``video`` is vLLM's form for the frames of one video, one JPEG after the other,
    divided by commas (vllm pull request 11492): the model then sees them as it did in its training.
    """
    encoded = [jpeg(rgb) for rgb in shown]
    parts: list[dict[str, Any]]
    if frames_as == "video":
        parts = [{"type": "video_url", "video_url": {"url": "data:video/jpeg;base64," + ",".join(encoded)}}]
    else:
        parts = [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{image}"}} for image in encoded]
    return {"role": "user", "content": [*parts, {"type": "text", "text": question}]}


def again(answer: str, problem: str) -> list[dict[str, Any]]:
    """Make the two turns that ask for the answer once more."""
    return [{"role": "assistant", "content": answer}, {"role": "user", "content": AGAIN.format(problem=problem)}]


def jpeg(rgb: np.ndarray) -> str:
    """Encode ``rgb``, uint8 [H, W, 3], as a JPEG file in Base64."""
    done, file = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "OpenCV encodes every uint8 picture"
    return base64.b64encode(file.tobytes()).decode("ascii")

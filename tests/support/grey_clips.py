"""A chat server can tell these clips apart: each has one grey level, and its right answer says which."""

import base64
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from catalogs.media import ClipSpan
from stages.captions.structure import StructuralCaption
from tests.support.chat_server import Reply, Request, completion
from tests.support.written_media import whole_span, write_video

STEP = 20  #: grey levels between clips: far more than a JPEG changes


def grey_span(folder: Path, number: int) -> ClipSpan:
    """Write four frames of grey level ``STEP * number``; number up to 12."""
    frames = [np.full((32, 32, 3), STEP * number, np.uint8)] * 4
    return whole_span(write_video(folder / f"grey{number}.mp4", frames))._replace(clip_id=f"clip{number:02}")


def caption_of(number: int) -> str:
    """Return the right answer about that clip."""
    return StructuralCaption(environment=f"Clip {number}").to_json()


def asked_about(question: Mapping) -> int:
    """Say which clip a question shows."""
    url = question["messages"][0]["content"][0]["image_url"]["url"]
    file = np.frombuffer(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")), np.uint8)
    return round(float(cv2.imdecode(file, cv2.IMREAD_COLOR).mean()) / STEP)


def captioning(odd: Mapping[int, Reply] | None = None) -> Reply:
    """Answer rightly, but about some clips with something else."""

    def reply(request: Request) -> None:
        number = asked_about(request.asked)
        if odd and number in odd:
            odd[number](request)
        else:
            request.send(completion(caption_of(number)))

    return reply


def once(trouble: Reply) -> Reply:
    """Answer the first question with that trouble, then give right answers."""
    left = [trouble]
    right = captioning()
    return lambda request: (left.pop() if left else right)(request)

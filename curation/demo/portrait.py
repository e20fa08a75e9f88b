"""A portrait that can talk is one real photo, framed, warped to a pose, at video size.

The photo is NASA's picture of an astronaut (public domain), shipped by scikit-image. Mouth and eye patches are made
once per quantised shape and kept; a frame then costs two pastes and one remap of the head.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from curation.demo.face_warp import Canvas, Patch, eye_patches, mouth_patch
from curation.demo.motion import Pose

Float = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

FRAMINGS = ("close_up", "half_body", "wide")
LOOKS = ("plain", "tinted")

_PHOTO_SIZE = 512
_CROP_HEIGHTS = {"close_up": 205.0, "half_body": 350.0, "wide": 800.0}  # photo pixels
_CROP_TOPS = {"close_up": 14.0, "half_body": 2.0, "wide": -288.0}
_HEAD_X = 226.0  # photo x of the middle of the head
_FACE_HEIGHT = 98.0  # photo pixels, brow line to chin
_HEAD_PIVOT = (226.0, 182.0)  # where the head turns on the neck
_HEAD_BOX = (96.0, 0.0, 356.0, 232.0)
_FACE_CENTRE = (225.0, 128.0)
_OPENING_LEVELS, _WIDTH_LEVELS, _BLINK_LEVELS = 28, 8, 6
_KEPT_PATCHES_BYTES = 32 << 20
_COARSE = 8  # the head's displacement is smooth: computed on every 8th pixel, then enlarged


@dataclass(frozen=True)
class PortraitView:
    """Says what a portrait renderer shows.

    Attributes:
        width: Pixels.
        height: Pixels.
        framing: ``close_up`` (head and shoulders), ``half_body``, or ``wide`` (the person small before a wall).
        look: ``plain``, or ``tinted``: mirrored, blue suit, dark hair, so that a second person differs.
    """

    width: int
    height: int
    framing: str = "half_body"
    look: str = "plain"

    def __post_init__(self) -> None:
        if self.framing not in FRAMINGS:
            raise ValueError(f"framing must be one of {', '.join(FRAMINGS)}, not {self.framing!r}")
        if self.look not in LOOKS:
            raise ValueError(f"look must be one of {', '.join(LOOKS)}, not {self.look!r}")

    @property
    def crop(self) -> tuple[float, float, float, float]:
        """Return left, top, width and height of the part that is shown, in photo pixels."""
        height = _CROP_HEIGHTS[self.framing]
        aspect = self.width / self.height
        if self.framing == "wide":
            return _HEAD_X - height * aspect / 2, _CROP_TOPS["wide"], height * aspect, height
        height = min(height, _PHOTO_SIZE / aspect)
        left = min(max(_HEAD_X - height * aspect / 2, 0.0), _PHOTO_SIZE - height * aspect)
        return left, _CROP_TOPS[self.framing], height * aspect, height

    @property
    def face_height_px(self) -> float:
        """Return the height of the face, brow line to chin, in pixels of the video."""
        return _FACE_HEIGHT * self.height / self.crop[3]


class Portrait:
    """Renders one person; not thread-safe."""

    def __init__(self, view: PortraitView) -> None:
        """Prepare the picture.

        Raises:
            ImportError: scikit-image is not installed.
        """
        self.view = view
        self._canvas = _framed_photo(view)
        self._patches: OrderedDict[tuple[str, int, int], tuple[Patch, ...]] = OrderedDict()
        self._patch_bytes = 0
        self._head = _HeadField(self._canvas)

    def frame(self, pose: Pose) -> Image:
        """Render the portrait in a pose: uint8 [height, width, 3] RGB, a new array."""
        still = self._canvas.pixels.copy()
        opening = round(pose.opening * _OPENING_LEVELS)
        width = round(pose.width * _WIDTH_LEVELS) if opening else 0
        blink = round(pose.blink * _BLINK_LEVELS)
        for patch in self._patch("mouth", opening, width):
            patch.paste(still)
        if blink:
            for patch in self._patch("eyes", blink, 0):
                patch.paste(still)
        moved = self._head.move(still, pose)
        return np.ascontiguousarray(moved[:, ::-1]) if self.view.look == "tinted" else moved

    def _patch(self, part: str, level: int, width: int) -> tuple[Patch, ...]:
        key = (part, level, width)
        if key in self._patches:
            self._patches.move_to_end(key)
            return self._patches[key]
        if part == "mouth":
            made: tuple[Patch, ...] = (mouth_patch(self._canvas, level / _OPENING_LEVELS, width / _WIDTH_LEVELS),)
        else:
            made = eye_patches(self._canvas, level / _BLINK_LEVELS)
        self._patches[key] = made
        self._patch_bytes += sum(patch.pixels.nbytes for patch in made)
        while self._patch_bytes > _KEPT_PATCHES_BYTES and len(self._patches) > 1:
            _, dropped = self._patches.popitem(last=False)
            self._patch_bytes -= sum(patch.pixels.nbytes for patch in dropped)
        return made


class _HeadField:
    """Moves the head a little, by a smooth displacement that fades out over the neck and the background."""

    def __init__(self, canvas: Canvas) -> None:
        self._scale = canvas.scale
        self._top, self._left, x, y = canvas.grid(_HEAD_BOX)
        self._height, self._width = x.shape
        base_x, base_y = np.meshgrid(
            np.arange(self._width, dtype=np.float32), np.arange(self._height, dtype=np.float32)
        )
        self._base = np.dstack([base_x, base_y])
        coarse_size = (max(self._width // _COARSE, 2), max(self._height // _COARSE, 2))
        coarse_x, coarse_y = (
            np.asarray(cv2.resize(v, coarse_size, interpolation=cv2.INTER_AREA), np.float32) for v in (x, y)
        )
        self._weight = _head_weight(coarse_x, coarse_y)
        self._arm_x = self._weight * (coarse_x - _HEAD_PIVOT[0])
        self._arm_y = self._weight * (coarse_y - _HEAD_PIVOT[1])
        squared = ((coarse_x - _FACE_CENTRE[0]) / 58) ** 2 + ((coarse_y - _FACE_CENTRE[1]) / 72) ** 2
        self._relief = np.clip(1 - squared, 0, 1).astype(np.float32) ** 2

    def move(self, picture: Image, pose: Pose) -> Image:
        """Move the head, in the picture that is given, and return that picture."""
        sin, cos = math.sin(pose.roll), math.cos(pose.roll) - 1
        shift_x = self._weight * pose.shift_x + self._relief * pose.turn + cos * self._arm_x - sin * self._arm_y
        shift_y = self._weight * pose.shift_y + self._relief * pose.nod + sin * self._arm_x + cos * self._arm_y
        coarse = np.dstack([shift_x, shift_y]) * np.float32(-self._scale)
        field = cv2.resize(coarse, (self._width, self._height), interpolation=cv2.INTER_LINEAR)
        cv2.add(field, self._base, dst=field)
        region = picture[self._top : self._top + self._height, self._left : self._left + self._width]
        region[:] = cv2.remap(region, field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return picture


def _head_weight(x: Float, y: Float) -> Float:
    """Return 1 on the head, falling to 0 at the sides of its box and from the chin to the collar."""

    def fall(t: Float) -> Float:
        t = np.clip(t, 0, 1)
        return np.asarray(1 - t * t * (3 - 2 * t), np.float32)

    half_width = (_HEAD_BOX[2] - _HEAD_BOX[0]) / 2
    sideways = fall((np.abs(x - _HEAD_X) - 80) / (half_width - 80))
    return sideways * fall((y - 170) / (_HEAD_BOX[3] - 170))


def _framed_photo(view: PortraitView) -> Canvas:
    from skimage import data  # the wheel ships this picture: nothing is fetched

    photo: Image = data.astronaut()
    if view.look == "tinted":
        photo = _tinted(photo)
    left, top, width, height = view.crop
    scale = view.height / height
    if view.framing == "wide":
        photo = _before_wall(photo, left, top, width, height)
        pixels = cv2.resize(photo, (view.width, view.height), interpolation=cv2.INTER_AREA)
    else:
        matrix = np.array(
            [[scale, 0, (0.5 - left) * scale - 0.5], [0, scale, (0.5 - top) * scale - 0.5]], dtype=np.float64
        )
        interpolation = cv2.INTER_LANCZOS4 if scale > 1 else cv2.INTER_AREA
        pixels = cv2.warpAffine(
            photo, matrix, (view.width, view.height), flags=interpolation, borderMode=cv2.BORDER_REPLICATE
        )
        if scale > 1:  # enlarging blurs, so the edges are sharpened again
            soft = cv2.GaussianBlur(pixels, (0, 0), 0.7 * scale)
            pixels = cv2.addWeighted(pixels, 1.5, soft, -0.5, 0)
    return Canvas(np.asarray(pixels, np.uint8), left, top, scale)


def _tinted(photo: Image) -> Image:
    """Give the person a blue suit and darker hair: saturated orange and brown change, skin and background hardly do."""
    hue, saturation, value = cv2.split(cv2.cvtColor(photo, cv2.COLOR_RGB2HSV))
    rows, columns = np.mgrid[:_PHOTO_SIZE, :_PHOTO_SIZE]
    orange = (hue < 22) | (hue > 165)
    suit = orange & (saturation > 110) & (rows > 186)
    head = ((columns - _HEAD_X) / 80) ** 2 + ((rows - 80) / 75) ** 2 < 1
    face = ((columns - _FACE_CENTRE[0]) / 45) ** 2 + ((rows - 132) / 54) ** 2 < 1
    hair = cv2.GaussianBlur((head & ~face & (saturation > 60)).astype(np.float32), (0, 0), 2.0)
    value = (value * (1 - 0.62 * hair)).astype(np.uint8)
    tinted = cv2.cvtColor(cv2.merge([hue, saturation, value]), cv2.COLOR_HSV2RGB)
    blue_suit = tinted[..., ::-1] * np.array([0.9, 1.1, 0.75])
    mask = cv2.GaussianBlur(suit.astype(np.float32), (0, 0), 1.2)[..., None]
    return np.clip(tinted + (blue_suit - tinted) * mask, 0, 255).astype(np.uint8)


def _before_wall(photo: Image, left: float, top: float, width: float, height: float) -> Image:
    """Put the photo at the foot of a plain wall of its own colour, at one pixel per photo pixel."""
    wall = cv2.resize(photo[0:60, 300:372], (round(width), round(height)), interpolation=cv2.INTER_CUBIC)
    wall = cv2.GaussianBlur(wall, (0, 0), 25).astype(np.float32)
    x, y = round(-left), round(-top)
    ramp = np.minimum(np.arange(_PHOTO_SIZE), np.arange(_PHOTO_SIZE)[::-1]) / 40.0
    alpha = np.clip(ramp, 0, 1)[None, :] * np.clip(np.arange(_PHOTO_SIZE) / 12.0, 0, 1)[:, None]
    place = wall[y : y + _PHOTO_SIZE, x : x + _PHOTO_SIZE]
    rows, columns = place.shape[:2]
    mask = alpha[:rows, :columns, None].astype(np.float32)
    place[:] = place + (photo[:rows, :columns] - place) * mask
    return np.clip(wall, 0, 255).astype(np.uint8)

"""The face moves by warping the photo itself: a mouth that opens and rounds, eyes that blink.

Each part is a backward map: it says for every pixel of the result where in the photo it comes from. The lips are split
along a curve, so that the upper lip stays with the skull while the lower lip, the chin and the cheeks follow the jaw;
the gap shows the photo's own teeth, then a dark mouth with a little tongue. All displacements fall to zero inside the
part's box, so a patch has no visible edge in the picture.

Landmarks are in photo pixels of ``skimage.data.astronaut()`` (512x512), measured by eye on a 20-fold enlargement; (0,
0) is the outer corner of the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

_MOUTH_BOX = (164.0, 124.0, 286.0, 218.0)  # left, top, right, bottom: everything that a jaw moves
_MOUTH_CENTRE = (224.2, 146.0)
_MOUTH_HALF_WIDTH = 20.5
_UPPER_LIP_EDGE = (
    (203.6, 140.4), (207, 141.0), (210, 141.5), (214, 142.2), (218, 143.0), (222, 143.4), (226, 143.4),
    (230, 143.2), (234, 142.6), (238, 141.4), (241, 140.7), (244.6, 140.7),
)  # fmt: skip
_LOWER_LIP_EDGE = (
    (203.6, 140.4), (206, 142.9), (208, 145.0), (210, 146.5), (212, 147.9), (215, 149.0), (219, 149.8),
    (223, 150.2), (227, 150.1), (231, 149.3), (234, 148.2), (237, 147.1), (240, 145.3), (242, 143.8), (244.6, 140.7),
)  # fmt: skip
_CHIN_BOTTOM_Y = 178.0
_COLLAR_Y = 212.0  # nothing below it moves; the collar of the suit is black and hides where the stretched neck ends
_WIDEST_GAP = 13.0  # photo pixels between the lips for an opening of 1; the photo's smile shows 7

_EYES = (
    # upper lid edge, lower lid edge
    (
        ((191.5, 100.5), (195, 99.3), (198, 98.6), (202, 98.4), (206, 98.9), (210, 100.5), (213.5, 102.6)),
        ((191.5, 100.5), (196, 102.8), (200, 104.0), (204, 104.6), (208, 104.2), (211, 103.4), (213.5, 102.6)),
    ),
    (
        ((235.5, 104.2), (239, 102.2), (243, 101.0), (247, 100.6), (251, 100.9), (255, 102.2), (259, 104.2)),
        ((235.5, 104.2), (240, 105.7), (245, 106.9), (249, 106.7), (253, 105.9), (256, 105.0), (259, 104.2)),
    ),
)
_LID_HEIGHT = 6.0  # skin between the brow and the lash line, stretched over the eye by a blink

_CAVITY_RGB = (38.0, 14.0, 14.0)  # the back of the mouth
_TONGUE_RGB = (118.0, 52.0, 54.0)


@dataclass(frozen=True)
class Patch:
    """A patch is a rectangle that replaces a part of the picture.

    Attributes:
        top: First row.
        left: First column.
        pixels: uint8 [h, w, 3] RGB.
    """

    top: int
    left: int
    pixels: Image

    def paste(self, picture: Image) -> None:
        """Write the patch into a picture of the size that it was made for."""
        height, width = self.pixels.shape[:2]
        picture[self.top : self.top + height, self.left : self.left + width] = self.pixels


@dataclass(frozen=True)
class Canvas:
    """Holds the enlarged part of the photo that a shot shows.

    Attributes:
        pixels: uint8 [H, W, 3] RGB.
        left: Photo x of the left edge.
        top: Photo y of the top edge.
        scale: Canvas pixels per photo pixel.
    """

    pixels: Image
    left: float
    top: float
    scale: float

    def grid(self, box: tuple[float, float, float, float]) -> tuple[int, int, Float, Float]:
        """Return top row, left column, and photo x and y (float32 [h, w]) of the canvas pixels inside a photo box."""
        height, width = self.pixels.shape[:2]
        x0, x1 = (int(np.clip(round((v - self.left) * self.scale), 0, width)) for v in (box[0], box[2]))
        y0, y1 = (int(np.clip(round((v - self.top) * self.scale), 0, height)) for v in (box[1], box[3]))
        xs = (np.arange(x0, x1, dtype=np.float32) + 0.5) / self.scale + self.left
        ys = (np.arange(y0, y1, dtype=np.float32) + 0.5) / self.scale + self.top
        photo_x, photo_y = np.meshgrid(xs, ys)
        return y0, x0, photo_x, photo_y

    def sample(self, photo_x: Float, photo_y: Float) -> Image:
        """Return the pixels at photo positions, uint8 [h, w, 3]."""
        map_x = (photo_x - self.left) * self.scale - 0.5
        map_y = (photo_y - self.top) * self.scale - 0.5
        return np.asarray(
            cv2.remap(
                self.pixels,
                map_x.astype(np.float32),
                map_y.astype(np.float32),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.uint8,
        )


def mouth_patch(canvas: Canvas, opening: float, width: float) -> Patch:
    """Make the mouth, chin and cheeks of a lip shape.

    Args:
        canvas: The picture with the photo's own smile.
        opening: 0 (lips touch) to 1 (13 photo pixels apart, about an eighth of the face).
        width: -1 (rounded) to 1 (spread).
    """
    top, left, x, y = canvas.grid(_MOUTH_BOX)
    source_x = _squeezed_x(x, y, opening, width)
    upper = _curve(_UPPER_LIP_EDGE, source_x)
    lower = _curve(_LOWER_LIP_EDGE, source_x)
    profile = np.clip(1 - ((source_x - _MOUTH_CENTRE[0]) / _MOUTH_HALF_WIDTH) ** 2, 0, 1) ** 0.65
    gap = profile * np.float32(_WIDEST_GAP * opening)
    arch = 0.12 + 0.16 * max(-width, 0.0)  # rounded lips part upwards too
    new_upper = upper + 0.3 * (lower - upper) - arch * gap
    new_lower = new_upper + gap

    source_y = np.where(
        y < (new_upper + new_lower) / 2,
        y - (new_upper - upper) * _smoothstep((y - new_upper + 13) / 13),
        y - _jaw_displacement(x, y, opening, new_lower, new_lower - lower),
    )
    skin = canvas.sample(source_x, source_y)
    inside = _mouth_interior(canvas, source_x, upper, y - new_upper, gap, lower - upper, width)
    edge = np.float32(0.5 / canvas.scale + 0.15)
    depth = y - new_upper
    alpha = _smoothstep((depth + edge) / (2 * edge)) * _smoothstep((gap - depth + edge) / (2 * edge))
    alpha *= profile > 0
    blended = skin + (inside - skin) * alpha[..., None]
    return Patch(top, left, np.clip(blended + 0.5, 0, 255).astype(np.uint8))


def eye_patches(canvas: Canvas, blink: float) -> tuple[Patch, ...]:
    """Make both eyes, with the lids closed by ``blink`` (0 open, 1 closed)."""
    return tuple(_eye_patch(canvas, upper, lower, blink) for upper, lower in _EYES)


def _eye_patch(
    canvas: Canvas,
    upper_edge: tuple[tuple[float, float], ...],
    lower_edge: tuple[tuple[float, float], ...],
    blink: float,
) -> Patch:
    box = (upper_edge[0][0] - 1, 90.0, upper_edge[-1][0] + 1, 110.0)
    top, left, x, y = canvas.grid(box)
    upper, lower = _curve(upper_edge, x), _curve(lower_edge, x)
    lid = upper + blink * (lower - upper)
    start = upper - _LID_HEIGHT
    stretched = start + (y - start) * _LID_HEIGHT / (lid - start)
    source_y = np.where((y > start) & (y < lid), stretched, y)
    return Patch(top, left, canvas.sample(x, source_y))


def _squeezed_x(x: Float, y: Float, opening: float, width: float) -> Float:
    """Return the photo x shown at each pixel when the mouth is rounded or spread; local, and monotonic in x."""
    lips = 1 + (0.24 * width if width < 0 else 0.07 * width) - 0.06 * opening
    centre_x, centre_y = _MOUTH_CENTRE
    squared = ((x - centre_x) / 50) ** 2 + ((y - centre_y - 3 * opening) / 28) ** 2
    falloff = np.clip(1 - squared, 0, 1) ** 2
    return (centre_x + (x - centre_x) * (1 + (1 / lips - 1) * falloff)).astype(np.float32)


def _jaw_displacement(x: Float, y: Float, opening: float, new_lower: Float, lip_shift: Float) -> Float:
    """Return how far the pixels under the lips have moved down.

    At the lip's edge they move with the lip, further down with the chin.
    """
    jaw = 0.8 * (_WIDEST_GAP * opening * 0.88 - 4.0)  # the closed mouth lifts the smiling jaw by 4 photo pixels
    cheeks = np.clip(1 - ((x - _MOUTH_CENTRE[0]) / 56) ** 2, 0, 1) ** 2
    below_lip = _smoothstep((y - new_lower) / 13)
    moved = lip_shift + (jaw * cheeks - lip_shift) * below_lip
    neck = _CHIN_BOTTOM_Y - 4 + jaw
    return (moved * (1 - _smoothstep((y - neck) / (_COLLAR_Y - neck)))).astype(np.float32)


def _mouth_interior(
    canvas: Canvas, source_x: Float, upper: Float, depth: Float, gap: Float, teeth: Float, width: float
) -> Float:
    """Return what shows between the lips, float32 [h, w, 3]; ``depth`` is photo pixels below the upper lip."""
    relative = np.clip(depth / np.maximum(gap, 0.5), 0, 1)
    tongue = _smoothstep((relative - 0.55) / 0.45) * np.clip((gap - 4) / 6, 0, 1)
    back, front = np.array(_CAVITY_RGB, np.float32), np.array(_TONGUE_RGB, np.float32)
    cavity = back + (front - back) * tongue[..., None]
    shown = teeth * (0.8 - 0.65 * max(-width, 0.0))  # rounded lips cover the teeth
    teeth_pixels = canvas.sample(source_x, upper + np.clip(depth, 0, None)) * (
        0.74 + 0.24 * np.clip(depth / 4, 0, 1)[..., None]
    )
    alpha = _smoothstep((shown - depth) / 1.2) * np.clip((gap - 0.8) / 1.5, 0, 1)
    return np.asarray(cavity + (teeth_pixels - cavity) * alpha[..., None], np.float32)


def _curve(points: tuple[tuple[float, float], ...], x: Float) -> Float:
    xs, ys = np.array(points).T
    return np.interp(x, xs, ys).astype(np.float32)


def _smoothstep(t: npt.NDArray[Any]) -> Float:
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)

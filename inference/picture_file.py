"""A picture file is read as a person sees it: upright, in sRGB, 8 bits, on white where it is transparent.

The first picture of a video stands for it. Sizes are checked before anything is decoded, as files come from anybody.
"""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import MediaLimits, open_media
from catalogs.media.container import Deadline
from catalogs.media.frames import PictureReader, to_rgb, upright_size
from inference.media_errors import told_of

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 120_000_000  #: a phone's largest photo has 108 million; 360 MB in memory
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_PAPER = 255  # what is behind a transparent picture


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read a picture file, or the first picture of a video.

    Turns by EXIF, colour profiles, alpha, CMYK, grey, palettes and 16 bits are understood.

    Args:
        path: PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF, or a video.
        max_pixels: a larger picture is refused before it is decoded.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        UserError: there is no such file, it is no picture, too large, or damaged.
    """
    with told_of(path, "portrait"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked here
                Image.init()
                image = Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN])
        except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
            if isinstance(error, Image.DecompressionBombError):
                raise UserError(f"portrait {path}: it has more than {max_pixels / 1e6:.0f} million pixels") from error
            return _of_video(path)
        with image:
            _check_size(path, image.width, image.height, max_pixels)
            try:
                return _rgb(image)
            except (OSError, SyntaxError, ValueError, EOFError) as error:
                raise UserError(f"portrait {path}: it is damaged ({error}); export it again") from error


def _check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UserError(
            f"portrait {path}: {width}x{height} pixels are more than {max_pixels / 1e6:.0f} million; make it smaller"
        )


def _rgb(image: Image.Image) -> Pixels:
    image.load()
    profile = image.info.get("icc_profile")
    upright = _eight_bits(ImageOps.exif_transpose(image))
    if "A" in upright.getbands() or "transparency" in upright.info:
        layered = upright.convert("RGBA")
        paper = Image.new("RGBA", layered.size, (_PAPER,) * 3 + (255,))
        upright = Image.alpha_composite(paper, layered).convert("RGB")
    elif upright.mode == "P":
        upright = upright.convert("RGB")
    return np.array(_in_srgb(upright, profile).convert("RGB"), np.uint8)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Bring a grey picture of 16 or 32 bits to 8; Pillow itself would cut what is above 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, np.float64)
    whole = 1.0 if image.mode == "F" and values.max(initial=0) <= 1 else 65_535.0
    return Image.fromarray((values / whole * 255).round().clip(0, 255).astype(np.uint8))


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile and image.mode in ("RGB", "CMYK", "L"):
        with suppress(ImageCms.PyCMSError, OSError, ValueError):  # a broken profile is as none
            there, here = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, there, here, outputMode="RGB")
            return image if converted is None else converted
    return image


def _of_video(path: Path) -> Pixels:
    limits = MediaLimits(max_seconds=60.0)
    try:
        with open_media(str(path), limits) as container:
            reader = PictureReader(container, Deadline(limits))
            frame = next(iter(reader), None)
            if frame is None:
                raise ClipError(ErrorCode.NO_FRAMES, "not one of its pictures decodes")
            return to_rgb(frame, *upright_size(reader.stream, frame.rotation), frame.rotation)
    except ClipError as error:
        if error.code is ErrorCode.NOT_MEDIA:
            raise UserError(
                f"portrait {path}: it is no picture or video that can be opened; convert it, e.g. to PNG"
            ) from error
        raise

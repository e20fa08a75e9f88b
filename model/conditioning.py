"""This module makes the picture condition: what of the video is given to the model beside the noise.

The model sees ``[noisy latents (C), known (t), condition latents (C)]`` along the channels, for Wan I2V 16 + 4 + 16, in
the order of diffusers' ``WanImageToVideoPipeline``. ``known`` is 1 where the picture is given and 0 where it is to be
painted; the condition latents are the codec's, normalised, of a video whose unknown parts are grey (value 0).

Polarity: the paper writes ones for "known" (section 2.3) and for "favour this" (eq. 2). Here masks on disk are
*holes*: 1 = to be painted. Holes are pooled, and ``1 - hole`` is fed, so a latent cell counts as known only if every
pixel of it is. Folding: the paper pools with the codec's own factor; Wan pools in space only, (1, 8, 8), and folds the
``t`` frames of a latent into ``t`` channels (the first frame stands ``t`` times). For image animation both are the
same; for a mouth that moves 8 pixels a frame they differ in most cells of the hole.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.codecs.codec import Codec
from model.errors import ModelError
from model.shapes import frames_of_latents, latents_of_frames

_LOG = logging.getLogger(__name__)


def fold_hole(hole: Tensor, spatial: int = 8, temporal: int = 4) -> Tensor:
    """A hole in pixels becomes a hole in latent cells, with the frames of a latent in channels.

    Args:
        hole: any real dtype or bool [B, 1, F, H, W], 1 = to be painted; H and W are multiples of ``spatial``.
        spatial: pixels per latent cell in height and width.
        temporal: frames per latent.

    Returns:
        The same dtype (bool becomes uint8) [B, temporal, L, h, w]. A cell is 1 if any of its pixels is.

    Raises:
        ModelError: the shape does not fit the codec's factors.
    """
    _check_mask(hole, spatial, temporal)
    whole = hole.to(torch.uint8) if hole.dtype == torch.bool else hole
    blocks = whole[:, 0].unflatten(-1, (-1, spatial)).unflatten(-3, (-1, spatial))  # [B, F, h, s, w, s]
    cells = blocks.amax(dim=(-3, -1))
    return _by_latent(cells, temporal).transpose(1, 2).contiguous()


def pool_area(mask: Tensor, spatial: int = 8, temporal: int = 4) -> Tensor:
    """A mask in pixels becomes the share of each latent cell that it covers.

    The paper resizes the lip mask trilinearly, which loses small lips (a mouth of 3 x 6 pixels can vanish); the share
    of the area loses nothing. A sample whose mask is empty is worth a warning: its lips would have no weight.

    Args:
        mask: [B, 1, F, H, W], 0..1; H and W are multiples of ``spatial``.
        spatial: pixels per latent cell in height and width.
        temporal: frames per latent; the first frame has a latent of its own.

    Returns:
        float32 [B, 1, L, h, w], 0..1.

    Raises:
        ModelError: the shape does not fit the codec's factors.
    """
    _check_mask(mask, spatial, temporal)
    cells = F.avg_pool2d(mask[:, 0].float(), spatial)  # [B, F, h, w]
    area = _by_latent(cells, temporal).mean(dim=2).unsqueeze(1)
    empty = [sample for sample in range(area.shape[0]) if not area[sample].any()]
    if empty:
        _LOG.warning("the mask is empty in %d of %d samples (%s)", len(empty), area.shape[0], empty)
    return area


def _check_mask(mask: Tensor, spatial: int, temporal: int) -> None:
    if mask.ndim != 5 or mask.shape[1] != 1:
        raise ModelError(f"a mask has shape [B, 1, F, H, W], this one has {list(mask.shape)}")
    height, width = mask.shape[-2:]
    if height % spatial or width % spatial:
        raise ModelError(f"a mask of {width}x{height} pixels is no multiple of {spatial}: crop or resize the video")
    latents_of_frames(mask.shape[2], temporal)


def _by_latent(cells: Tensor, temporal: int) -> Tensor:
    """Frames [B, F, h, w] are grouped by latent: [B, L, temporal, h, w], the first frame replicated."""
    first = cells[:, :1].expand(-1, temporal - 1, -1, -1)
    return torch.cat([first, cells], dim=1).unflatten(1, (-1, temporal))


def condition(known: Tensor, latents: Tensor) -> Tensor:
    """What is known and its latents become the condition, in Wan I2V's order of channels.

    Args:
        known: [B, t, L, h, w], 1 = given, 0 = to be painted: ``1 - fold_hole(...)``.
        latents: normalised latents [B, C, L, h, w] of the video with grey in its hole.

    Returns:
        [B, t + C, L, h, w] in the latents' dtype. The model's input is ``torch.cat([noisy, condition], 1)``.
    """
    return torch.cat([known.to(latents.dtype), latents], dim=1)


def blank_latents(codec: Codec, n_latents: int, height: int, width: int) -> Tensor:
    """A grey video, which says nothing, has these latents.

    Args:
        codec: the codec of all other latents.
        n_latents: latents of the window, L.
        height: of the window in latent cells, h.
        width: of the window in latent cells, w.

    Returns:
        Normalised latents float32 [1, C, L, h, w]; they are not zero.
    """
    shape = codec.shape
    frames = frames_of_latents(n_latents, shape.temporal)
    return codec.encode(torch.zeros(1, 3, frames, height * shape.spatial, width * shape.spatial))


@dataclass(frozen=True, eq=False)
class ConditionSource:
    """Has all pictures that windows may be conditioned on.

    Attributes:
        hole: folded hole of the video condition [B, t, L, h, w], 1 = to be painted.
        video: latents [B, C, L, h, w] of the windows' video with grey in its hole.
        image: latents [B, C, L, h, w] of the reference image as first frame, followed by grey frames.
        blank: latents [B or 1, C, L, h, w] of a grey video (``blank_latents``).
    """

    hole: Tensor
    video: Tensor
    image: Tensor
    blank: Tensor


def window_condition(
    source: ConditionSource, *, has_image: bool, has_video: bool, middle: bool, reference_known: float = 0.5
) -> Tensor:
    """Windows get their condition, with or without image and video; training and inference both call this.

    Slot 0 belongs to the reference image. At the start of a video this image is the first frame: known = 1. In a window
    from the middle of a video (every later window of a long one) slot 0 stands for ``t`` frames that are *not* the
    reference image; the paper gives it the image all the same. Here the model sees the image with
    ``known = reference_known``, which means "this appearance, not this frame", and is trained with such windows too.

    The other slots belong to the video: its surroundings of the hole are known. A null video leaves the reference image
    followed by grey, all unknown: image animation. A null image leaves slot 0 unknown and grey; with a null video too
    nothing of any picture is left: known 0, and grey in all slots.

    Args:
        source: the pictures.
        has_image: False gives the null image.
        has_video: False gives the null video.
        middle: whether the windows begin later than their video's first frame.
        reference_known: what slot 0 of a middle window has in the known channels, 0..1; 1 is the paper's way.

    Returns:
        [B, t + C, L, h, w]: see ``condition``.
    """
    reference = source.image if has_image else source.blank.expand_as(source.image)
    later = source.video if has_video else reference
    known = torch.zeros_like(source.hole, dtype=reference.dtype)
    if has_image:
        known[:, :, 0] = reference_known if middle else 1.0
    if has_video:
        known[:, :, 1:] = 1 - source.hole[:, :, 1:].to(known.dtype)
    return condition(known, torch.cat([reference[:, :, :1], later[:, :, 1:]], dim=2))

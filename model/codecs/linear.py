"""This module is the smallest codec that works: principal components of blocks of 4 x 8 x 8 pixels, fitted in a minute.

A block of 4 frames, 8 x 8 pixels and 3 colours is a vector of 768 numbers; a latent cell holds its first principal
components. Each is divided by the root of its standard deviation, and all by one number, so that their mean square is
1: a strong component, such as a block's brightness, stays larger than a weak one, and a model's error in it counts for
more. (Divided by the deviation itself all would count alike: blocks then show, and lips are learnt later.) It is fitted
in closed form on the user's own clips, so the preset ``tiny`` can be trained with no weights of anybody else. It is no
replacement for a trained codec: it blurs everything that its clips have little of.

What changes within four frames has so little variance that 16 plain components leave it out: the four frames of a
latent then show one mouth, and its opening, read frame by frame from real video that went through the codec, follows
the truth with r = .79 only. So motion counts more: before the components are sought, the block's frames are turned into
a mean and three cosine components (a DCT), and those three are multiplied by ``motion``.

Decoding looks at a cell and its eight neighbours: the best linear guess of a block from them, by least squares. Edges
of blocks vanish, and so does a part of a model's error. On talking portraits of 96 x 96 pixels with 24 components that
gives 31.8 dB, where each block by itself gives 28.8 dB; a face detector's mean score rises from .57 to .70 (.80 on the
pictures themselves), and r of the mouth is .993. With 16 components it is 29.8 dB, .61 and r = .966.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.codecs.codec import CodecShape, frames_of_one_latent_each, one_latent_each
from model.digests import content_digest
from model.errors import ModelError

_SPATIAL, _TEMPORAL = 8, 4
_VALUES = _TEMPORAL * _SPATIAL * _SPATIAL * 3
_REACH = 3  #: cells in height and width that a block is decoded from
_FLAT = 1e-4  #: a component with less than this share of the largest deviation is taken to have this one
_MOTION = 3.0  #: what changes within a block counts so many times
_RIDGE = 1e-3  #: of the least squares, times the mean variance of a latent's number: latents of a model are not exact
_MOST_CHANNELS = 128  #: the least squares have 9 unknowns for each
_PEAK = 2.0  #: of -1..1
_LEAST_ERROR = 1e-12  #: mean squared error; below it (126 dB) are rounding errors only


@dataclass(frozen=True)
class LinearFit:
    """Tells how well the codec describes the blocks that it was fitted on.

    Attributes:
        videos: number of videos.
        blocks: number of blocks.
        kept_variance: share of the blocks' variance that is there again after decoding, 0..1.
        psnr_db: peak signal-to-noise ratio of the decoded blocks, in dB.
    """

    videos: int
    blocks: int
    kept_variance: float
    psnr_db: float


@dataclass(frozen=True, eq=False)
class LinearCodec:
    """Encodes blocks by their principal components, and decodes each with its neighbours.

    Attributes:
        mean: float32 [768], the mean block, in the order frame, row, column, colour.
        analysis: float32 [768, C]; blocks without their mean times this are latents, the strongest component first.
        synthesis: float32 [768, C, 3, 3]; a convolution of latents with it gives blocks without their mean.
        fit_report: how well it fits.
        motion: how many times what changes within a block counted when it was fitted; 1 is plain principal components.
    """

    mean: Tensor
    analysis: Tensor
    synthesis: Tensor
    fit_report: LinearFit
    motion: float = _MOTION
    name: str = "linear"

    @classmethod
    def fit(cls, videos: Iterable[Tensor], channels: int = 24, motion: float = _MOTION) -> LinearCodec:
        """The best codec of this kind is fitted on some videos, which are walked twice.

        Memory is bounded by one video: only sums are kept, in float64.

        Args:
            videos: each [3, F, H, W], -1..1, F = 4k + 1, H and W multiples of 8; sizes may differ. Every walk must give
                the same videos, so an iterator will not do.
            channels: components kept, 1..128.
            motion: how many times what changes within a block counts, above 0.

        Raises:
            ModelError: there is no video, or one does not fit, or holds a value that is no number.
            TypeError: the videos are an iterator.
        """
        if isinstance(videos, Iterator):
            raise TypeError("a linear codec walks its videos twice: give a list, or an object that starts anew")
        if not 1 <= channels <= _MOST_CHANNELS:
            raise ModelError(f"a linear codec has 1 to {_MOST_CHANNELS} channels, not {channels}")
        if not motion > 0:
            raise ModelError(f"motion {motion}: it must count more than 0 times")
        with _one_thread():
            moments = _moments(videos, CodecShape(channels, _SPATIAL, _TEMPORAL))
            analysis = _principal(moments.covariance, channels, motion)
            synthesis, lost = _least_squares(videos, moments, analysis)
        return cls(
            mean=moments.mean.float(),
            analysis=analysis.float().contiguous(),
            synthesis=synthesis.float().contiguous(),
            fit_report=_report(float(moments.covariance.trace()), lost, moments),
            motion=motion,
        )

    @classmethod
    def load(cls, folder: Path) -> LinearCodec:
        """The codec that ``save`` left in a folder is read back.

        Raises:
            ModelError: a file is missing or is not what ``save`` writes.
        """
        try:
            tensors = load_file(folder / "codec.safetensors")
            facts = json.loads((folder / "codec.json").read_text("utf-8"))
            report, motion = LinearFit(**facts["fit"]), float(facts["motion"])
            mean, analysis, synthesis = (tensors[part] for part in ("mean", "analysis", "synthesis"))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{folder} holds no linear codec ({error}): write it anew with LinearCodec.save"
            ) from error
        shapes = [list(part.shape) for part in (mean, analysis, synthesis)]
        if shapes != [[_VALUES], [_VALUES, shapes[1][-1]], [_VALUES, shapes[1][-1], _REACH, _REACH]]:
            raise ModelError(f"{folder}/codec.safetensors has tensors of the shapes {shapes}: write it anew")
        return cls(mean, analysis, synthesis, report, motion)

    def save(self, folder: Path) -> None:
        """The codec is written as ``codec.safetensors`` and ``codec.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: part.cpu() for name, part in self._parts.items()}, folder / "codec.safetensors")
        facts = {"kind": self.name, "channels": self.shape.channels, "motion": self.motion, "digest": self.digest}
        facts["fit"] = asdict(self.fit_report)
        (folder / "codec.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")

    @property
    def shape(self) -> CodecShape:
        """Its shape is 8 pixels, 4 frames and as many channels as it has components."""
        return CodecShape(self.analysis.shape[1], _SPATIAL, _TEMPORAL)

    @cached_property
    def digest(self) -> str:
        """Its digest is that of its three tensors."""
        return content_digest("linear", {"motion": self.motion}, self._parts)

    @property
    def _parts(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "analysis": self.analysis, "synthesis": self.synthesis}

    def to(self, device: torch.device | str) -> LinearCodec:
        """The same codec lies on ``device``."""
        mean, analysis, synthesis = (part.to(device) for part in self._parts.values())
        return LinearCodec(mean, analysis, synthesis, self.fit_report, self.motion)

    def encode(self, video: Tensor) -> Tensor:
        """A video float32 [B, 3, F, H, W] becomes latents float32 [B, C, L, h, w]: see ``Codec``."""
        self.shape.of_video(video)
        blocks = _blocks(video.to(self.mean))
        parts = (blocks - self.mean) @ self.analysis  # [B, L, h, w, C]
        return parts.movedim(-1, 1).contiguous().to(video.device)

    def encode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of a video become its latents, one by one: see ``Codec``."""
        for index, frames in enumerate(frames_of_one_latent_each(chunks, self.shape)):
            if index == 0:
                yield self.encode(frames)
            else:  # a latent knows its own frames only, so any frame may stand for the first
                yield self.encode(torch.cat([frames[:, :, :1], frames], dim=2))[:, :, 1:]

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, L, h, w] become a video float32 [B, 3, F, H, W]: see ``Codec``."""
        return torch.cat(list(self.decode_stream([latents])), dim=2)

    def decode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of latents become pieces of the video: see ``Codec``."""
        for index, latent in enumerate(one_latent_each(chunks, self.shape)):
            blocks = F.conv2d(latent[:, :, 0].to(self.mean), self.synthesis, self.mean, padding=_REACH // 2)
            frames = _frames(blocks.movedim(1, -1)[:, None])
            if index == 0:  # four copies of the first frame went in: the best single frame is their mean
                frames = frames.mean(dim=2, keepdim=True)
            yield frames.clamp(-1, 1).to(latent.device)


def _blocks(video: Tensor) -> Tensor:
    """Videos [B, 3, F, H, W] are cut into blocks [B, L, h, w, 768]; the first frame makes a block of four copies."""
    whole = torch.cat([video[:, :, :1].expand(-1, -1, _TEMPORAL - 1, -1, -1), video], dim=2)
    cut = whole.unflatten(4, (-1, _SPATIAL)).unflatten(3, (-1, _SPATIAL)).unflatten(2, (-1, _TEMPORAL))
    return cut.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4)  # [B, L, h, w, (t, y, x, colour)]


def _frames(blocks: Tensor) -> Tensor:
    """Blocks [B, L, h, w, 768] are put together to [B, 3, 4 L, H, W]."""
    cut = blocks.unflatten(-1, (_TEMPORAL, _SPATIAL, _SPATIAL, 3))
    return cut.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3).contiguous()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums of several threads differ in their last bits, and weak components turn them into other codecs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Has what one walk over the videos finds of their blocks: float64 mean [768] and covariance [768, 768]."""

    mean: Tensor
    covariance: Tensor
    videos: int
    blocks: int


def _moments(videos: Iterable[Tensor], shape: CodecShape) -> _Moments:
    total = torch.zeros(_VALUES, dtype=torch.float64)
    products = torch.zeros(_VALUES, _VALUES, dtype=torch.float64)
    n_videos = n_blocks = 0
    for video in videos:
        shape.of_video(video[None])
        blocks = _blocks(video[None]).reshape(-1, _VALUES).double().cpu()
        total += blocks.sum(dim=0)
        products += blocks.T @ blocks
        n_videos, n_blocks = n_videos + 1, n_blocks + len(blocks)
    if not n_videos:
        raise ModelError("a linear codec is fitted on videos, and none was given")
    mean = total / n_blocks
    covariance = products / n_blocks - torch.outer(mean, mean)
    if not torch.isfinite(covariance).all():
        raise ModelError("a video to fit the linear codec on holds values that are no numbers")
    return _Moments(mean, covariance, n_videos, n_blocks)


def _principal(covariance: Tensor, channels: int, motion: float) -> Tensor:
    """Return what turns blocks without their mean into latents, float64 [768, C]."""
    emphasis = _emphasis(motion)
    variance, vectors = torch.linalg.eigh(emphasis @ covariance @ emphasis.T)  # ascending
    deviation = variance.flip(0)[:channels].clamp(min=0).sqrt()
    basis = _with_fixed_signs(vectors.flip(1)[:, :channels])
    scale = deviation.clamp(min=max(_FLAT * float(deviation[0]), 1e-6)).sqrt()
    scale *= (deviation / scale).square().mean().sqrt().clamp(min=1e-6)
    return emphasis.T @ basis / scale


def _least_squares(videos: Iterable[Tensor], moments: _Moments, analysis: Tensor) -> tuple[Tensor, float]:
    """Return the best guess of a block from its cell and those around it, and the variance that it leaves out.

    Beyond the picture's edge are zeros, which stand for mean blocks.
    """
    n = analysis.shape[1] * _REACH**2
    seen, wanted = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, _VALUES, dtype=torch.float64)
    for video in videos:
        blocks = _blocks(video[None])[0].double().cpu() - moments.mean  # [L, h, w, 768]
        around = F.unfold((blocks @ analysis).movedim(-1, 1), _REACH, padding=_REACH // 2).movedim(1, -1).reshape(-1, n)
        seen += around.T @ around
        wanted += around.T @ blocks.reshape(-1, _VALUES)
    ridge = _RIDGE * seen.diagonal().mean().clamp(min=1e-12) * torch.eye(n, dtype=torch.float64)
    guess = torch.linalg.solve(seen + ridge, wanted)
    explained = 2 * (guess * wanted).sum() - (guess * (seen @ guess)).sum()
    lost = float(moments.covariance.trace() - explained / moments.blocks)
    return guess.T.unflatten(1, (-1, _REACH, _REACH)), max(lost, 0.0)


def _with_fixed_signs(vectors: Tensor) -> Tensor:
    """Eigenvectors in columns are defined up to their sign: each is turned to look along one fixed direction.

    The direction is no pattern that pictures have (their blocks are often symmetric), so the product is never near 0.
    """
    direction = torch.cos(torch.arange(len(vectors), dtype=vectors.dtype) ** 2)
    return vectors * torch.where(direction @ vectors < 0, -1.0, 1.0)


def _emphasis(motion: float) -> Tensor:
    """Return the symmetric matrix, float64 [768, 768], that multiplies the moving parts of a block's frames (DCT)."""
    frame = torch.arange(_TEMPORAL, dtype=torch.float64)
    cosines = torch.cos(math.pi / _TEMPORAL * frame[:, None] * (frame + 0.5))
    cosines *= torch.tensor([math.sqrt(1 / _TEMPORAL)] + [math.sqrt(2 / _TEMPORAL)] * (_TEMPORAL - 1))[:, None]
    strength = torch.tensor([1.0] + [motion] * (_TEMPORAL - 1), dtype=torch.float64)
    return torch.kron(cosines.T @ (strength[:, None] * cosines), torch.eye(_VALUES // _TEMPORAL, dtype=torch.float64))


def _report(total: float, lost: float, moments: _Moments) -> LinearFit:
    """The error of the codec is the variance that it leaves out; 2 is the range of the values."""
    kept = 1 - lost / total if total > 0 else 1.0
    error = max(lost / _VALUES, _LEAST_ERROR)
    return LinearFit(moments.videos, moments.blocks, kept, 10 * math.log10(_PEAK**2 / error))

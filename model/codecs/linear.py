"""This module is the smallest codec that works: principal components of blocks of 4 x 8 x 8 pixels, fitted in a minute.

A block of 4 frames, 8 x 8 pixels and 3 colours is a vector of 768 numbers; a latent cell holds its first principal
components. Each is divided by the root of its standard deviation, and all by one number, so that their mean square is
1: a strong component, such as a block's brightness, stays larger than a weak one, and a model's error in it counts for
more. (Divided by the deviation itself all would count alike: blocks then show, and lips are learnt later.) The basis is
fitted in closed form on the user's own clips, so the preset ``tiny`` can be trained with no weights of anybody else. It
is no replacement for a trained codec: it blurs everything that its clips have little of.

What changes within four frames has so little variance that 16 plain components leave it out: the four frames of a
latent then show one mouth, and its opening, read frame by frame from real video that went through the codec, follows
the truth with r = .79 only. So motion counts more: before the components are sought, the block's frames are turned into
a mean and three cosine components (a DCT), and those three are multiplied by ``motion``; decoding undoes it. With a
factor of 3 and 16 components r is .950 at 0.7 dB less, with 24 components .982 at 28.8 dB.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.codecs.codec import CodecShape, one_latent_each
from model.digests import content_digest
from model.errors import ModelError

_SPATIAL, _TEMPORAL = 8, 4
_VALUES = _TEMPORAL * _SPATIAL * _SPATIAL * 3
_FLAT = 1e-4  #: a component with less than this share of the largest deviation is taken to have this one
_MOTION = 3.0  #: what changes within a block counts so many times
_PEAK = 2.0  #: of -1..1
_LEAST_ERROR = 1e-12  #: mean squared error; below it (126 dB) are rounding errors only


@dataclass(frozen=True)
class LinearFit:
    """Tells how well the basis describes the blocks that it was fitted on.

    Attributes:
        videos: number of videos.
        blocks: number of blocks.
        kept_variance: share of the blocks' variance that the kept components have, 0..1.
        psnr_db: peak signal-to-noise ratio of the decoded blocks, in dB.
    """

    videos: int
    blocks: int
    kept_variance: float
    psnr_db: float


@dataclass(frozen=True, eq=False)
class LinearCodec:
    """Encodes blocks by their principal components.

    Attributes:
        mean: float32 [768], the mean block, in the order frame, row, column, colour.
        basis: float32 [768, C], orthonormal columns, the strongest first, on blocks whose motion is emphasised.
        scale: float32 [C], what each component is divided by.
        fit_report: how well it fits.
        motion: how many times what changes within a block counts, above 0; 1 is plain principal components.
    """

    mean: Tensor
    basis: Tensor
    scale: Tensor
    fit_report: LinearFit
    motion: float = _MOTION
    name: str = "linear"

    @classmethod
    def fit(cls, videos: Iterable[Tensor], channels: int = 16, motion: float = _MOTION) -> LinearCodec:
        """The best codec of this kind for some videos is their covariance's eigenvectors.

        Memory is bounded by one video: only sums are kept, in float64.

        Args:
            videos: each [3, F, H, W], -1..1, F = 4k + 1, H and W multiples of 8; sizes may differ.
            channels: components kept, 1..768.
            motion: how many times what changes within a block counts, above 0.

        Raises:
            ModelError: there is no video, or one does not fit, or holds a value that is no number.
        """
        shape = CodecShape(channels, _SPATIAL, _TEMPORAL)
        if not 1 <= channels <= _VALUES:
            raise ModelError(f"a linear codec has 1 to {_VALUES} channels, not {channels}")
        if not motion > 0:
            raise ModelError(f"motion {motion}: it must count more than 0 times")
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
        total_variance = covariance.trace()
        emphasis = _emphasis(motion)
        covariance = emphasis @ covariance @ emphasis.T
        variance, vectors = torch.linalg.eigh(covariance)  # ascending
        variance, vectors = variance.flip(0).clamp(min=0), _with_fixed_signs(vectors.flip(1))
        deviation = variance[:channels].sqrt()
        floor = max(_FLAT * float(deviation[0]), 1e-6)
        scale = deviation.clamp(min=floor).sqrt()
        scale *= (deviation / scale).square().mean().sqrt().clamp(min=1e-6)
        lost = torch.linalg.solve(emphasis, vectors[:, channels:]).square().sum(dim=0) @ variance[channels:]
        return cls(
            mean=mean.float(),
            basis=vectors[:, :channels].float().contiguous(),
            scale=scale.float(),
            fit_report=_report(float(total_variance), float(lost), n_videos, n_blocks),
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
            mean, basis, scale = (tensors[part] for part in ("mean", "basis", "scale"))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{folder} holds no linear codec ({error}): write it anew with LinearCodec.save"
            ) from error
        if mean.shape != (_VALUES,) or basis.shape != (_VALUES, len(scale)):
            raise ModelError(f"{folder}/codec.safetensors has a basis of shape {list(basis.shape)}: write it anew")
        return cls(mean, basis, scale, report, motion)

    def save(self, folder: Path) -> None:
        """The codec is written as ``codec.safetensors`` and ``codec.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {"mean": self.mean.cpu(), "basis": self.basis.cpu(), "scale": self.scale.cpu()},
            folder / "codec.safetensors",
        )
        facts = {"kind": self.name, "channels": len(self.scale), "motion": self.motion, "digest": self.digest}
        facts["fit"] = asdict(self.fit_report)
        (folder / "codec.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")

    @property
    def shape(self) -> CodecShape:
        """Its shape is 8 pixels, 4 frames and as many channels as the basis has columns."""
        return CodecShape(len(self.scale), _SPATIAL, _TEMPORAL)

    @cached_property
    def digest(self) -> str:
        """Its digest is that of mean, basis and scale."""
        return content_digest(
            "linear", {"motion": self.motion}, {"mean": self.mean, "basis": self.basis, "scale": self.scale}
        )

    def to(self, device: torch.device | str) -> LinearCodec:
        """The same codec lies on ``device``."""
        mean, basis, scale = (tensor.to(device) for tensor in (self.mean, self.basis, self.scale))
        return LinearCodec(mean, basis, scale, self.fit_report, self.motion)

    @cached_property
    def _analysis(self) -> Tensor:
        """Blocks without their mean times this [768, C] are latents."""
        emphasis = _emphasis(self.motion).to(self.basis.device)
        return ((emphasis.T @ self.basis.double()) / self.scale.double()).to(self.mean)

    @cached_property
    def _synthesis(self) -> Tensor:
        """Latents times this [C, 768] are blocks without their mean."""
        emphasis = _emphasis(self.motion).to(self.basis.device)
        return torch.linalg.solve(emphasis, self.basis.double() * self.scale.double()).T.to(self.mean)

    def encode(self, video: Tensor) -> Tensor:
        """A video float32 [B, 3, F, H, W] becomes latents float32 [B, C, L, h, w]: see ``Codec``."""
        self.shape.of_video(video)
        blocks = _blocks(video.to(self.mean))
        parts = (blocks - self.mean) @ self._analysis  # [B, L, h, w, C]
        return parts.movedim(-1, 1).contiguous().to(video.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, L, h, w] become a video float32 [B, 3, F, H, W]: see ``Codec``."""
        return torch.cat(list(self.decode_stream([latents])), dim=2)

    def decode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of latents become pieces of the video: see ``Codec``."""
        for index, latent in enumerate(one_latent_each(chunks, self.shape)):
            parts = latent.to(self.mean).movedim(1, -1)
            frames = _frames(parts @ self._synthesis + self.mean)
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


def _report(total: float, lost: float, videos: int, blocks: int) -> LinearFit:
    """The error of the codec is the variance that it leaves out; 2 is the range of the values."""
    kept = 1 - lost / total if total > 0 else 1.0
    error = max(lost / _VALUES, _LEAST_ERROR)
    return LinearFit(videos, blocks, kept, 10 * math.log10(_PEAK**2 / error))

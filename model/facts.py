"""This module says what must be known of a model beside its weights: it is the content of ``model.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from model.audio import AudioEncoder
from model.errors import ModelError
from model.image import ClipImage
from model.text import TextEncoder

FORMAT_VERSION = 1
NOISE = "noise level t from 0 (data) to 1 (noise), timestep 1000 t; the model predicts noise - data, as Wan does"


@dataclass(frozen=True)
class EncoderFacts:
    """Says which encoder a model was trained with.

    Attributes:
        name: ``whisper``, ``log_mel``, ``umt5``, ``hashed`` or ``clip``.
        width: numbers per token.
        digest: sha256 of what changes its numbers.
        length: tokens per caption or picture; 0 for an audio encoder, whose tracks have any length.
    """

    name: str
    width: int
    digest: str
    length: int = 0

    @classmethod
    def of(cls, encoder: AudioEncoder | TextEncoder | ClipImage) -> EncoderFacts:
        """An encoder has these facts."""
        return cls(encoder.name, encoder.width, encoder.digest, getattr(encoder, "length", 0))

    def check(self, encoder: AudioEncoder | TextEncoder | ClipImage, what: str) -> None:
        """Another encoder than the one of the training is refused.

        Args:
            encoder: the one to be used.
            what: what it encodes, for the message: ``sound``, ``text`` or ``pictures``.

        Raises:
            ModelError: its digest differs.
        """
        if encoder.digest != self.digest:
            raise ModelError(
                f"the model was trained with {what} of {self.name} ({self.digest[:12]}), and this encoder is "
                f"{encoder.name} ({encoder.digest[:12]}): use the same weights and settings"
            )


@dataclass(frozen=True)
class Sampling:
    """Says how a model wants to be sampled; a user may ask for something else.

    Attributes:
        steps: sampling steps.
        shift: of the noise levels towards noise (``model.flow.shifted``).
        audio_scale: guidance by the sound; 0 is none.
        text_scale: guidance by the text; 0 is none.
    """

    steps: int = 30
    shift: float = 3.0
    audio_scale: float = 4.5
    text_scale: float = 0.0


@dataclass(frozen=True)
class ModelFacts:
    """Describes how a model was made and how it wants to be used.

    Attributes:
        fps: frames per second that it was trained at.
        window_latents: latents of a training window.
        height: of the videos, in pixels.
        width: of the videos, in pixels.
        preset: size of the transformer: ``tiny``, ``1.3B``, ``14B`` or a name of the user's.
        audio: audio encoder.
        text: text encoder.
        image: encoder of the reference picture; None for a model without an image branch.
        base: public checkpoint that it began with; empty for random weights.
        reference_known: what slot 0 of a window from the middle of a video was given (``window_condition``).
        audio_margin: tokens heard before the first and after the last latent of a window.
        sampling: how it wants to be sampled.
        noise: the convention of noise and velocity, in words; models of another convention cannot be used.
        training: where it comes from: snapshot, steps, seed, config, and whatever else the trainer knows.
        funnel: how the videos were chosen: policy, fingerprints of the stages.
    """

    fps: float
    window_latents: int
    height: int
    width: int
    preset: str
    audio: EncoderFacts
    text: EncoderFacts
    image: EncoderFacts | None = None
    base: str = ""
    reference_known: float = 0.5
    audio_margin: float = 10.0
    sampling: Sampling = Sampling()
    noise: str = NOISE
    training: Mapping[str, Any] = field(default_factory=dict)
    funnel: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON can hold them have the format's version with them."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ModelFacts:
        """The facts come back from ``to_json``.

        Raises:
            ModelError: they are of another version of the format, or incomplete, or of another noise convention.
        """
        facts = dict(content)
        version = facts.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ModelError(f"format {version}, and this release reads {FORMAT_VERSION}: install the release it is of")
        try:
            for part in ("audio", "text", "image"):
                if facts.get(part) is not None:
                    facts[part] = EncoderFacts(**facts[part])
            made = cls(**{**facts, "sampling": Sampling(**facts.get("sampling", {}))})
        except (KeyError, TypeError) as error:
            raise ModelError(f"it is incomplete or of another release ({error})") from error
        if made.noise != NOISE:
            raise ModelError(f"the model has another noise convention ({made.noise!r})")
        return made

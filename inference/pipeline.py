"""A portrait and a voice become a film here, however long: read, plan, sample, decode and write as it goes.

``Pipeline.load(folder)`` opens a model; ``generate`` makes a film of it. Memory does not grow with the length: the
sampler has a bounded number of latents in hand (``inference/orders.py``), finished ones are decoded and written at
once. A generation that is stopped or killed goes on with the same request and the same name (``inference/work.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from catalogs.errors import UserError
from inference.caches.coefficients import FILE, Coefficients, coefficients_for
from inference.conditions import Track
from inference.encoders import audio_encoder, image_encoder, text_encoder
from inference.forecast import Forecast, forecast, measured
from inference.parallel.group import Group
from inference.parallel.sequence import crop_note, cropped_size, split_sequence
from inference.placing import AS_IT_IS, Placing, place
from inference.plan import Plan, make_plan
from inference.portrait import Portrait, read_portrait
from inference.predictor import Predictor
from inference.request import OnProgress, Progress, Request, Result, ShouldStop
from inference.source_video import SourceVideo, open_source
from inference.told import Encoders, make_track, source_latents
from inference.voice import Voice, read_voice
from model.audio import RATE
from model.errors import ModelError
from model.facts import ModelFacts
from model.folder import ModelFolder
from model.positions import TOKENS_PER_S
from model.shapes import frames_of_latents
from stages.runtime.device import torch_device
from stages.vision.face_landmarks import load_landmarks
from weights.registry import file_sha256


@dataclass(frozen=True, eq=False)
class Prepared:
    """Holds what was read of a request, and the plan that follows from it.

    Attributes:
        request: what was asked for.
        voice: the sound.
        portrait: the picture at the model's size.
        source: the video to edit; None for image animation.
        plan: what is done.
        crop: how much smaller the picture is than the model's size, in words; None if it is not.
    """

    request: Request
    voice: Voice
    portrait: Portrait
    plan: Plan
    source: SourceVideo | None = None
    crop: str | None = None

    @property
    def digest(self) -> str:
        """Hash of what the model sees: the picture as it was cut, and where a source's lower face is."""
        parts = [self.portrait.picture.tobytes()]
        if self.source is not None:
            parts += [self.source.boxes.tobytes(), repr(self.source.crop).encode()]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        of_source = () if self.source is None else self.source.warnings
        return (*self.portrait.warnings, *self.voice.warnings, *of_source, *([self.crop] if self.crop else []))


class Pipeline:
    """Makes films with one model.

    Args:
        folder: where the model came from.
        model: all its parts; the transformer lies on ``device``.
        encoders: of sound, text and picture.
        device: where the model computes.
        group: of the processes that make films together; None is this one alone.
        placing: how the transformer lies there.
    """

    def __init__(
        self,
        folder: Path,
        model: ModelFolder,
        encoders: Encoders,
        device: torch.device,
        group: Group | None = None,
        placing: Placing = AS_IT_IS,
    ) -> None:
        self.folder, self.model, self._encoders, self.device = folder, model, encoders, device
        self.group, self._placing = group or Group.alone(device), placing
        self.rest: Callable[[], None] = lambda: None  #: leaves the device's memory to others, with offload ``model``

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str = "auto",
        dtype: torch.dtype | None = None,
        text: str | None = None,
        group: Group | None = None,
        placing: Placing = AS_IT_IS,
    ) -> Pipeline:
        """A model folder is opened, with the encoders that it was trained with.

        Args:
            folder: what training released.
            device: auto, cpu or cuda.
            dtype: of the transformer; None is bfloat16 on a GPU and float32 on a CPU.
            text: folder of a Wan model in diffusers' form with its text encoder (and CLIP), for models that want it.
            group: of processes that have met (``inference.parallel.group.joined``), and calls the same in each; its
                device goes before ``device``. None is this one alone.
            placing: how the transformer lies on the device.

        Raises:
            UserError: it is no model folder, or the model or an encoder is missing or damaged.
        """
        where: torch.device = torch_device(device) if group is None else group.device
        dtype = dtype or (torch.bfloat16 if where.type == "cuda" else torch.float32)
        try:
            model = ModelFolder.load(folder, dtype)
        except ModelError as error:
            raise UserError(str(error)) from error
        if group is not None:
            split_sequence(model.transformer, group)
        placed = place(
            model.transformer, where, offload=placing.offload, compile=placing.compile, quantise=placing.quantise
        )
        encoders = Encoders(
            audio_encoder(model.facts), text_encoder(model.facts, text), image_encoder(model.facts, text)
        )
        made = cls(Path(folder), replace(model, codec=model.codec.to(where)), encoders, where, group, placing)
        made.rest = placed.rest
        return made

    @property
    def facts(self) -> ModelFacts:
        """How the model was made and how it wants to be used."""
        return self.model.facts

    def prepare(self, request: Request) -> Prepared:
        """A request is read and planned; nothing is written.

        Raises:
            UserError: a file cannot be used, or a number is out of range.
        """
        if self.group.world > 1 and request.join != "blf":
            raise UserError(f"join {request.join!r} is for comparison, and runs in one process: leave torchrun out")
        facts = self.model.facts
        voice = read_voice(request.audio)
        coefficients = self._coefficients() if request.cache else None
        temporal = self.model.codec.shape.temporal
        plan = make_plan(request, facts, self.model.transformer, temporal, voice.duration_s, coefficients)
        shape, processes = self.model.codec.shape, self.group.sequence
        unit = shape.spatial * self.model.transformer.patch[1]
        size = cropped_size(facts.height, facts.width, plan.window_lengths(), processes, unit)
        source = self._source(request, plan, temporal, size)
        if source is not None:  # as in training: a video's reference is its own first picture
            unused = ("the video's own first picture is the reference; the portrait is not used",)
            portrait = Portrait(source.cut(source.pictures(0, 1))[0], None, None, unused if request.image else ())
        elif request.image is not None:
            portrait = read_portrait(request.image, *size, request.face, request.force)
        else:
            raise UserError("nobody is to speak: give a portrait with --image, or a video to edit with --video")
        crop = crop_note(facts.height, facts.width, size, processes)
        return Prepared(request, voice, portrait, plan, source, crop)

    def first_window(self, request: Request) -> Request:
        """The request is cut to the film's first window: a preview."""
        latents = request.window or self.facts.window_latents
        seconds = frames_of_latents(latents, self.model.codec.shape.temporal) / self.facts.fps
        return replace(request, seconds=seconds if request.seconds is None else min(seconds, request.seconds))

    def forecast(self, prepared: Prepared, timed: bool = True) -> Forecast:
        """What a film will cost is told; nothing is written.

        Args:
            prepared: what ``prepare`` read.
            timed: also ask the model once, to say how long it takes.
        """
        told = forecast(prepared.plan, self.model, len(prepared.voice.samples) * TOKENS_PER_S // RATE)
        if not timed:
            return told
        track = self.track(prepared)
        channels, _, height, width = track.image.shape[1:]
        velocity = self.predictor(prepared, track)
        return replace(told, evaluation_s=measured(velocity, prepared.plan, (channels, height, width)))

    def generate(
        self,
        request: Request,
        out: Path,
        progress: OnProgress = lambda now: None,
        stop: ShouldStop = lambda: False,
        state_every_s: float = 30.0,
    ) -> Result:
        """A film is made; one that was stopped or killed goes on where it was.

        Args:
            request: what is wanted.
            out: the film, an MP4 file; it is there only once it is whole.
            progress: is told after every evaluation.
            stop: is asked after every evaluation.
            state_every_s: seconds between states to go on from.

        Raises:
            UserError: a file cannot be used, a number is out of range, or the film cannot be written.
            Stopped: ``stop`` said so; the same request goes on.
        """
        return self.generate_prepared(self.prepare(request), out, progress, stop, state_every_s)

    def generate_prepared(
        self,
        prepared: Prepared,
        out: Path,
        progress: OnProgress = lambda now: None,
        stop: ShouldStop = lambda: False,
        state_every_s: float = 30.0,
    ) -> Result:
        """A film is made of what ``prepare`` read; see ``generate``."""
        from inference.generation import Generation

        progress(Progress("reading", 0, prepared.plan.evaluations, None, 0))
        return Generation(self, prepared, out, progress, stop, state_every_s).run()

    def track(self, prepared: Prepared) -> Track:
        """What was read of a request is encoded: everything that the model is told of the film."""
        return make_track(
            self.model,
            self._encoders,
            prepared.portrait.picture,
            prepared.voice.samples,
            prepared.request.prompt,
            max(map(len, prepared.plan.layout.windows)),
            None
            if prepared.source is None
            else source_latents(self.model.codec, prepared.source, prepared.plan.layout.latents),
        )

    def predictor(self, prepared: Prepared, track: Track) -> Predictor:
        """The model, told of a track, predicts velocities of its windows."""
        plan = prepared.plan
        return Predictor(
            self.model.transformer,
            track,
            plan.guidance,
            plan.schedule.levels,
            hybrid_steps=prepared.request.hybrid_steps,
            batched=prepared.request.batched,
            cache=plan.cache,
            device=self.device,
        )

    def identity(self, with_cache: bool) -> dict[str, Any]:
        """What decides the model's numbers: its facts, and which weights lie there (size and time; hashes take long).

        Args:
            with_cache: also the cache's coefficients.
        """
        names = ("model.json", FILE) if with_cache else ("model.json",)
        found = {name: file_sha256(self.folder / name) for name in names if (self.folder / name).is_file()}
        weights = sorted((self.folder / "transformer").glob("*.safetensors"))
        sizes = repr([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in weights])
        found["weights"] = hashlib.sha256(sizes.encode()).hexdigest()
        dtype = str(self.model.transformer.patch_embedding.weight.dtype).removeprefix("torch.")
        return found | {"dtype": dtype, "device": self.device.type, "quantise": self._placing.quantise}

    def _source(self, request: Request, plan: Plan, temporal: int, size: tuple[int, int]) -> SourceVideo | None:
        if request.video is None:
            return None
        frames = frames_of_latents(plan.layout.latents, temporal)
        return open_source(request.video, self.facts.fps, *size, frames, load_landmarks("mesh", "cpu"))

    def _coefficients(self) -> Coefficients | None:
        return coefficients_for(self.folder) if (self.folder / FILE).is_file() else None

"""A training is described by one YAML file; this module holds its typed form, with every default and its reason.

Unknown keys are refused with the nearest name that there is. The effective config, defaults included, is saved beside
the checkpoints (training/yaml_config.py reads and writes it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class HeldoutConfig:
    """Says which clips are never trained on, but judge the training.

    Attributes:
        share: share of the sources (never single clips of one, which resemble each other), drawn by hash; of a small
            set at least two sources. 0 holds nothing out.
        where: SQL condition on the snapshot's columns that names the held-out clips instead, e.g.
            ``path LIKE '%/unheard/%'``.
        most: at most so many clips are looked at, the same ones each time.
    """

    share: float = 0.05
    where: str = ""
    most: int = 16


@dataclass(frozen=True)
class DataConfig:
    """Says what is trained on.

    Attributes:
        latents: folder that ``python -m training.precompute`` left; empty with ``catalog``.
        catalog, snapshot: encode this snapshot's clips on the fly instead.
        codec: with ``catalog``: folder of a codec.
        text: with ``catalog``: folder of a UMT5 text encoder, or ``hashed``.
        image: with ``catalog``: folder of a Wan image-to-video model, for bases with an image branch; or empty.
        size: with ``catalog``: height and width of the pictures.
        batch: clips per step, over all processes.
        microbatch: clips at once in one process; more are accumulated.
        window_latents: latents per training window; 21 are 81 frames (the paper's 80 are not 4k+1).
        middle_share: share of the windows that begin in the middle of a video: inference fuses such windows, whose
            first latent stands for four frames.
        workers: processes per rank that read ahead; 0 reads in the training process.
    """

    latents: str = ""
    catalog: str = ""
    snapshot: str = ""
    codec: str = ""
    text: str = "hashed"
    image: str = ""
    size: tuple[int, ...] = ()
    batch: int = 4
    microbatch: int = 4
    window_latents: int = 21
    middle_share: float = 0.5
    workers: int = 0
    heldout: HeldoutConfig = field(default_factory=HeldoutConfig)


@dataclass(frozen=True)
class ModelConfig:
    """Says what is trained.

    Attributes:
        preset: ``tiny``, ``1.3B`` or ``14B`` (model/presets.py).
        base: folder or file of a public checkpoint (Wan I2V, SkyReels-V2) to begin with; empty: random weights.
        start: a model folder of ours to begin with.
        train: all weights, the audio branch only, or the audio branch and LoRA on everything else.
        lora_rank: rank of the LoRA matrices.
        overrides: values of the transformer's config that differ from the preset's.
    """

    preset: str = "tiny"
    base: str = ""
    start: str = ""
    train: Literal["full", "audio", "lora"] = "full"
    lora_rank: int = 32
    overrides: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class FlowConfig:
    """Says how noise levels are drawn.

    Attributes:
        levels: ``logit_normal`` (SD3), ``uniform``, or ``few_steps``, which draws only the levels of a sampling
            schedule of ``steps`` steps, for models that will be sampled in few steps.
        mean, std: of the logit-normal distribution.
        shift: moves levels towards noise; 1: not at all, 3 to 5 for 480p to 720p.
        steps: see ``levels``.
    """

    levels: Literal["logit_normal", "uniform", "few_steps"] = "logit_normal"
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0
    steps: int = 8


@dataclass(frozen=True)
class LossConfig:
    """Says what an error in which place counts (paper section 2.3, equation 2; docs/model.md says what was mended).

    Attributes:
        hole_weight: w1, in what is to be painted (image animation: everything but the first frame).
        rest_weight: w2, elsewhere.
        p_mask: probability with which a clip's loss counts the lower face only.
        normalise: divide by the sum of the weights, so that a small hole counts as much as a large one.
    """

    hole_weight: float = 1.0
    rest_weight: float = 0.5
    p_mask: float = 0.3
    normalise: bool = True


@dataclass(frozen=True)
class DropsConfig:
    """Says how often each condition is left out of a clip, so that guidance has its branches (paper: 0.15 each).

    Attributes:
        audio, text: independently.
        reference: the image, or the video with it.
        everything: all of them at once, drawn apart: independent drops alone would leave the null branch to 0.3 % of
            the clips.
    """

    audio: float = 0.15
    text: float = 0.15
    reference: float = 0.15
    everything: float = 0.05


@dataclass(frozen=True)
class CurriculumStage:
    """Names a part of the training and its mix of tasks.

    Attributes:
        steps: optimiser steps; the last stage goes on to the end whatever it says.
        audio: relative share of clips with no reference at all: sound (and text) to video.
        image: relative share of image animation: the first frame is given.
        video: relative share of video editing: everything but the lower face is given.
    """

    name: str = "joint"
    steps: int = 0
    audio: float = 0.0
    image: float = 0.5
    video: float = 0.5


@dataclass(frozen=True)
class OptimiserConfig:
    """Sets AdamW (paper: 1e-5, constant) and what follows it.

    Attributes:
        rate: learning rate.
        schedule: ``constant`` or ``cosine`` (down to 2 %), both after ``warmup`` steps.
        clip_norm: gradients are scaled down to this norm.
        ema: decay of the moving average of the weights; 0: none. It warms up, so that short trainings profit too.
    """

    rate: float = 1e-5
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 100
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema: float = 0.0


@dataclass(frozen=True)
class CheckpointConfig:
    """Says when a checkpoint is written and how many stay.

    Attributes:
        every: steps between checkpoints.
        keep: the last so many stay, and each whose step is a multiple of ``keep_every`` (0: none).
    """

    every: int = 500
    keep: int = 2
    keep_every: int = 0


@dataclass(frozen=True)
class MeterConfig:
    """Says how often what is measured.

    Attributes:
        every: steps between lines of the log and points of the loss.
        heldout_every: steps between looks at the held-out clips (their loss with own and with shuffled sound).
        samples_every: steps between videos of held-out clips; 0: none.
        samples: how many videos.
    """

    every: int = 10
    heldout_every: int = 100
    samples_every: int = 0
    samples: int = 2


@dataclass(frozen=True)
class SamplingConfig:
    """Says how the model wants to be sampled: the released model says so to whoever generates with it.

    Attributes:
        steps: sampling steps, also of the sample videos.
        audio_scale: guidance by the sound, 0: none; also of the sample videos. The paper uses 4.5.
        text_scale: guidance by the text, 0: none; sample videos are made without.
    """

    steps: int = 16
    audio_scale: float = 4.5
    text_scale: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """Describes a training; ``steps`` optimiser steps, everything drawn from ``seed``.

    Attributes:
        run: folder of this training: config, checkpoints, meters, samples, the released model. On a cluster it is on
            storage that every node sees.
        precision: ``bf16`` computes in bfloat16 over weights in float32.
        recompute: activation checkpointing: less memory for a third more work.
        compile: run the blocks through torch.compile.
        threads: CPU threads per process; 0: as many as PyTorch wants.
        peak_tflops: what the device could do, for the share of it that is used (MFU); 0: known for common GPUs,
            measured with a matrix product on others.
    """

    run: str = "run"
    steps: int = 1000
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    recompute: bool = False
    compile: bool = False
    threads: int = 0
    peak_tflops: float = 0.0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    drops: DropsConfig = field(default_factory=DropsConfig)
    curriculum: tuple[CurriculumStage, ...] = (CurriculumStage(),)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)
    meters: MeterConfig = field(default_factory=MeterConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def stage_at(self, step: int) -> CurriculumStage:
        """Return the curriculum's stage of a step."""
        for stage in self.curriculum[:-1]:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.curriculum[-1]

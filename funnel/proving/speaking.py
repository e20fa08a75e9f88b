"""The models of a proof speak sentences that they never heard, and their mouths are held against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from curation.demo.talking import LipTruth
from funnel.proving.mouth import MouthReader, Spread, correlation
from model.audio import RATE
from model.codecs import load_codec
from model.folder import ModelFolder
from training.clips import TrainingClips, codec_folder, open_clips
from training.config import TrainConfig
from training.encode import SOUND_PEAK
from training.heldout import Heldout, HeldoutFacts
from training.parallel import Group
from training.samples import decoded, sampled, window_batch

Image = np.ndarray

_READ_CLIPS = 24  # real clips of the training that the mouth reader is fitted on
_HERE = Group.alone()


@dataclass(frozen=True, eq=False)
class Spoken:
    """Holds what a model made of the held-out clips, each [n] in their order.

    Attributes:
        frames: with their own sound, uint8 [F, H, W, 3].
        own: r of the mouth with the truth of its own sound, over the frames that were made.
        with_other: r with its own truth when it hears another clip's sound.
        of_other: r with that other clip's truth.
        openings: the mouth as read from the frames.
    """

    frames: tuple[Image, ...]
    own: Spread
    with_other: Spread
    of_other: Spread
    openings: tuple[np.ndarray, ...]


class Listener:
    """Judges models of one training's latents.

    Args:
        config: a training of the proof.
        lips: the truth of each source by its file name.
    """

    def __init__(self, config: TrainConfig, lips: dict[str, LipTruth]) -> None:
        self.config, self._lips = config, lips
        self.clips: TrainingClips = open_clips(config.data, config.seed)
        self._codec = load_codec(codec_folder(config.data))
        self.rows = list(self.clips.heldout)
        self._frames = 1 + self.clips.window.temporal * (self.clips.window.latents - 1)
        self._reader = self._fit() if lips else None

    def real(self, row: int) -> Image:
        """Return the real pictures of a clip's first window, through the codec, uint8 [F, H, W, 3]."""
        latents = self.clips.tensors(row)["video"][:, : self.clips.window.latents]
        return decoded(self._codec, latents[None])[0]

    def sound(self, row: int) -> np.ndarray:
        """Return the sound of a clip's first window, float32 [N], 16 kHz."""
        n = round(self._frames / self.clips.window.fps * RATE)
        return self.clips.tensors(row)["sound"][:n].numpy().astype(np.float32) / np.float32(SOUND_PEAK)

    def truth(self, row: int) -> np.ndarray:
        """Return the true opening of the mouth in each frame of a clip's first window, float32 [F]."""
        table = self.clips.store.table
        known = self._lips[Path(table["path"][row].as_py()).name]
        return known.openings(round(table["start_s"][row].as_py() * known.fps), self._frames)

    @property
    def reader(self) -> MouthReader:
        """Return what reads mouths, where the truth of the lips is known."""
        assert self._reader is not None
        return self._reader

    def reader_r(self) -> Spread:
        """Return r of the reader on the real held-out clips: what it reads of real lips it never saw."""
        assert self._reader is not None
        return Spread(tuple(correlation(self._reader.opening(self.real(row)), self.truth(row)) for row in self.rows))

    def heard(self, model: Path) -> HeldoutFacts:
        """Return the held-out clips' loss with their own and another's sound."""
        return Heldout(self.clips, _HERE, torch.float32).look(ModelFolder.load(model).transformer)

    def speak(self, model: Path, seed: int = 0) -> Spoken:
        """Let a model speak the held-out clips, with their own sound and with the next clip's.

        Without known truth the figures of the mouths are empty.
        """
        network = ModelFolder.load(model).transformer
        others = self.rows[1:] + self.rows[:1]
        own_frames = self._made(network, seed, self.rows)
        if self._reader is None:
            nothing = Spread(())
            return Spoken(own_frames, nothing, nothing, nothing, ())
        other_frames = self._made(network, seed, others)
        own, other = ([self._reader.opening(f) for f in made] for made in (own_frames, other_frames))
        truths = {row: self.truth(row) for row in self.rows}
        skip = 1  # the first frame was given
        return Spoken(
            frames=own_frames,
            own=_all(own, [truths[row] for row in self.rows], skip),
            with_other=_all(other, [truths[row] for row in self.rows], skip),
            of_other=_all(other, [truths[row] for row in others], skip),
            openings=tuple(own),
        )

    def _made(self, network: torch.nn.Module, seed: int, sounds: list[int]) -> tuple[Image, ...]:
        batch = window_batch(self.clips, self.rows, seed, sounds)
        return tuple(decoded(self._codec, sampled(network, batch, self.config, _HERE)))  # type: ignore[arg-type]

    def _fit(self) -> MouthReader:
        rows = self.clips.trained[:: max(1, len(self.clips.trained) // _READ_CLIPS)]
        return MouthReader.fit([self.real(row) for row in rows], [self.truth(row) for row in rows])


def _all(openings: list[np.ndarray], truths: list[np.ndarray], skip: int) -> Spread:
    pairs = zip(openings, truths, strict=True)
    return Spread(tuple(correlation(opening[skip:], truth[skip:]) for opening, truth in pairs))

"""This module turns sound into tokens at 50 per second, for a whole track at once.

Token ``j`` is centred at ``j / 50`` s (see ``model/positions.py``). A track is encoded whole and windows are cut from
the tokens, never from the sound: a window cut first hears an edge that is not there, and lips bend at every window
(LatentSync issue #101). Each track has half a second of silence at both ends, so that every window finds tokens beyond
the first and last frame and no mask is ever needed.

``WhisperAudio`` is the encoder of the paper. It hears 30 s at a time; longer tracks are encoded in chunks that overlap
by 10 s, and of each chunk the middle is kept. ``LogMelAudio`` needs no weights; it is a stand-in, and named as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from whisper.audio import HOP_LENGTH, log_mel_spectrogram

from model.digests import content_digest
from model.errors import ModelError
from model.positions import TOKENS_PER_S

if TYPE_CHECKING:
    from whisper.model import Whisper

RATE = 16_000  #: samples per second that every encoder hears
PAD_TOKENS = 25  #: tokens of silence at either end of a track: half a second

_TOKEN_SAMPLES = RATE // TOKENS_PER_S
_OVERLAP = 500  #: tokens that neighbouring chunks share; half of them, 5 s, are dropped at each inner edge
_CHUNKS_AT_ONCE = 4
_LEAD = 25  #: tokens of silence heard and dropped at either end: the encoder's convolutions see zeros beyond a chunk
_MEL_BLOCK = 6_000  #: mel frames computed at once (a minute), so that an hour of sound needs little memory
_HALO = 2  #: mel frames around a block: a frame looks at 200 samples on either side of its centre, less than 2 hops
_MEL_RANGE = 2.0  #: Whisper's floor: 8 decades of power below the loudest, in its units of (log10 + 4) / 4


class AudioTrack(NamedTuple):
    """Holds the tokens of a whole track.

    Attributes:
        tokens: float32 [T, D], one per 1/50 s.
        first: number of the first of them; token 0 is centred at the start of the sound, so this is -25.
    """

    tokens: Tensor
    first: int = -PAD_TOKENS

    def window(self, first: int, n: int) -> Tensor:
        """The tokens ``first … first + n - 1``, by number, are cut out: float32 [n, D].

        Beyond the ends the outermost token, which is silence, stands for all further ones.
        """
        index = torch.arange(first, first + n, device=self.tokens.device) - self.first
        return self.tokens[index.clamp(0, len(self.tokens) - 1)]


class AudioEncoder(Protocol):
    """Turns the sound of a whole track into tokens.

    Attributes:
        name: kind of encoder: ``whisper`` or ``log_mel``.
        width: numbers in a token, D.
        digest: sha256 of everything that changes its numbers: weights, and how a track is cut.
    """

    @property
    def name(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def digest(self) -> str: ...

    def encode(self, samples: NDArray[np.float32], at: int = 0) -> AudioTrack:
        """Mono sound becomes tokens -25 … ceil(N / 320) + 25.

        Args:
            samples: float32 [N], -1..1, 16 kHz.
            at: where the track begins in the encoder's first chunk, in tokens; see ``WhisperAudio``.

        Raises:
            ModelError: the samples have another form.
        """
        ...


class WhisperAudio:
    """Hears with the encoder of an openai-whisper model; tokens are its last layer's output.

    The log-mel spectrogram is that of the whole track, with one floor, as Whisper's own transcription has it: only what
    the encoder makes of a chunk depends on the chunk. It does so a little, as Whisper adds an absolute position: the
    tokens of three seconds of speech correlate by .94 to .92 with those of the same speech after 1 to 25 s of silence
    (Whisper base; with another clip's: .03). A model trained on short clips that all begin at 0 would never meet the
    positions that a long track has; ``encode(samples, at=...)`` begins a clip elsewhere, with silence before it.
    """

    name = "whisper"

    def __init__(self, model: Whisper, digest: str) -> None:
        """A loaded model is wrapped.

        Args:
            model: of ``whisper.load_model``; only its encoder is used, on its device and in its dtype.
            digest: sha256 of its weights file.
        """
        self._encoder = model.encoder.eval()
        self._n_mels = model.dims.n_mels
        self._chunk = model.dims.n_audio_ctx
        self.width = model.dims.n_audio_state
        settings = {"weights": digest, "chunk": self._chunk, "overlap": _OVERLAP, "pad": PAD_TOKENS, "lead": _LEAD}
        self.digest = content_digest(self.name, settings)

    @classmethod
    def of(cls, model: Whisper) -> WhisperAudio:
        """A loaded model is wrapped under a digest of its encoder's weights, in whichever kind of file they lay."""
        return cls(model, content_digest("whisper", {}, model.encoder.state_dict()))

    def encode(self, samples: NDArray[np.float32], at: int = 0) -> AudioTrack:
        """Sound becomes tokens: see ``AudioEncoder``.

        Raises:
            ModelError: the samples have another form, or ``at`` is below 0.
        """
        if at < 0:
            raise ModelError(f"a track begins at token {at} of a chunk: give 0 or more")
        n_tokens, lead = _n_tokens(samples), at + _LEAD
        spans = list(chunk_spans(lead + n_tokens + _LEAD, self._chunk, min(_OVERLAP, self._chunk // 3)))
        end = spans[-1].start + self._chunk
        mel = _track_mel(_padded(samples, end, lead * _TOKEN_SAMPLES), self._n_mels, frames=2 * end)
        weight = self._encoder.conv1.weight
        kept = []
        for group in (spans[i : i + _CHUNKS_AT_ONCE] for i in range(0, len(spans), _CHUNKS_AT_ONCE)):
            chunks = torch.stack([mel[:, 2 * span.start : 2 * (span.start + self._chunk)] for span in group])
            with torch.inference_mode():
                heard = self._encoder(chunks.to(weight)).float().cpu()
            kept += [tokens[span.keep_from : span.keep_to] for tokens, span in zip(heard, group, strict=True)]
        return AudioTrack(torch.cat(kept)[lead : lead + n_tokens].clone())


class LogMelAudio:
    """Hears without weights: a token is the log-mel spectrum of the 20 ms around its centre. A stand-in for Whisper.

    Two spectra of 80 bands, centred 5 ms before and 5 ms after the token's centre, are stacked. The values are
    Whisper's own, (log10 power + 4) / 4 with a floor 8 decades below the loudest: about -1.5..1.5.
    """

    name = "log_mel"
    width = 160

    @cached_property
    def digest(self) -> str:
        """Its digest names the formula."""
        return content_digest(self.name, {"mels": 80, "per_token": 2, "pad": PAD_TOKENS, "version": 1})

    def encode(self, samples: NDArray[np.float32], at: int = 0) -> AudioTrack:
        """Sound becomes tokens: see ``AudioEncoder``. There are no chunks, so ``at`` changes nothing."""
        n_tokens = _n_tokens(samples)
        mel = _track_mel(_padded(samples, n_tokens, HOP_LENGTH // 2), self.width // 2, frames=2 * n_tokens)
        return AudioTrack(mel.T.reshape(n_tokens, self.width).clone())


class ChunkSpan(NamedTuple):
    """Says which tokens of a track a chunk hears and which of these are kept.

    Attributes:
        start: index in the track of the chunk's first token.
        keep_from: first token kept, counted in the chunk.
        keep_to: end of those kept, exclusive, counted in the chunk.
    """

    start: int
    keep_from: int
    keep_to: int


def chunk_spans(n_tokens: int, chunk: int, overlap: int) -> Iterator[ChunkSpan]:
    """A track is covered by chunks; each token is kept once, at least ``overlap // 2`` tokens from any inner edge.

    Args:
        n_tokens: tokens of the track.
        chunk: tokens of a chunk.
        overlap: tokens that neighbours share, less than ``chunk``.
    """
    hop, inner = chunk - overlap, overlap // 2
    last = max(0, -(-(n_tokens - chunk) // hop))
    for index in range(last + 1):
        start = index * hop
        keep_from = inner if index else 0
        keep_to = hop + inner if index < last else n_tokens - start
        yield ChunkSpan(start, keep_from, keep_to)


def _n_tokens(samples: NDArray[np.float32]) -> int:
    """A checked track has this many tokens, silence included."""
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise ModelError(
            f"sound is float32 [N], mono, {RATE} samples per second; this is {samples.dtype} {list(samples.shape)}"
        )
    if not np.isfinite(samples).all():
        raise ModelError("the sound holds values that are no numbers: read the file again")
    return -(-len(samples) // _TOKEN_SAMPLES) + 2 * PAD_TOKENS + 1


def _padded(samples: NDArray[np.float32], n_tokens: int, shift: int) -> Tensor:
    """Silence is put around a track: mel frame 0 of the result is ``shift`` samples before token -25.

    Returns:
        float32 [halo + frames of n_tokens + halo, in samples].
    """
    before = _HALO * HOP_LENGTH + PAD_TOKENS * _TOKEN_SAMPLES + shift
    length = (2 * n_tokens + 2 * _HALO) * HOP_LENGTH
    return F.pad(torch.from_numpy(np.ascontiguousarray(samples)), (before, length - before - len(samples)))


def _track_mel(padded: Tensor, n_mels: int, frames: int) -> Tensor:
    """Whisper's log-mel spectrogram of a long track is computed block by block and equals that of the whole.

    Each block is ``log_mel_spectrogram`` of its samples and a halo, whose frames are dropped. The floor of a block
    lies below or at that of the track, so raising the floor afterwards gives what one call would.

    Args:
        padded: float32, the track with ``_HALO`` frames of silence at both ends.
        n_mels: 80 or 128.
        frames: mel frames wanted.

    Returns:
        float32 [n_mels, frames].
    """
    blocks = []
    for start in range(0, frames, _MEL_BLOCK):
        stop = min(start + _MEL_BLOCK, frames)
        part = padded[start * HOP_LENGTH : (stop + 2 * _HALO) * HOP_LENGTH]
        blocks.append(log_mel_spectrogram(part, n_mels)[:, _HALO : _HALO + stop - start])
    mel = torch.cat(blocks, dim=1)
    return torch.maximum(mel, mel.max() - _MEL_RANGE)

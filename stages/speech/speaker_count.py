"""Voices are counted from two networks: one finds where a voice speaks alone, the other whether it is the same voice.

1. In windows of 10 s, pyannote's segmentation finds who speaks when, overlaps included (speech/segmentation.py).
2. Where one voice speaks alone, inside one span of the voice activity, pieces of 2 s every second get an embedding
   (speech/speaker_embedding.py). A piece stays inside a span because the segmentation misses some changes of speaker:
   of pairs of similar voices it took 8 of 36 for one voice.
3. Average-linkage clustering of the pieces at cosine 0.5: a cluster with enough voice is a speaker.
4. Two voices at once for half a second are two speakers, whatever the embeddings say.

Clusters cover the whole clip, so a speaker who comes back counts once, and three who take turns count three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from stages.speech.segmentation import FRAME_STEP_S, N_VOICES, SAMPLE_RATE, WINDOW, SpeakerSegmentation
from stages.speech.speaker_embedding import SpeakerEmbedding
from stages.speech.voice_activity import VoiceActivity

MIN_WINDOW_S = 0.5  #: a shorter tail of a track is not segmented


@dataclass(frozen=True)
class CountRule:
    """Says when pieces of voice are one speaker, and when that speaker counts.

    Attributes:
        same_speaker: mean cosine between two clusters at which they are one speaker.
        piece_s, hop_s, min_piece_s: pieces of voice that get an embedding.
        min_speaker_s, min_speaker_share: voice that a cluster needs, in seconds and as a share of all voice that has an
            embedding.
        min_overlap_s: two voices at once for this long are two speakers.
    """

    same_speaker: float = 0.5
    piece_s: float = 2.0
    hop_s: float = 1.0
    min_piece_s: float = 0.8
    min_speaker_s: float = 1.5
    min_speaker_share: float = 0.06
    min_overlap_s: float = 0.5


@dataclass(frozen=True)
class Track:
    """Holds sound in which to look for speakers, mono, 16 kHz, float32 [N], and the spans where somebody speaks."""

    mono16k: np.ndarray
    activity: VoiceActivity


@dataclass(frozen=True)
class Voices:
    """Says how many speakers a clip has, and for how long they speak."""

    count: int
    overlap_s: float  #: two or more voices at once
    speech_s: float  #: any voice


@dataclass(frozen=True)
class _Pieces:
    embeddings: list[np.ndarray]
    seconds: list[float]


class SpeakerCounter:
    """Counts the speakers of one or several tracks."""

    def __init__(self, segmentation: SpeakerSegmentation, embedding: SpeakerEmbedding, rule: CountRule) -> None:
        self._segmentation, self._embedding, self._rule = segmentation, embedding, rule

    def count(self, tracks: Sequence[Track]) -> Voices:
        """Count the speakers over all ``tracks`` together; at least one track must hold speech.

        Several tracks are different microphones: voices on two of them at the same time overlap.
        """
        pieces = _Pieces([], [])
        voices_at_once = [self._listen(track, pieces) for track in tracks]
        within = max(float((n > 1).sum()) * FRAME_STEP_S for n in voices_at_once)
        shortest = min(len(n) for n in voices_at_once)
        together = np.sum([n[:shortest] for n in voices_at_once], axis=0)
        count = max(self._clusters(pieces), 2 if within >= self._rule.min_overlap_s else 1)
        overlap = together > 1 if count > 1 else np.zeros(shortest, bool)
        return Voices(count, float(overlap.sum()) * FRAME_STEP_S, float((together > 0).sum()) * FRAME_STEP_S)

    def _listen(self, track: Track, pieces: _Pieces) -> np.ndarray:
        """Add the track's pieces; return the number of voices at once, int64 [T], a step per FRAME_STEP_S."""
        at_once = []
        for start in range(0, len(track.mono16k), WINDOW):
            window = track.mono16k[start : start + WINDOW]
            if len(window) < MIN_WINDOW_S * SAMPLE_RATE and start > 0:
                continue
            voices = self._segmentation.activity(window)
            begin_s, n = start / SAMPLE_RATE, len(voices)
            spans = np.clip((track.activity.spans_s - begin_s) / FRAME_STEP_S, 0, n).round().astype(int)
            speaking = np.zeros(n, bool)
            for begin, end in spans:
                speaking[begin:end] = True
                self._add_pieces(window, voices, (begin, end), pieces)
            at_once.append(np.where(speaking, voices.sum(axis=1), 0))
        return np.concatenate(at_once)

    def _add_pieces(self, window: np.ndarray, voices: np.ndarray, span: tuple[int, int], pieces: _Pieces) -> None:
        rule, (begin, end) = self._rule, span
        edges = (np.asarray([begin, end]) * FRAME_STEP_S * SAMPLE_RATE).astype(int)
        samples = window[edges[0] : edges[1]]
        if len(samples) < rule.min_piece_s * SAMPLE_RATE:
            return
        frame = np.minimum(begin + np.arange(len(samples)) / (FRAME_STEP_S * SAMPLE_RATE), len(voices) - 1).astype(int)
        alone = voices.sum(axis=1) == 1
        for voice in range(N_VOICES):
            own = samples[(voices[:, voice] & alone)[frame]]
            for piece in self._cut(own):
                pieces.embeddings.append(self._embedding.embed(piece))
                pieces.seconds.append(min(len(piece) / SAMPLE_RATE, rule.hop_s))

    def _cut(self, voice: np.ndarray) -> list[np.ndarray]:
        length, hop, least = (
            round(seconds * SAMPLE_RATE) for seconds in (self._rule.piece_s, self._rule.hop_s, self._rule.min_piece_s)
        )
        starts = range(0, max(1, len(voice) - length + hop), hop)
        pieces = [voice[start : start + length] for start in starts]
        return [piece for piece in pieces if len(piece) >= least]

    def _clusters(self, pieces: _Pieces) -> int:
        if len(pieces.seconds) < 2:
            return len(pieces.seconds)
        tree = scipy.cluster.hierarchy.linkage(np.stack(pieces.embeddings), "average", "cosine")
        cluster = scipy.cluster.hierarchy.fcluster(tree, 1 - self._rule.same_speaker, "distance")
        seconds = np.bincount(cluster, pieces.seconds)
        needed = max(self._rule.min_speaker_s, self._rule.min_speaker_share * seconds.sum())
        return int((seconds >= needed).sum())

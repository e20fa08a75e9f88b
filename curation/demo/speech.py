"""The eSpeak NG library, which the ``espeakng_loader`` wheel ships, makes speech with a timeline of its phonemes.

The library is called through ctypes in retrieval mode: it hands 16-bit samples and phoneme events to a callback, so the
moment of each phoneme is known to a few milliseconds and a mouth can follow it.

Source: ``speak_lib.h`` of eSpeak NG 1.52 (structures, option bits, event types).
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.demo.visemes import Viseme, visemes_of

_AUDIO_OUTPUT_RETRIEVAL = 1  # espeak_AUDIO_OUTPUT: samples go to the callback, nothing is played
_INITIALIZE_OPTIONS = 0x0001 | 0x0002 | 0x8000  # phoneme events | in IPA | do not exit() on a missing data folder
_EVENT_LIST_TERMINATED, _EVENT_PHONEME = 0, 7
_PARAMETER_RATE, _PARAMETER_PITCH = 1, 3
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_RANDOM_SEED = 20_260
_ISO_639_1 = {"cmn": "zh", "yue": "zh"}  # eSpeak NG names a few languages by ISO 639-3

# The C library has one global state per process; two threads inside it at once would mix their speech.
_LIBRARY_LOCK = threading.Lock()


class SpeechError(RuntimeError):
    """Speech could not be made: the package is missing, or the voice is unknown to it."""


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Phoneme:
    """Holds one sounded phoneme and its time.

    Attributes:
        start_s: Where it begins, seconds from the first sample.
        end_s: Where the next one begins.
        ipa: Its IPA symbols without stress marks; empty for a pause.
    """

    start_s: float
    end_s: float
    ipa: str


@dataclass(frozen=True)
class Speech:
    """Holds speech, and what the mouth does while it sounds.

    Attributes:
        samples: float32 [N] mono, -1 to 1.
        sample_rate: Samples per second.
        phonemes: In time order, without gaps between the first and the last.
        visemes: Lip shapes of the phonemes, in time order.
        language: ISO 639-1 code of the voice.
    """

    samples: npt.NDArray[np.float32]
    sample_rate: int
    phonemes: tuple[Phoneme, ...]
    visemes: tuple[Viseme, ...]
    language: str

    @property
    def duration_s(self) -> float:
        """Return the length of the sound in seconds."""
        return len(self.samples) / self.sample_rate


def language_of(voice: str) -> str:
    """Return the ISO 639-1 code of a voice name such as ``en-us+f3`` (``en``) or ``cmn`` (``zh``)."""
    primary = voice.split("+")[0].split("-")[0].lower()
    return _ISO_639_1.get(primary, primary)


def synthesise(text: str, voice: str = "en-us", rate: int = 165, pitch: int = 50) -> Speech:
    """Speak a text.

    Args:
        text: What is said, in the language of the voice.
        voice: Language, with an optional variant: ``en-us``, ``de``, ``cmn``, ``en-us+f3`` (a woman), ``de+m4``.
        rate: Words per minute, 80 to 450.
        pitch: 0 to 100.

    Returns:
        The speech, the same samples on every call with the same arguments.

    Raises:
        SpeechError: ``espeakng_loader`` is not installed, or it has no such voice.
    """
    library_path, data_path = _locate_library()
    with _LIBRARY_LOCK, _fresh_library(library_path) as library:
        return _speak(library, data_path, text, voice, rate, pitch)


def _locate_library() -> tuple[str, str]:
    try:
        import espeakng_loader
    except ImportError as error:
        raise SpeechError(
            'the demo speaks with eSpeak NG, and the package "espeakng_loader" is not installed. '
            'Install it with: pip install "portrait-funnel[demo]"'
        ) from error
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


@contextmanager
def _fresh_library(path: str) -> Iterator[ctypes.CDLL]:
    """Load the library with new static variables.

    Its wave phase and flutter outlive ``espeak_Terminate``, and would make a text sound a few samples different after
    another text.
    """
    library = ctypes.CDLL(path)
    try:
        yield library
    finally:
        if os.name == "posix":  # on other systems a few samples may differ
            ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))


def _speak(library: ctypes.CDLL, data_path: str, text: str, voice: str, rate: int, pitch: int) -> Speech:
    blocks: list[npt.NDArray[np.int16]] = []
    marks: list[tuple[int, str]] = []  # (first sample, IPA)

    def collect(wave, n_samples, events) -> int:
        if wave and n_samples > 0:
            blocks.append(np.ctypeslib.as_array(wave, (n_samples,)).copy())
        index = 0
        while events[index].type != _EVENT_LIST_TERMINATED:
            if events[index].type == _EVENT_PHONEME:
                marks.append((events[index].sample, _plain_ipa(events[index].id.string)))
            index += 1
        return 0

    callback = _SynthCallback(collect)  # must outlive the synthesis
    sample_rate = library.espeak_Initialize(_AUDIO_OUTPUT_RETRIEVAL, 0, data_path.encode(), _INITIALIZE_OPTIONS)
    if sample_rate <= 0:
        raise SpeechError(f"eSpeak NG did not start: no usable data folder at {Path(data_path).name!r}; reinstall it")
    try:
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SpeechError(
                f"eSpeak NG has no voice {voice!r}; try en-us, de, fr, es, cmn, or en-us+f3 for a variant"
            )
        library.espeak_ng_SetRandSeed(ctypes.c_long(_RANDOM_SEED))  # by default the clock seeds flutter and hiss
        library.espeak_SetSynthCallback(callback)
        library.espeak_SetParameter(_PARAMETER_RATE, rate, 0)
        library.espeak_SetParameter(_PARAMETER_PITCH, pitch, 0)
        encoded = text.encode()
        size = ctypes.c_size_t(len(encoded) + 1)
        library.espeak_Synth(encoded, size, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        library.espeak_Synchronize()
    finally:
        library.espeak_Terminate()

    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
    phonemes = _phonemes_from_marks(marks, len(samples), sample_rate)
    return Speech(
        samples=samples.astype(np.float32) / 32768.0,
        sample_rate=sample_rate,
        phonemes=phonemes,
        visemes=tuple(shape for p in phonemes for shape in visemes_of(p.ipa, p.start_s, p.end_s)),
        language=language_of(voice),
    )


def _plain_ipa(raw: bytes) -> str:
    """Return the IPA symbols of a phoneme event, without stress marks, which have no lip shape.

    An event has eight bytes at most, so the last symbol may be cut.
    """
    return raw.decode("utf-8", "ignore").strip("ˈˌ ")


def _phonemes_from_marks(marks: list[tuple[int, str]], n_samples: int, sample_rate: int) -> tuple[Phoneme, ...]:
    ends = [start for start, _ in marks[1:]] + [n_samples]
    return tuple(
        Phoneme(start / sample_rate, end / sample_rate, ipa)
        for (start, ipa), end in zip(marks, ends, strict=True)
        if end > start
    )

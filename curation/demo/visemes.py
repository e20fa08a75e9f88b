"""Each IPA symbol has a lip shape: how far the lips part and how wide they are.

The grouping is the usual one of about a dozen visemes (bilabial, labiodental, dental, alveolar, post-alveolar, velar;
vowels by height and rounding). The degrees are tuned by eye on the demo portrait.
"""

from __future__ import annotations

from dataclasses import dataclass

_VOWEL_SHAPES = (
    # symbols, opening 0-1, width -1 (rounded) to 1 (spread)
    ("aɑäæ", 0.9, 0.1),
    ("ɐʌɒ", 0.78, -0.1),
    ("ɛœ", 0.65, 0.3),
    ("eəɜøɚɵ", 0.5, 0.1),
    ("ɔ", 0.7, -0.6),
    ("o", 0.55, -0.8),
    ("iɪɨ", 0.3, 0.8),
    ("y", 0.25, -0.8),
    ("uʊɯ", 0.28, -1.0),
)
_CONSONANT_SHAPES = (
    ("pbm", 0.0, 0.0),
    ("fvɸβʋ", 0.05, 0.1),
    ("w", 0.15, -1.0),
    ("ʃʒɕʑ", 0.2, -0.5),
    ("szθð", 0.15, 0.4),
    ("tdnlɾrɹɬ", 0.22, 0.1),
    ("j", 0.2, 0.7),
    ("kɡgŋxχhɣʁɲqʔç", 0.3, 0.0),
)
_VOWELS = frozenset("".join(symbols for symbols, _, _ in _VOWEL_SHAPES))
_SHAPES = {
    symbol: (opening, width) for symbols, opening, width in (*_VOWEL_SHAPES, *_CONSONANT_SHAPES) for symbol in symbols
}
_UNKNOWN = (0.25, 0.0)
_REST = (0.0, 0.0)
_SHORTEST_PAUSE_S = 0.06  # eSpeak NG also marks releases and glottal stops with an empty symbol


@dataclass(frozen=True)
class Viseme:
    """Holds one lip shape and its time.

    Attributes:
        start_s: Where it begins, in seconds.
        end_s: Where the next one begins.
        opening: How far the lips part, 0 (closed) to 1 (as for ``a``).
        width: -1 (rounded, as for ``u``) to 1 (spread, as for ``i``).
        closes: Whether the lips must touch (``p``, ``b``, ``m``, and a pause).
    """

    start_s: float
    end_s: float
    opening: float
    width: float
    closes: bool


def visemes_of(ipa: str, start_s: float, end_s: float) -> tuple[Viseme, ...]:
    """Return the lip shapes of a phoneme; the parts of a diphthong or an affricate share its time."""
    if not ipa and end_s - start_s >= _SHORTEST_PAUSE_S:
        return (Viseme(start_s, end_s, *_REST, closes=True),)
    parts = [symbol for symbol in ipa if symbol in _SHAPES]
    if ipa and ipa[0] not in _VOWELS:
        parts = parts[:1]  # ``th`` is an aspirated t, ``tɕ`` and ``kʰ`` keep the lips of their first part long enough
    if not parts:
        return (Viseme(start_s, end_s, *_UNKNOWN, closes=False),)
    step_s = (end_s - start_s) / len(parts)
    return tuple(
        Viseme(start_s + i * step_s, start_s + (i + 1) * step_s, *_SHAPES[symbol], closes=symbol in "pbm")
        for i, symbol in enumerate(parts)
    )

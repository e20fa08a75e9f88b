"""Made-up sentences never run out, are never said twice, and the two sides share no five words in a row."""

from collections import Counter

import pytest

from curation.demo.sentences import Sentences, runs_of
from curation.demo.speech import synthesise

CONSONANTS = "p b t d k ɡ f v θ ð s z ʃ ʒ h tʃ dʒ m n ŋ l ɹ w j "
VOWELS = "iː ɪ ɛ æ ɑː ʌ ɔː ʊ uː ɚ ɜː eɪ aɪ ɔɪ aʊ oʊ ə"
MANY = 1500  # of the heard side: nearly two hours of video


@pytest.fixture(scope="module")
def sides() -> tuple[list[str], list[str]]:
    """Heard and unheard sentences, drawn in turns as a pool draws them."""
    sentences = Sentences(seed=4)
    heard, unheard = [], []
    for index in range(MANY):
        heard.append(sentences.heard())
        if index % 8 == 0:
            unheard.append(sentences.unheard())
    return heard, unheard


def test_the_same_seed_says_the_same_and_another_something_else() -> None:
    def said(seed: int) -> list[str]:
        sentences = Sentences(seed)
        return [sentences.heard() if n % 3 else sentences.unheard() for n in range(30)]

    assert said(1) == said(1)
    assert not set(said(1)) & set(said(2))


def test_no_sentence_is_said_twice_on_either_side(sides: tuple[list[str], list[str]]) -> None:
    heard, unheard = sides
    assert len({*heard, *unheard}) == len(heard) + len(unheard)


def test_the_sides_share_no_five_words_in_a_row(sides: tuple[list[str], list[str]]) -> None:
    def fives(texts: list[str]) -> set[str]:
        words = [text.lower().replace(",", "").rstrip(".?").split() for text in texts]
        return {" ".join(line[k : k + 5]) for line in words for k in range(len(line) - 4)}

    heard, unheard = map(fives, sides)
    assert len(unheard) > 1000
    assert not heard & unheard


def test_a_run_is_five_words_without_signs_and_capitals() -> None:
    assert list(runs_of("We saw two, no: THREE owls.")) == [
        ("we", "saw", "two", "no", "three"),
        ("saw", "two", "no", "three", "owls"),
    ]
    assert not list(runs_of("Only four words here."))


def test_sentences_have_40_to_140_letters_and_look_like_sentences(sides: tuple[list[str], list[str]]) -> None:
    for sentence in (*sides[0], *sides[1]):
        assert 40 <= len(sentence) <= 140
        assert sentence[0].isupper()
        assert sentence[-1] in ".?"
        assert not set(sentence) & set("{}_"), "every slot is filled"


def test_the_words_are_many(sides: tuple[list[str], list[str]]) -> None:
    words = Counter(word for text in sides[0] for word in text.lower().replace(",", "").rstrip(".?").split())
    assert len(words) > 400
    assert min(words[word] for word in list(words)[:300]) >= 2


def test_every_english_phoneme_is_heard_in_five_minutes() -> None:
    """The 24 consonants and the vowels of American English, in eSpeak NG's spelling of them."""
    pytest.importorskip("espeakng_loader", reason="eSpeak NG (espeakng_loader) is not installed")
    sentences = Sentences()
    ipa = Counter(
        phoneme.ipa for _ in range(60) for phoneme in synthesise(sentences.heard(), "en-us").phonemes if phoneme.ipa
    )
    assert not {sound for sound in (CONSONANTS + VOWELS).split() if not ipa[sound]}
    assert min(ipa[sound] for sound in CONSONANTS.split()) >= 5

"""Made-up English sentences are drawn from a small grammar, as many as are wanted, on two sides that share nothing.

A model that learns from the *heard* side is asked to speak the *unheard* one: no sentence stands on both sides, and no
five words in a row do. The words were chosen so that every English phoneme comes often (the tests count them).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

SHORTEST, LONGEST = 40, 140  #: letters of a sentence, with blanks and signs
RUN = 5  #: words in a row that never stand on both sides

_DRAWS_AT_MOST = 2000  # of one sentence; a side of ten thousand sentences needs five at the most

# Every slot of a template is drawn on its own; a word stands at most once in a sentence. Fixed parts have three words
# at most in a row, so that a run of five always holds words that were drawn.
_TEMPLATES = (
    "{who} {did} the {adjective} {thing} {near} the {place} {when}.",
    "{when}, {who} {did} the {thing} and {did} the {adjective} {thing}.",
    "{when} we saw {number} {animals} {near} the {adjective} {place}.",
    "did {who} {do} the {adjective} {thing} {near} the {place}?",
    "if you {do} the {thing}, {who} will {do} the {adjective} {thing} {later}.",
    "this {adjective} {thing} costs {number} {money}, but the {adjective} one is {judged}.",
    "they {how} {did} {number} {things} {near} the {place}, because {who} wanted {food}.",
    "{who} says that the {adjective} {place} is {judged} when the {weather}.",
    "please {do} your {thing} {near} the {place}, and bring {food} {later}.",
    "{who} should {do} the {adjective} {thing} before the {weather}.",
    "while the {adjective} {animal} slept {near} the {place}, {who} {how} {did} the {thing}.",
    "our {adjective} {animal} eats {food}, and {who} drinks {drink} {near} the {place}.",
    "{number} {animals} and {number} {things} were {near} the {place} {when}.",
    "why would {who} {do} the {thing} for {number} {money}?",
    "you can {how} {do} the {adjective} {thing} with {number} {things}.",
    "{who} and {who} shared {food} and {drink} {near} the {adjective} {place}.",
)
# A low line stands for a blank.
_LISTS = {
    "adjective": (
        "yellow heavy golden broken quiet purple wooden tiny famous dusty frozen shiny ancient empty huge gentle "
        "hollow narrow orange strange lovely cheap smooth thick blue white green noisy royal pure beautiful common "
        "fresh brown joyful rough soft wide young ugly large peaceful azure beige"
    ),
    "animal": (
        "fox horse rabbit whale thrush giraffe zebra puppy owl mouse beaver goose camel python monkey sheep wolf "
        "parrot cow pigeon hedgehog otter bear moth"
    ),
    "animals": (
        "foxes horses rabbits whales giraffes zebras puppies owls beavers camels monkeys wolves parrots cows "
        "pigeons hedgehogs bears moths"
    ),
    "did": (
        "bought painted found borrowed carried pushed repaired washed moved measured opened wrapped dropped sold "
        "chose hid brought enjoyed polished covered watched joined thought_about voted_for shook"
    ),
    "do": (
        "buy paint find borrow carry push repair wash throw measure open wrap drop move sell choose hide enjoy "
        "polish cover forget watch join catch shave use"
    ),
    "drink": "apple_juice hot_chocolate cold_milk black_coffee lemon_water ginger_tea root_beer",
    "food": (
        "cheese soup chocolate warm_bread apple_pie sausages honey peaches popcorn vegetables butter yogurt beef "
        "noodles fish rice cherries boiled_eggs mashed_potatoes onions garlic thin_pancakes"
    ),
    "how": (
        "slowly quickly carefully cheerfully loudly quietly happily boldly often usually proudly smoothly never "
        "thoughtfully finally"
    ),
    "judged": (
        "far_too_heavy much_nicer a_bad_choice a_great_pleasure hard_to_find worth_the_trouble quite_unusual "
        "much_too_small very_good a_huge_surprise just_right above_average rather_boring half_as_good"
    ),
    "later": (
        "tomorrow next_Wednesday on_Friday in_March very_soon by_Thursday after_dinner at_eight next_week in_June "
        "without_delay before_noon"
    ),
    "money": "dollars euros pounds pesos coins rubles",
    "near": "near behind beside outside beyond opposite past under above below inside",
    "number": (
        "two three four five six seven nine ten eleven twelve fifteen twenty thirty forty eighty ninety a_hundred "
        "a_thousand"
    ),
    "place": (
        "mountain village kitchen bathroom river harbor bridge forest market church garage garden station house "
        "valley museum theater island office path beach farm library town castle hotel square field cave "
        "playground south_wall zoo power_plant"
    ),
    "thing": (
        "umbrella bicycle jacket violin mushroom feather treasure television kettle pillow window ladder basket "
        "camera teapot hammer mirror guitar suitcase candle blanket bottle boot coin toy watch book map chair "
        "spoon box puzzle vase wheel thermometer shovel lamp phone pencil journal rope cheese_knife bathtub engine"
    ),
    "things": (
        "umbrellas jackets violins mushrooms feathers pillows ladders baskets mirrors candles bottles boots toys "
        "books maps chairs spoons boxes puzzles wheels shovels envelopes oil_lamps clothes"
    ),
    "weather": (
        "sun_shines wind_blows fog_is_thick snow_falls bells_ring tide_is_low leaves_turn_brown birds_sing "
        "moon_comes_up thunder_rolls clouds_vanish music_begins"
    ),
    "when": (
        "yesterday this_morning last_Thursday before_breakfast after_lunch on_Monday in_July at_noon years_ago "
        "that_evening in_the_fog two_months_ago on_my_birthday long_ago"
    ),
    "who": (
        "the_teacher the_fisherman the_baker the_judge the_pilot the_doctor the_painter my_neighbor the_violinist "
        "the_gardener the_shepherd the_mayor the_plumber the_chef a_butcher my_nurse the_author a_sailor "
        "the_driver a_magician my_mother my_brother your_uncle our_cousin his_grandfather her_nephew my_husband "
        "your_daughter the_boss her_aunt George Yvonne Beth Joy Charlotte Hugh Vincent Wendy Zoe Thelma Peggy Bob "
        "Maya Fabio Shawn Ruth everybody somebody the_tall_boy the_girl"
    ),
}
_WORDS = {slot: tuple(words.split()) for slot, words in _LISTS.items()}
_SLOT = re.compile(r"\{(\w+)\}")


class Sentences:
    """Draws sentences, each of 40 to 140 letters and never the same one twice.

    All follows from the seed and the order in which the two sides are asked.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a game of words, no secret
        self._said: set[str] = set()
        self._runs: dict[bool, set[tuple[str, ...]]] = {True: set(), False: set()}

    def heard(self) -> str:
        """Draw the next sentence of the heard side."""
        return self._draw(heard=True)

    def unheard(self) -> str:
        """Draw the next sentence of the unheard side."""
        return self._draw(heard=False)

    def _draw(self, heard: bool) -> str:
        for _ in range(_DRAWS_AT_MOST):
            sentence = self._any_sentence()
            runs = set(runs_of(sentence))
            fits = SHORTEST <= len(sentence) <= LONGEST and sentence not in self._said
            if fits and not runs & self._runs[not heard]:
                self._said.add(sentence)
                self._runs[heard] |= runs
                return sentence
        raise ValueError(f"the grammar has no new sentence after {len(self._said)}; take another seed")

    def _any_sentence(self) -> str:
        drawn: set[str] = set()

        def word(slot: re.Match[str]) -> str:
            left = [word for word in _WORDS[slot.group(1)] if word not in drawn]
            chosen = self._random.choice(left)
            drawn.add(chosen)
            return chosen.replace("_", " ")

        sentence = _SLOT.sub(word, self._random.choice(_TEMPLATES))
        return sentence[0].upper() + sentence[1:]


def runs_of(text: str) -> Iterator[tuple[str, ...]]:
    """Yield every five words in a row of a text, in small letters and without signs."""
    words = re.findall(r"[a-z']+", text.lower())
    return zip(*(words[start:] for start in range(RUN)), strict=False)

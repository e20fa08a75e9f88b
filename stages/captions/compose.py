"""Facts become plain English sentences and the structured caption, which say nothing that is not among the facts."""

from __future__ import annotations

from stages.captions.facts import Facts
from stages.captions.structure import StructuralCaption, Subject

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
SHOTS = {"close_up": "close-up", "half_body": "half-body shot", "full_body": "full-body shot"}
SHOT_TYPES = {"close_up": "close_up", "half_body": "medium_shot", "full_body": "full_shot"}
FACING = {
    "front": "facing the camera",
    "slightly aside": "turned slightly to the side",
    "side": "seen from the side",
}
SHOT_POSITIONS = {"front": "front_view", "slightly aside": "three_quarter_view", "side": "side_view"}
PLACES = {"left": "on the left", "centre": "centred", "right": "on the right"}
LIGHTS = {"dark": "dark picture", "dim": "dim lighting", "even": "even lighting", "bright": "bright lighting"}
CAMERAS = {"static": "static camera", "moving": "moving camera"}


def sentence(facts: Facts) -> str:
    """Write ``A half-body shot of one person facing the camera, centred, speaking; static camera, bright lighting.``"""
    shot = SHOTS.get(facts.framing or "", "shot")
    main = [f"A {shot} {_persons(facts.persons)}{_facing(facts)}", *_place(facts), *_action(facts)]
    around = [CAMERAS.get(facts.camera or "", ""), LIGHTS.get(facts.light or "", "")]
    said = ", ".join(part for part in around if part)
    return ", ".join(main) + (f"; {said}." if said else ".")


def structural(facts: Facts) -> StructuralCaption:
    """Write the facts under SkyCaptioner-V1's keys."""
    subjects = tuple(_subject(facts, main=i == 0) for i in range(facts.persons))
    return StructuralCaption(
        subjects=subjects,
        shot_type=SHOT_TYPES.get(facts.framing or "", ""),
        shot_position=SHOT_POSITIONS.get(facts.facing or "", ""),
        camera_motion=facts.camera or "",
        lighting=LIGHTS.get(facts.light or "", ""),
    )


def _subject(facts: Facts, main: bool) -> Subject:
    if not main:
        return Subject(type="Human")
    position = ", ".join(_place(facts)) if facts.persons == 1 else PLACES.get(facts.place or "", "")
    return Subject(type="Human", action=", ".join(_doing(facts)), position=position, is_main_subject=True)


def _persons(count: int) -> str:
    if count == 0:
        return "without a recognised person"
    number = NUMBERS[count] if count < len(NUMBERS) else "several"
    return f"of {number} person" if count == 1 else f"of {number} people"


def _facing(facts: Facts) -> str:
    return f" {FACING[facts.facing]}" if facts.persons == 1 and facts.facing else ""


def _place(facts: Facts) -> list[str]:
    return [PLACES[facts.place]] if facts.persons == 1 and facts.place else []


def _doing(facts: Facts) -> list[str]:
    """Say what the only person does."""
    doing = ["speaking"] if facts.speaking else []
    return doing + (["moving about"] if facts.persons == 1 and facts.lively else [])


def _action(facts: Facts) -> list[str]:
    """Say what the only person does, or that there is a voice whose speaker is not known."""
    heard = ["with a voice on the sound track"] if facts.voice and not facts.speaking else []
    return _doing(facts) + heard

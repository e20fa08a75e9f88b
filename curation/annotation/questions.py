"""What an annotator is asked: one question per stage, and fixed lists of reasons, so that answers can be counted.

The question is the same for kept and for dropped clips, and ``good`` always means that the clip is good on that
question: an annotator need not know which side a clip comes from. A kept clip judged bad is a bad case; a dropped clip
judged good is a false drop, and the reasons that are offered for it say how the stage may have been misled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from catalogs.errors import UserError
from curation.annotation.records import Mode, Side, Verdict


class Reason(NamedTuple):
    """``key`` is stored in answers and never changes its meaning; ``label`` is what the page shows."""

    key: str
    label: str


@dataclass(frozen=True)
class Question:
    """What the page asks of every clip of a lot, and the reasons that it offers for each verdict.

    A verdict without reasons needs none: that a kept clip is good was expected.
    """

    text: str
    reasons: Mapping[Verdict, tuple[Reason, ...]]

    @property
    def all_reasons(self) -> tuple[Reason, ...]:
        """Every reason once."""
        return tuple(dict.fromkeys(reason for reasons in self.reasons.values() for reason in reasons))


class Axis(NamedTuple):
    """One thing that is scored: ``label`` asks for it in mode ``scale``, where ``levels`` say what 0, 1 and 2 mean;
    ``pair_label`` asks which of two clips is better in it."""

    key: str
    label: str
    levels: tuple[str, str, str]
    pair_label: str

    def asked(self, mode: Mode) -> str:
        """The question in this mode."""
        return self.pair_label if mode == "pair" else self.label


#: What user studies score (modes ``scale``: 0, 1, 2 per clip; ``pair``: -1, 0, 1 for which of two is better).
AXES = (
    Axis(
        "av_consistency",
        "Do sound and lips belong together?",
        ("not at all", "partly", "fully"),
        "In which do sound and lips belong together better?",
    ),
    Axis("visual_quality", "How good is the picture?", ("poor", "fair", "good"), "Which has the better picture?"),
)

#: What an axis may be given, from worst to best.
LEVELS: Mapping[Mode, tuple[int, ...]] = {"verdict": (), "scale": (0, 1, 2), "pair": (-1, 0, 1)}

_OTHER = Reason("other", "something else (say it in the note)")
_UNUSABLE = Reason("unusable", "cannot be judged: broken picture or sound")
_BORDERLINE = Reason("borderline", "good, but only just")
_IN_BETWEEN = Reason("in_between", "neither clearly good nor clearly bad")

#: stage -> question, reasons why a clip is bad, reasons why a stage may have dropped a good one.
_STAGES: dict[str, tuple[str, tuple[Reason, ...], tuple[Reason, ...]]] = {
    "scene_split": (
        "Is this one unbroken shot, with nothing of a neighbouring shot at either end?",
        (
            Reason("hard_cut", "a hard cut inside"),
            Reason("dissolve", "a dissolve or fade inside"),
            Reason("stray_frames", "frames of another shot at an end"),
            Reason("no_motion", "a still or a slide"),
            Reason("cut_mid_word", "begins or ends in the middle of a word"),
        ),
        (
            Reason("flash", "a flash or a quick move taken for a cut"),
            Reason("useful_length", "length is fine for training"),
        ),
    ),
    "person_count": (
        "Is exactly one person in the picture, throughout?",
        (
            Reason("more_persons", "more than one person"),
            Reason("no_person", "no person"),
            Reason("background_persons", "people in the background"),
            Reason("leaves", "the person leaves the picture"),
            Reason("not_real", "a drawing, puppet, statue or picture of a person"),
        ),
        (
            Reason("object_counted", "an object was counted as a person"),
            Reason("reflection", "a reflection or a picture was counted"),
            Reason("counted_twice", "the same person was counted twice"),
        ),
    ),
    "face_count": (
        "Is there exactly one face: clear, large enough, towards the camera, the same person throughout?",
        (
            Reason("more_faces", "more than one face"),
            Reason("no_face", "no face, or only for part of the clip"),
            Reason("too_small", "too small to see the lips"),
            Reason("turned_away", "turned too far away"),
            Reason("covered", "mouth or face covered"),
            Reason("other_person", "the person changes"),
            Reason("not_real", "a drawing, mask or picture of a face"),
        ),
        (
            Reason("picture_counted", "a picture, print or reflection was counted"),
            Reason("face_missed", "the face was not found though it is clear"),
            Reason("turn_misread", "the turn of the head was misread"),
            Reason("identity_misread", "the same person was taken for another"),
        ),
    ),
    "head_body": (
        "Is the framing that of a talking portrait: head and shoulders to half body, nothing important cut off?",
        (
            Reason("too_close", "too close: chin, mouth or forehead cut off"),
            Reason("too_far", "too far away"),
            Reason("body_hidden", "body hidden or cut off oddly"),
            Reason("framing_changes", "the framing changes within the clip"),
        ),
        (Reason("pose_misread", "the body was misread"),),
    ),
    "video_quality": (
        "Is the picture good enough to train on?",
        (
            Reason("blurred", "blurred or out of focus"),
            Reason("compressed", "blocks or other coding damage"),
            Reason("noisy", "noise or grain"),
            Reason("light", "too dark, too bright or flickering"),
            Reason("overlay", "text, logo or subtitles over the picture"),
            Reason("bars", "black bars or a frame around the picture"),
            Reason("shaky", "shaky camera"),
            Reason("still", "a still picture"),
        ),
        (
            Reason("soft_background", "a soft background taken for blur"),
            Reason("dark_on_purpose", "a dark scene that is well lit"),
        ),
    ),
    "language": (
        "Does somebody speak for a good part of the clip, in the language shown?",
        (
            Reason("no_speech", "no speech"),
            Reason("little_speech", "too little speech"),
            Reason("singing", "singing, not speaking"),
            Reason("wrong_language", "another language"),
            Reason("mixed_languages", "several languages"),
        ),
        (
            Reason("speech_missed", "there is speech that was not heard"),
            Reason("language_misheard", "the language was misheard"),
        ),
    ),
    "audio_quality": (
        "Is the voice clean enough to train on?",
        (
            Reason("noise", "noise or hum"),
            Reason("echo", "echo or a far microphone"),
            Reason("distorted", "clipped or distorted"),
            Reason("muffled", "muffled: telephone or heavy compression"),
            Reason("music", "music under the voice"),
            Reason("drop_outs", "gaps or clicks"),
        ),
        (
            Reason("quiet_voice", "a quiet but clean voice"),
            Reason("pauses", "pauses taken for damage"),
        ),
    ),
    "speakers": (
        "Is there one voice only, well in front of whatever plays behind it?",
        (
            Reason("second_voice", "a second voice"),
            Reason("overlap", "voices at once"),
            Reason("off_screen_voice", "the voice of somebody who is not in the picture"),
            Reason("loud_music", "loud music or sound behind the voice"),
            Reason("applause", "laughter or applause"),
        ),
        (
            Reason("one_voice_split", "one voice was taken for two"),
            Reason("sound_counted", "a sound was taken for a voice"),
        ),
    ),
    "sync": (
        "Do the lips move in time with this voice?",
        (
            Reason("sound_late", "the sound is late"),
            Reason("sound_early", "the sound is early"),
            Reason("other_voice", "another voice: dubbed or voice-over"),
            Reason("off_screen_voice", "somebody off screen speaks"),
            Reason("lips_hidden", "the lips cannot be seen"),
            Reason("not_talking", "the mouth does not talk"),
            Reason("singing", "singing or playback"),
        ),
        (
            Reason("other_face", "another face was measured"),
            Reason("quick_motion", "quick motion of the head"),
            Reason("noise_misled", "music or noise behind a voice that is in time"),
        ),
    ),
    "caption": (
        "Does the caption say what is seen and heard, and nothing else?",
        (
            Reason("invented", "something invented"),
            Reason("missing", "something important is missing"),
            Reason("wrong_person", "person, clothes or age are wrong"),
            Reason("wrong_action", "action or expression is wrong"),
            Reason("wrong_shot", "shot, light or camera is wrong"),
            Reason("bad_language", "not well-formed text"),
        ),
        (),
    ),
}
_GENERIC = ("Does this clip belong in the training set, as far as {stage} is concerned?", (), ())


def question(stage: str, side: Side) -> Question:
    """The question of a stage; a general one for a stage without its own."""
    text, bad, misled = _STAGES.get(stage, _GENERIC)
    reasons: dict[Verdict, tuple[Reason, ...]] = {
        "good": (*misled, _BORDERLINE, _OTHER) if side == "dropped" else (),
        "bad": (*bad, _UNUSABLE, _OTHER),
        "unsure": (_IN_BETWEEN, _UNUSABLE, _OTHER),
    }
    return Question(text.format(stage=stage), reasons)


def check_reasons(stage: str, side: Side, reasons: tuple[str, ...]) -> tuple[str, ...]:
    """The reasons as given. Raises UserError for one that is on none of the stage's lists."""
    known = [reason.key for reason in question(stage, side).all_reasons]
    for reason in reasons:
        if reason not in known:
            raise UserError(f"unknown reason {reason!r} for a {side} lot of {stage}; known: {', '.join(known)}")
    return reasons

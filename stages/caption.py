"""This stage writes a caption from measured attributes, and the same facts under SkyCaptioner-V1's keys.

The lite captioner measures persons, faces and framing (finds shared with those stages), the main person's place and
facing, whether a voice is heard while the mouth moves, the camera's motion and the light, and puts them into one or
two plain sentences. Age, sex, clothes, place and mood are not measured and so are never mentioned; an attribute that
could not be measured is left out of the sentence and empty in the structure. ``caption_model`` tells such captions
from a vision-language model's. The thresholds of the words are in stages/captions/facts.py.

The reference captioner is SkyCaptioner-V1 (stages/captions/skycaptioner.py), in the worker's process or behind a server
(`vllm serve`), to which each worker gives up to ``concurrency`` clips at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalogs.media import ClipMedia
from stages.base import Backend, Resources, Stage
from stages.captions.compose import sentence, structural
from stages.captions.config import SkyCaptionerConfig
from stages.captions.facts import FactRules, Facts, camera, facing, light, lively, mouth_moves, place
from stages.captions.row import COLUMNS, MODEL, CaptionMeasurement
from stages.declared import Question
from stages.face_count import DETECTOR, MESH, FaceFinder
from stages.head_body import (
    POSE_DETECTOR,
    POSE_LANDMARKS,
    Body,
    BodyFinder,
    HeadBodyConfig,
    View,
    framing,
)
from stages.person_count import DETECTOR as PERSON_DETECTOR
from stages.person_count import PersonCountConfig, PersonFinder, counted, steady_max
from weights import registry

VOICE = "silero_vad"


@dataclass(frozen=True)
class CaptionConfig(FactRules):
    """Says at which numbers a fact gets one word or the next."""


class ComposedScorer:
    """Measures the facts and writes them down; facts whose optional weights are missing are left out."""

    def __init__(self, config: CaptionConfig) -> None:
        from stages.speech.voice_activity import VoiceDetector

        self._config = config
        self._persons, self._faces, self._bodies = PersonFinder(), FaceFinder(), BodyFinder()
        voices = registry.find(VOICE)
        self._voices = VoiceDetector(voices) if voices else None

    def score(self, clip: ClipMedia) -> CaptionMeasurement:
        """Caption a clip; raise ClipError if pictures or sound do not decode."""
        facts = self.facts(clip)
        return CaptionMeasurement(
            caption=sentence(facts), caption_structural=structural(facts).to_json(), caption_model=MODEL
        )

    def facts(self, clip: ClipMedia) -> Facts:
        """Measure what is known about the clip."""
        from stages.captions.motion import camera_shifts

        rules, rgb = self._config, clip.sample().rgb
        faces, bodies, persons = self._faces.find(clip), self._bodies.find(clip), self._persons.find(clip)
        counting = PersonCountConfig()
        shown = [counted(picture, counting.min_relative_height) for picture in persons]
        head_body = HeadBodyConfig()
        views = [View.of(body, rgb.shape[1:3], head_body) for body in bodies]
        return Facts(
            persons=max(
                steady_max([len(picture) for picture in shown], counting.min_pictures),
                steady_max([len(picture) for picture in faces.pictures], counting.min_pictures),
            ),
            framing=framing(views, head_body) if views else None,
            facing=facing(faces, rules),
            place=place([_outline(body) for body in bodies], rgb.shape[2], rules),
            voice=self._voice(clip),
            mouth_moves=mouth_moves(faces, rules),
            lively=lively(faces, rules),
            camera=camera(camera_shifts(rgb, [picture.boxes for picture in persons]), rules),
            light=light(rgb, rules),
        )

    def _voice(self, clip: ClipMedia) -> bool | None:
        """Say whether speech is heard; None if there is no sound or no model to find speech."""
        from stages.speech.voice_activity import voice_activity

        activity = voice_activity(clip, self._voices) if self._voices else None
        return None if activity is None else activity.speech_ratio >= self._config.voiced


def _outline(body: Body) -> np.ndarray:
    """Return the box of the person: the face if there is one.

    A raised arm would widen the box of the body.
    """
    box = body.face.box if body.face is not None else body.box
    assert box is not None  # a Body has at least one of them
    return box


STAGE: Stage = Stage(
    name="caption",
    summary="a caption and its structure: composed from measured attributes, or SkyCaptioner-V1's",
    columns=COLUMNS,
    config=CaptionConfig,
    backends={
        "lite": Backend(
            name=MODEL,
            scorer="stages.caption:ComposedScorer",
            weights=(PERSON_DETECTOR, DETECTOR),
            # Without these the caption says less, but there is one.
            optional_weights={MESH: (), POSE_DETECTOR: (), POSE_LANDMARKS: (), VOICE: ()},
            cost="22 core-seconds per hour after the picture stages, whose finds it shares",
        ),
        "reference": Backend(
            name="skycaptioner_v1",
            scorer="stages.captions.skycaptioner:SkyCaptionerScorer",
            packages=("httpx", "transformers"),
            config=SkyCaptionerConfig,
            resources=Resources(cpus=0.25, memory_gb=1.5),
            check="stages.captions.skycaptioner:check",
        ),
    },
    # Dense for the reference captioner, whose pictures reach from the first frame to the last.
    views=frozenset({"sample", "dense", "sound"}),
    resources=Resources(memory_gb=1.5),
    question=Question(
        text="Does the caption say what is seen and heard, and nothing else?",
        bad={
            "invented": "something invented",
            "missing": "something important is missing",
            "wrong_person": "person, clothes or age are wrong",
            "wrong_action": "action or expression is wrong",
            "wrong_shot": "shot, light or camera is wrong",
            "bad_language": "not well-formed text",
        },
    ),
)


if __name__ == "__main__":  # python -m stages.caption: the program, so it may know the runner
    from funnel.stage import stage_main

    stage_main(STAGE.name)

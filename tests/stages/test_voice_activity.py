import numpy as np
import pytest

from stages.speech.voice_activity import RATE, STEP, SpanRule, VoiceActivity, VoiceDetector, spans, voice_activity
from tests.support.sounds import clip_of_file, clip_of_sound, noise, tone
from weights import registry

ENTER, BETWEEN, LEAVE = 0.9, 0.4, 0.1


@pytest.fixture(scope="module")
def detector():
    return VoiceDetector(registry.require("silero_vad"))


def probabilities(*runs):
    """Probabilities of (value, steps) runs, float32 [T]."""
    return np.concatenate([np.full(steps, value, np.float32) for value, steps in runs])


def spans_in_steps(values):
    return spans(values, len(values) * STEP, SpanRule(pad_s=0)) * RATE / STEP


def test_speech_begins_above_the_upper_threshold_and_ends_below_the_lower_one():
    values = probabilities((LEAVE, 5), (ENTER, 10), (BETWEEN, 10), (LEAVE, 10), (BETWEEN, 5))
    np.testing.assert_allclose(spans_in_steps(values), [[5, 25]])


def test_a_short_pause_does_not_end_speech():
    values = probabilities((ENTER, 10), (LEAVE, 2), (ENTER, 10), (LEAVE, 10))
    np.testing.assert_allclose(spans_in_steps(values), [[0, 22]])


def test_a_short_burst_is_not_speech():
    assert len(spans_in_steps(probabilities((LEAVE, 5), (ENTER, 5), (LEAVE, 10)))) == 0


def test_speech_that_lasts_to_the_end_ends_with_the_sound():
    values = probabilities((LEAVE, 5), (ENTER, 20))
    found = spans(values, 25 * STEP - 100, SpanRule())
    assert found[0, 1] == pytest.approx((25 * STEP - 100) / RATE)


def test_padding_stays_inside_the_sound_and_does_not_overlap_the_neighbour():
    values = probabilities((ENTER, 10), (LEAVE, 5), (ENTER, 10))
    (first, second) = spans(values, len(values) * STEP, SpanRule(pad_s=0.2))
    assert first[0] == 0
    assert first[1] == second[0]
    assert second[1] == len(values) * STEP / RATE


def test_the_mask_covers_the_spans():
    activity = VoiceActivity(np.asarray([[0.5, 1.0], [1.5, 3.0]]), np.zeros(0, np.float32), 2.0)
    assert activity.mask(20, 10).tolist() == [False] * 5 + [True] * 5 + [False] * 5 + [True] * 5


@pytest.mark.parametrize(
    "sound",
    [np.zeros(32_000, np.float32), noise(2), tone(2), np.zeros(0, np.float32)],
    ids=["silence", "noise", "tone", "nothing"],
)
def test_nobody_speaks_in(detector, sound):
    activity = detector.detect(sound)
    assert activity.speech_s == 0
    assert activity.speech_ratio == 0


def test_a_clip_without_sound_has_no_activity(detector):
    assert voice_activity(clip_of_sound(None), detector) is None


def test_stages_share_one_detection(detector):
    clip = clip_of_sound(noise(1))
    assert voice_activity(clip, detector) is voice_activity(clip, VoiceDetector(registry.require("silero_vad")))


@pytest.mark.filterwarnings("ignore:This model support only 16000")
@pytest.mark.parametrize("name", ["jfk.flac", "librispeech_2033.flac", "rhino_ooc_de.wav"])
def test_spans_equal_those_of_the_silero_package(detector, media, name):
    silero_vad = pytest.importorskip("silero_vad")
    speech = clip_of_file(media / "audio" / name).speech
    reference = silero_vad.get_speech_timestamps(speech, silero_vad.load_silero_vad(onnx=True, opset_version=15))
    expected = [[span["start"] / RATE, span["end"] / RATE] for span in reference]
    np.testing.assert_allclose(detector.detect(speech).spans_s, expected, atol=1e-3)

"""What decodes from rendered files is what the truth says."""

from itertools import pairwise

import av
import numpy as np
import pytest
from scipy.signal import correlate

from curation.demo.compose import render
from curation.demo.scenes import Studio
from curation.demo.soundtrack import SAMPLE_RATE, shot_voice, soundtrack
from curation.demo.spec import Line, Shot, SourceSpec

LINE = Line("Bob may buy a map, and everybody saw the big brown boat.", "en-us+f3")
OTHER = Line("The committee approved seventeen changes on Thursday.", "en-us+m3")
SMALL = {"width": 320, "height": 240}


@pytest.fixture(scope="module")
def studio():
    return Studio()


def decoded_frames(path):
    with av.open(str(path)) as container:
        return [(float(f.pts * f.time_base), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def decoded_sound(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    assert float(frames[0].pts * frames[0].time_base) == 0.0
    return np.concatenate([f.to_ndarray()[0] for f in frames])


def delay_s(sound, reference):
    """Measure how much later ``sound`` is than ``reference``, in seconds."""
    n = min(len(sound), len(reference))
    curve = correlate(sound[:n], reference[:n], mode="full", method="fft")
    return (int(np.argmax(curve)) - (n - 1)) / SAMPLE_RATE


@pytest.mark.parametrize("fps", [24, 25, 30])
def test_picture_and_sound_begin_at_zero_and_last_as_long(tmp_path, studio, fps):
    truth = render(SourceSpec("talk", (Shot(2.0, (LINE,)),), fps=fps, **SMALL), tmp_path / "talk.mp4", studio)
    frames = decoded_frames(tmp_path / "talk.mp4")
    assert truth.n_frames == len(frames) == 2 * fps
    assert [t for t, _ in frames] == pytest.approx(np.arange(2 * fps) / fps, abs=1e-4)
    assert len(decoded_sound(tmp_path / "talk.mp4")) == pytest.approx(2.0 * SAMPLE_RATE, abs=1024)


@pytest.mark.parametrize("offset", [-10, -3, 0, 5, 12])
def test_the_sound_is_off_by_what_the_truth_says_within_five_milliseconds(tmp_path, studio, offset):
    spec = SourceSpec("talk", (Shot(4.0, (LINE,)),), offset_frames=offset, **SMALL)
    truth = render(spec, tmp_path / "talk.mp4", studio)
    in_sync = SourceSpec("talk", spec.shots, **SMALL)
    reference = soundtrack(in_sync, tuple(shot_voice(shot) for shot in spec.shots))
    assert truth.offset_frames == offset
    assert delay_s(decoded_sound(tmp_path / "talk.mp4"), reference) == pytest.approx(offset / 25, abs=0.005)


def test_shifted_sound_goes_on_to_both_ends(studio):
    for offset in (-10, 10):
        spec = SourceSpec("talk", (Shot(4.0, (LINE,)),), offset_frames=offset)
        sound = soundtrack(spec, tuple(shot_voice(shot) for shot in spec.shots))
        for end in (sound[: SAMPLE_RATE // 2], sound[-SAMPLE_RATE // 2 :]):
            assert np.sqrt(np.mean(end**2)) > 0.02


def test_the_same_spec_gives_the_same_truth_and_the_same_frames(tmp_path):
    spec = SourceSpec("talk", (Shot(1.0, (LINE,), seed=5),), **SMALL)
    first, again = (render(spec, tmp_path / f"{name}.mp4") for name in ("a", "b"))
    assert (first.cuts, first.n_frames, first.speakers) == (again.cuts, again.n_frames, again.speakers)
    for (_, a), (_, b) in zip(decoded_frames(tmp_path / "a.mp4"), decoded_frames(tmp_path / "b.mp4"), strict=True):
        np.testing.assert_allclose(a.astype(int), b, atol=2)


def test_cuts_and_dissolves_are_where_the_truth_says(tmp_path, studio):
    shots = (Shot(1.0, subject="coffee"), Shot(8 / 25, subject="cat"), Shot(1.2, subject="rocket"), Shot(1.2))
    spec = SourceSpec("cuts", shots, ("cut", "cut", "dissolve"), sound=False, **SMALL)
    truth = render(spec, tmp_path / "cuts.mp4", studio)
    assert truth.cuts == (25, 33)
    assert truth.dissolves == ((51, 63),)
    assert truth.n_frames == 81
    frames = [frame.astype(int) for _, frame in decoded_frames(tmp_path / "cuts.mp4")]
    change = np.array([np.abs(b - a).mean() for a, b in pairwise(frames)])
    assert set(np.argsort(change)[-2:] + 1) == set(truth.cuts)
    assert change[50:62].min() > 2 * np.median(change[63:])


def test_two_persons_are_two_and_move_on_their_own(tmp_path, studio):
    shot = Shot(2.0, (LINE,), persons=2, second_lines=(OTHER,), seed=1)
    truth = render(SourceSpec("two", (shot,), **SMALL), tmp_path / "two.mp4", studio)
    assert (truth.person_count, truth.face_count, truth.speakers) == (2, 2, 2)
    frames = np.stack([frame for _, frame in decoded_frames(tmp_path / "two.mp4")]).astype(int)
    left, right = frames[:, :, :150], frames[:, :, -150:][:, :, ::-1]
    assert np.abs(left[0] - right[0]).mean() > 15
    motions = [np.abs(np.diff(side, axis=0)).mean(axis=(1, 2, 3)) for side in (left, right)]
    assert min(m.mean() for m in motions) > 0.1
    assert np.corrcoef(*motions)[0, 1] < 0.8


def test_a_still_source_repeats_one_frame_and_a_silent_one_has_no_sound_track(tmp_path, studio):
    spec = SourceSpec("still", (Shot(1.0, (LINE,)),), still=True, sound=False, **SMALL)
    truth = render(spec, tmp_path / "still.mp4", studio)
    frames = [frame.astype(int) for _, frame in decoded_frames(tmp_path / "still.mp4")]
    assert max(np.abs(frame - frames[0]).mean() for frame in frames) < 1.5
    with av.open(str(tmp_path / "still.mp4")) as container:
        assert not container.streams.audio
    assert (truth.sound, truth.speech, truth.language) == (False, False, "und")


def test_levels_of_music_noise_and_clipping_are_as_asked():
    def levels(**changes):
        spec = SourceSpec("x", (Shot(3.0),), **changes)
        sound = soundtrack(spec, tuple(shot_voice(shot) for shot in spec.shots))
        return 20 * np.log10(np.sqrt(np.mean(sound**2))), np.mean(np.abs(sound) >= 0.999)

    assert levels(music_db=-20)[0] == pytest.approx(-20, abs=0.5)
    assert levels(noise_db=-30)[0] == pytest.approx(-30, abs=0.5)
    assert levels()[0] < -60
    assert levels(music_db=-20, clip_gain_db=20)[1] > 0.05


def test_swapped_sound_says_other_words_than_the_lips():
    same, swapped = Shot(3.0, (LINE,)), Shot(3.0, (LINE,), heard=(OTHER,))
    assert shot_voice(same).visemes == shot_voice(swapped).visemes
    assert abs(np.corrcoef(shot_voice(same).samples, shot_voice(swapped).samples)[0, 1]) < 0.2


def test_hevc_can_be_written_too(tmp_path, studio):
    render(SourceSpec("hevc", (Shot(0.6),), codec="hevc", sound=False, **SMALL), tmp_path / "hevc.mp4", studio)
    with av.open(str(tmp_path / "hevc.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "hevc"
    assert len(decoded_frames(tmp_path / "hevc.mp4")) == 15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transitions": ("cut",)}, "1 shots need 0 transitions"),
        ({"codec": "vp9"}, "codec must be one of h264, hevc"),
        ({"offset_frames": 40}, "within ±25"),
        ({"width": 321}, "must be even"),
        ({"verdict": "drop"}, "a dropped source names one of"),
        ({"shots": ()}, "at least one shot"),
    ],
)
def test_an_impossible_spec_is_refused_with_a_reason(changes, message):
    with pytest.raises(ValueError, match=message):
        SourceSpec("x", **{"shots": (Shot(1.0),), **changes})

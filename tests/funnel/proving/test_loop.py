"""The funnel keeps a talking video with its own sound, and drops it with another's."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from scipy.signal import resample_poly

from curation.demo.scenes import Studio
from curation.demo.soundtrack import SAMPLE_RATE, shot_voice, soundtrack
from curation.demo.spec import Line, Shot, SourceSpec
from funnel.proving.loop import Generated, by_sound, judge, mean_confidence, write_loop_pool

TEXTS = (
    "My neighbor carefully wrapped eleven candles behind the church. Why would the pilot buy the umbrella?",
    "We saw two zebras past the yellow house, and George bought a hammer. The whale slept below the bridge.",
)


def test_each_video_is_written_with_both_sounds_and_large_enough(tmp_path: Path) -> None:
    tones = [np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000).astype(np.float32) / 2 for hertz in (300, 1200)]
    videos = [Generated(f"v{n}", np.full((25, 96, 96, 3), 90 * n + 60, np.uint8), 25, tones[n]) for n in (0, 1)]
    write_loop_pool(tmp_path, videos)

    def found(file: str) -> tuple[tuple[int, int], int, int]:
        with av.open(str(tmp_path / file)) as container:
            first = next(container.decode(video=0)).to_ndarray(format="rgb24")
        with av.open(str(tmp_path / file)) as container:
            samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])[:48_000]
        return (
            first.shape[:2],
            round(first.mean() / 10) * 10,
            round(int(np.abs(np.fft.rfft(samples)).argmax()) / 100) * 100,
        )

    assert found("own_sound/v0.mp4") == ((384, 384), 60, 300)
    assert found("own_sound/v1.mp4") == ((384, 384), 150, 1200)
    assert found("other_sound/v0.mp4") == ((384, 384), 60, 1200)
    assert found("other_sound/v1.mp4") == ((384, 384), 150, 300)
    with pytest.raises(ValueError, match="two videos"):
        write_loop_pool(tmp_path, videos[:1])


def talking(name: str, text: str, seed: int) -> Generated:
    """A perfect model's work: 5 s of the demo's portrait in the tiny world's size."""
    spec = SourceSpec(name, (Shot(5.0, (Line(text, "en-us", 150),), "close_up", seed=seed),), width=320, height=320)
    voice = shot_voice(spec.shots[0])
    frames = [cv2.resize(frame, (96, 96), interpolation=cv2.INTER_AREA) for frame in Studio().frames(spec, 0, voice)]
    sound = resample_poly(soundtrack(spec, (voice,)), 1, SAMPLE_RATE // 16_000)
    return Generated(name, np.stack(frames).astype(np.uint8), 25, sound.astype(np.float32))


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_face_that_speaks_is_kept_with_its_sound_and_dropped_with_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("espeakng_loader", reason="eSpeak NG (espeakng_loader) is not installed")
    pytest.importorskip("skimage", reason="the portrait's photo (scikit-image) is not installed")
    monkeypatch.delenv("FUNNEL_WEIGHTS", raising=False)  # what the packages ship is enough
    monkeypatch.setenv("FUNNEL_CACHE", str(tmp_path / "cache"))
    write_loop_pool(tmp_path / "pool", [talking(f"v{n}", text, n) for n, text in enumerate(TEXTS)])
    own, other = by_sound(judge(tmp_path / "pool", tmp_path / "catalog", workers=1))
    assert [clip.file for clip in own] == ["own_sound/v0.mp4", "own_sound/v1.mp4"]
    assert [(clip.verdict, clip.why, clip.face_count) for clip in own] == [("keep", "", 1)] * 2
    assert all(abs(clip.sync_offset_frames or 0) <= 1 for clip in own)
    assert [clip.file for clip in other] == ["other_sound/v0.mp4", "other_sound/v1.mp4"]
    assert {clip.why.split(":")[0] for clip in other} == {"sync"}
    assert not any(clip.kept for clip in other)
    assert mean_confidence(own) > mean_confidence(other)
    assert np.isnan(mean_confidence([]))

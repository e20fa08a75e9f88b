"""A clip's tensors, checked against what its file is known to hold: which picture, which sound, where the mouth is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from catalogs.media import ClipSpan, whole_clip
from curation.demo.motion import Pose
from curation.demo.portrait import Portrait, PortraitView
from model.audio import LogMelAudio
from model.codecs import LinearCodec
from model.codecs.codec import CodecShape
from model.image import ClipImage
from model.text import HashedText
from stages.vision.face_landmarks import MeshLandmarks
from tests.support.latent_models import tiny_clip
from tests.support.written_media import grey_ramp, write_video
from training.encode import ClipEncoder, NotEncodableError, decoded, video_of
from training.encode_config import EncodeConfig
from training.encoders import Encoders, described, load_encoder

RATE = 16_000
#: Every latent cell of BlockMeans is 8 x 8 pixels of four pictures; the first picture is alone.
CONFIG = EncodeConfig(height=64, width=96, crop="centre", window_frames=9, dtype="float32")


class BlockMeans:
    """A codec whose latents can be told in the head: the mean of each block, over its colours too."""

    name, digest, shape = "means", "m", CodecShape(1, 8, 4)

    def encode(self, video: Tensor) -> Tensor:
        assert video.dtype == torch.float32
        blocks = video.mean(1).unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).mean((3, 5))
        first, rest = blocks[:, :1], blocks[:, 1:]
        return torch.cat([first, rest.unflatten(1, (-1, 4)).mean(2)], 1)[:, None]

    def encode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        raise NotImplementedError

    def decode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def to(self, device: torch.device | str) -> BlockMeans:
        return self


class StillFace:
    """Finds the same face in every picture: 68 points around a centre, the nose's base above the mouth."""

    name, digest = "still", "s"

    def __init__(self, x: float = 48.0, y: float = 32.0, found: bool = True) -> None:
        points = np.tile(np.array([x, y], np.float32), (68, 1))
        points[3], points[8], points[13] = (x - 10, y), (x, y + 9), (x + 10, y)
        points[31:36, 1] = y - 5
        self._points = points if found else None

    def find(self, rgb: np.ndarray, every: int, max_unseen: float) -> np.ndarray | None:
        return None if self._points is None else np.repeat(self._points[None], len(rgb), 0)


def encoder(config: EncodeConfig = CONFIG, face: StillFace | None = None) -> ClipEncoder:
    return ClipEncoder(config, BlockMeans(), LogMelAudio(), HashedText(), face or StillFace())


def signed(level: float) -> float:
    return level / 127.5 - 1


def silence(seconds: float) -> np.ndarray:
    return np.zeros((1, round(seconds * RATE)), np.float32)


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> ClipSpan:
    """Four seconds at 25 a second; picture i has grey level 2 i + 10. A click at 0.8 s and one at 2.4 s."""
    sound = silence(4)
    for at in (0.8, 2.4):
        sound[0, round(at * RATE) : round(at * RATE) + 8] = 0.9
    path = write_video(tmp_path_factory.mktemp("ramp") / "ramp.mp4", grey_ramp(100), sound=sound)
    return whole_clip(path).span


def part(span: ClipSpan, first: int, last: int) -> ClipSpan:
    """Return pictures ``first`` to before ``last`` of the ramp."""
    step = (span.end_pts - span.start_pts) // 100
    return span._replace(
        start_s=first / 25,
        end_s=last / 25,
        start_pts=span.start_pts + first * step,
        end_pts=span.start_pts + last * step,
    )


def levels(video: Tensor) -> np.ndarray:
    """Return the grey level of each latent's upper left cell."""
    return (video[0, :, 0, 0].numpy() + 1) * 127.5


def test_latents_hold_the_pictures_of_their_moments(ramp: ClipSpan) -> None:
    made = encoder()
    tensors = made.encode(made.open(part(ramp, 10, 45)), "")
    frames = np.arange(10, 10 + 33)  # 35 pictures: 33 are 4 k + 1
    expected = [2 * frames[0] + 10, *(2 * frames[1:].reshape(8, 4) + 10).mean(1)]
    assert levels(tensors["video"]) == pytest.approx(np.array(expected), abs=1.5)


def test_a_clip_is_cut_after_the_most_pictures_and_at_a_whole_latent(ramp: ClipSpan) -> None:
    made = encoder(EncodeConfig(height=64, width=96, crop="centre", window_frames=9, max_frames=21, dtype="float32"))
    clip = made.open(ramp)
    assert clip.duration_s == pytest.approx(21 / 25 + 0.5), "nothing beyond it is decoded"
    facts = made.facts("c", made.encode(clip, ""))
    assert (facts.n_frames, facts.n_latents, facts.height, facts.width) == (21, 6, 64, 96)
    assert facts.n_tokens == round(50 * (21 / 25 + 0.5)) + 51, "half a second of sound after the last picture"


def test_a_source_at_another_rate_shows_what_is_on_screen(tmp_path: Path) -> None:
    path = write_video(tmp_path / "slow.mp4", grey_ramp(20), fps=10, sound=silence(2))
    made = encoder(EncodeConfig(fps=25, height=64, width=96, crop="centre", window_frames=33, dtype="float32"))
    tensors = made.encode(made.open(whole_clip(path).span), "")
    shown = np.floor(np.arange(49) / 25 * 10 + 1e-9)
    expected = [10, *(2 * shown[1:].reshape(12, 4) + 10).mean(1)]
    assert levels(tensors["video"]) == pytest.approx(np.array(expected), abs=1.5)


def test_sound_begins_with_the_first_picture_of_the_clip(ramp: ClipSpan) -> None:
    made = encoder()
    for first, clicks in ((0, (40, 120)), (10, (20, 100)), (21, (78,))):
        audio = made.encode(made.open(part(ramp, first, 100)), "")["audio"]
        loud = audio.mean(1)
        for click in clicks:
            around = slice(25 + int(click) - 6, 25 + int(click) + 7)
            assert abs(int(loud[around].argmax()) - 6) <= 1, "token j is row 25 + j"


def test_sound_goes_on_after_the_last_picture(ramp: ClipSpan) -> None:
    made = encoder(EncodeConfig(height=64, width=96, crop="centre", window_frames=9, max_frames=53, dtype="float32"))
    audio = made.encode(made.open(ramp), "")["audio"]  # pictures end at 2.12 s, the second click is at 2.4 s
    assert int(audio[100:].mean(1).argmax()) + 100 == pytest.approx(25 + 120, abs=1)


def test_the_image_condition_is_the_first_picture_and_then_grey(ramp: ClipSpan) -> None:
    made = encoder()
    condition = made.encode(made.open(part(ramp, 40, 90)), "")["image_condition"]
    assert condition.shape == (1, 3, 8, 12), "a window of 9 pictures, however long the clip is"
    assert condition[0, 0].numpy() == pytest.approx(signed(90), abs=0.02)
    assert not condition[0, 1:].any(), "grey is 0"


def test_the_lower_face_is_grey_in_the_video_condition_and_nothing_else(ramp: ClipSpan) -> None:
    made = encoder(face=StillFace(48, 32))
    tensors = made.encode(made.open(part(ramp, 40, 90)), "")
    video, blanked, hole = tensors["video"][0], tensors["video_condition"][0], tensors["hole"]
    touched = hole.amax(0).bool()
    assert torch.equal(blanked[~touched], video[~touched])
    share = tensors["lips"].float()
    assert torch.allclose(blanked, video * (1 - share), atol=2e-3), "a cell is as grey as the face covers it"
    assert hole[:, :, 4, 6].all(), "the mouth's cell"
    assert not hole[:, :, :3].any(), "nothing above the nose"


def test_hole_and_lips_are_those_of_a_box_that_moves(ramp: ClipSpan) -> None:
    class Moving(StillFace):
        def find(self, rgb: np.ndarray, every: int, max_unseen: float) -> np.ndarray:
            still = super().find(rgb, every, max_unseen)
            assert still is not None
            return still + np.arange(len(rgb))[:, None, None] * np.array([1.0, 0.0], np.float32)

    made = encoder(face=Moving(20, 32))
    tensors = made.encode(made.open(part(ramp, 0, 33)), "")
    box = np.zeros((33, 64, 96), bool)
    for i in range(33):
        # 31-35 and the rest of the points lie at y 27 to 41; margins of a tenth of 20 and 14 pixels.
        box[i, 27:43, 8 + i : 32 + i + 1] = True
    grouped = np.concatenate([np.repeat(box[:1], 3, 0), box]).reshape(9, 4, 8, 8, 12, 8)
    hole = np.asarray(grouped.any(axis=(3, 5))).swapaxes(0, 1)
    wrong = tensors["hole"].numpy().astype(bool) != hole
    assert wrong.mean() < 0.02, "but for a pixel of rounding"
    assert np.abs(tensors["lips"].numpy() - grouped.mean((1, 3, 5))).max() < 0.15
    assert tensors["lips"].dtype == torch.float16


def test_text_and_dtype_are_those_asked_for(ramp: ClipSpan) -> None:
    made = encoder(EncodeConfig(height=64, width=96, crop="centre", window_frames=9, dtype="bfloat16"))
    tensors = made.encode(made.open(ramp), "a person talks")
    assert torch.equal(tensors["text"].float(), HashedText().encode(["a person talks"])[0].bfloat16().float())
    assert {tensors[name].dtype for name in ("video", "audio", "text", "image_condition")} == {torch.bfloat16}
    assert set(made.seconds) == {"decode", "audio", "masks", "crop", "text", "codec"}
    assert all(tensor.is_contiguous() for tensor in tensors.values())


def test_the_first_picture_has_tokens_for_models_with_an_image_branch(ramp: ClipSpan, tmp_path: Path) -> None:
    seen = ClipImage(tiny_clip(tmp_path))
    made = ClipEncoder(CONFIG, BlockMeans(), LogMelAudio(), HashedText(), StillFace(), image=seen)
    tokens = made.encode(made.open(ramp), "")["clip_image"]
    rgb, crop = decoded(made.open(ramp), CONFIG, 4)
    assert torch.equal(tokens, seen.encode(crop.pictures(rgb[:1]))[0].to(tokens.dtype))
    assert described(made)["image"] == {"name": "clip", "digest": seen.digest, "width": 16, "length": 5}


@pytest.mark.parametrize(
    ("config", "face", "reason"),
    [
        ({"window_frames": 101, "max_frames": 101}, StillFace(), "too_short"),
        ({"height": 128, "width": 192}, StillFace(), "too_small"),
        ({}, StillFace(found=False), "no_face"),
        ({}, StillFace(x=-4), "face_outside"),
    ],
)
def test_a_clip_that_is_no_use_is_left_out_with_its_reason(
    ramp: ClipSpan, config: dict[str, Any], face: StillFace, reason: str
) -> None:
    made = encoder(EncodeConfig(**{"height": 64, "width": 96, "window_frames": 9, **config}, crop="centre"), face)
    with pytest.raises(NotEncodableError) as left_out:
        made.encode(made.open(ramp), "")
    assert left_out.value.reason == reason


def test_a_clip_without_sound_is_left_out(tmp_path: Path) -> None:
    made = encoder()
    span = whole_clip(write_video(tmp_path / "mute.mp4", grey_ramp(40))).span
    with pytest.raises(NotEncodableError, match="no sound track"):
        made.encode(made.open(span), "")


# --- a face whose mouth is known --------------------------------------------------------------------------------------

N = 41


def poses() -> list[Pose]:
    """The mouth opens and closes five times while the head goes to the right and down."""
    openings = 0.5 - 0.5 * np.cos(2 * np.pi * 5 * np.arange(N) / N)
    return [Pose(opening=float(o), shift_x=0.35 * i, shift_y=0.15 * i, roll=0.002 * i) for i, o in enumerate(openings)]


@pytest.fixture(scope="module")
def portrait() -> tuple[list[np.ndarray], np.ndarray]:
    """The pictures, uint8 [192, 192, 3], and where each of them could be moved by the mouth: bool [N, 192, 192]."""
    person = Portrait(PortraitView(192, 192, "close_up"))
    pictures, moved = [], []
    for pose in poses():
        pictures.append(person.frame(pose))
        shut, open_ = (
            person.frame(Pose(opening=o, shift_x=pose.shift_x, shift_y=pose.shift_y, roll=pose.roll)) for o in (0, 1)
        )
        moved.append(np.abs(shut.astype(int) - open_).max(2) > 48)
    return pictures, np.stack(moved)


@pytest.fixture(scope="module")
def talking(portrait: tuple[list[np.ndarray], np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> ClipSpan:
    path = write_video(tmp_path_factory.mktemp("face") / "face.mp4", portrait[0], sound=silence(N / 25))
    return whole_clip(path).span


REAL = EncodeConfig(height=96, width=96, crop="centre", window_frames=N, dtype="float32")


@pytest.fixture(scope="module")
def real(portrait: tuple[list[np.ndarray], np.ndarray], talking: ClipSpan) -> tuple[ClipEncoder, dict[str, Tensor]]:
    small = np.stack([cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA) for picture in portrait[0]])
    made = load_encoder(Encoders(audio="log_mel", device="cpu"), REAL, LinearCodec.fit([video_of(small)]))
    return made, made.encode(made.open(talking), "a person talks")


def test_decoded_latents_look_like_the_pictures_and_like_no_others(
    portrait: tuple[list[np.ndarray], np.ndarray], real: tuple[ClipEncoder, dict[str, Tensor]]
) -> None:
    made, tensors = real
    decoded = made.codec.decode(tensors["video"][None])[0].permute(1, 2, 3, 0).numpy()
    shown = np.stack([cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA) for picture in portrait[0]])
    truth = shown.astype(np.float32) / 127.5 - 1

    def psnr(a: np.ndarray, b: np.ndarray) -> float:
        return float(10 * np.log10(4 / np.square(a - b).mean()))

    assert psnr(decoded, truth) > 26
    for step in (-2, -1, 1, 2):  # also a mirror image or swapped colours would be far off
        shifted = truth[max(0, step) : N + min(0, step)]
        assert psnr(decoded[max(0, -step) : N - max(0, step)], shifted) < psnr(decoded, truth)


def test_the_hole_covers_what_a_mouth_moves(
    portrait: tuple[list[np.ndarray], np.ndarray], real: tuple[ClipEncoder, dict[str, Tensor]]
) -> None:
    _, tensors = real
    moved = np.stack([cv2.resize(m.astype(np.float32), (96, 96), interpolation=cv2.INTER_AREA) for m in portrait[1]])
    cells = tensors["hole"].movedim(0, 1).flatten(0, 1)[3:].numpy().astype(bool)  # [N, 12, 12], the first one alone
    hole = cells.repeat(8, 1).repeat(8, 2)
    assert (moved * hole).sum() / moved.sum() > 0.98
    assert hole.mean() < 0.4, "most of the picture is given"


def test_the_hole_does_not_tell_how_far_the_mouth_is_open(talking: ClipSpan) -> None:
    made = load_encoder(Encoders(audio="log_mel", device="cpu"), REAL, BlockMeans())
    landmarks = MeshLandmarks().find(made.open(talking).dense().rgb, 1, 0.4)
    assert landmarks is not None
    opening = np.array([pose.opening for pose in poses()])
    chin = landmarks[:, 8, 1] - landmarks[:, 33, 1]
    assert np.corrcoef(chin, opening)[0, 1] > 0.8, "the jaw itself would tell it"
    share = made.encode(made.open(talking), "")["lips"].float().sum((1, 2)).numpy()
    assert share.std() < 0.02 * share.mean()

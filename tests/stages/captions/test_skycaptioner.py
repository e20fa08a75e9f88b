"""SkyCaptioner-V1 behind a server: asked with the whole clip, checked, asked once more, turned into prose."""

import base64
import json

import cv2
import numpy as np
import pytest

from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import ClipMedia, MediaConfig
from curation.deciding.policy import parse_policy
from stages.base import fingerprint
from stages.caption import COLUMNS, STAGE
from stages.captions.fusion import prose
from stages.captions.question import pictures
from stages.captions.skycaptioner import SkyCaptionerConfig, SkyCaptionerScorer, check
from stages.captions.structure import StructuralCaption, Subject
from tests.support.chat_server import chat_server, failing, raw, saying
from tests.support.written_media import grey_ramp, whole_span, write_video

GOOD = StructuralCaption(
    subjects=(
        Subject("Human", "Man", "A man in a grey coat.", "He listens", "", "on the left", False),
        Subject("Human", "Woman", "A woman with red hair", "She talks to the camera", "Smiling", "In the centre", True),
    ),
    shot_type="medium_shot",
    shot_angle="eye_level",
    shot_position="other",
    camera_motion="Static camera.",
    environment="A kitchen",
    lighting="soft light from a window.",
)
PROSE = (
    "A woman with red hair; in the centre; she talks to the camera; smiling. A man in a grey coat; on the left; "
    "he listens. A kitchen. Soft light from a window. Shot: medium shot, eye level. Camera: static camera."
)


def config_for(server, **fields):
    return SkyCaptionerConfig(**({"endpoint": server.url, "model": "sky", "timeout_s": 5.0, "attempts": 2} | fields))


@pytest.fixture
def clip(tmp_path):
    """Two seconds, 480 x 320; the grey level says which frame it is."""
    return ClipMedia(whole_span(write_video(tmp_path / "ramp.mp4", grey_ramp(50, 320, 480))))


def shown_to(server, turn=0):
    """The pictures of a question."""
    parts = server.asked[turn]["messages"][0]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    files = [np.frombuffer(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")), np.uint8) for url in urls]
    return [cv2.imdecode(file, cv2.IMREAD_COLOR) for file in files]


def test_a_valid_answer_is_stored_with_its_prose(clip):
    with chat_server(saying(GOOD.to_json())) as server:
        row = SkyCaptionerScorer(config_for(server)).score(clip)
    assert StructuralCaption.parse(row.caption_structural) == GOOD
    assert row.caption == PROSE
    assert row.caption_model == "sky+fields"
    assert set(vars(row)) == {*COLUMNS.names, "status", "status_detail"}
    assert len(server.asked) == 1


def test_the_model_sees_sixteen_pictures_from_the_first_to_the_last(clip):
    with chat_server(saying(GOOD.to_json())) as server:
        SkyCaptionerScorer(config_for(server, max_side=240)).score(clip)
    shown = shown_to(server)
    assert [picture.shape for picture in shown] == [(160, 240, 3)] * 16
    levels = [float(picture.mean()) for picture in shown]
    assert levels == sorted(levels)
    assert levels[0] == pytest.approx(10, abs=2)
    assert levels[-1] == pytest.approx(108, abs=2)


def test_a_clip_longer_than_the_dense_view_is_seen_to_its_end(tmp_path):
    span = whole_span(write_video(tmp_path / "long.mp4", grey_ramp(120), fps=4))  # 30 s
    levels = [float(picture.mean()) for picture in pictures(ClipMedia(span), 16, 512)]
    assert len(levels) == 16
    assert levels[0] < 30
    assert levels[-1] > 230


def test_a_clip_of_few_frames_is_not_repeated(tmp_path):
    span = whole_span(write_video(tmp_path / "short.mp4", grey_ramp(4)))
    assert len(pictures(ClipMedia(span), 16, 512)) == 4


def test_vllm_gets_a_video_if_asked_for(clip):
    with chat_server(saying(GOOD.to_json())) as server:
        SkyCaptionerScorer(config_for(server, frames_as="video")).score(clip)
    video, text = server.asked[0]["messages"][0]["content"]
    frames = video["video_url"]["url"].removeprefix("data:video/jpeg;base64,").split(",")
    assert len(frames) == 16
    assert all(base64.b64decode(frame).startswith(b"\xff\xd8") for frame in frames)
    assert text["type"] == "text"


@pytest.mark.parametrize("wrapped", ["```json\n{}\n```", "Here it is:\n{}\nDone."])
def test_text_around_the_object_is_no_mistake(clip, wrapped):
    with chat_server(saying(wrapped.replace("{}", GOOD.to_json()))) as server:
        assert SkyCaptionerScorer(config_for(server)).score(clip).caption == PROSE
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        ("Sorry, I cannot.", "no JSON object"),
        ('{"subjects": [}', "Expecting value"),
        (json.dumps(json.loads(GOOD.to_json()) | {"lighting": None}), "caption.lighting must be a string"),
    ],
)
def test_a_broken_answer_is_sent_back_with_what_is_wrong(clip, first, complaint):
    with chat_server(saying(first), saying(GOOD.to_json())) as server:
        assert SkyCaptionerScorer(config_for(server)).score(clip).caption == PROSE
    question, answer, complaint_turn = server.asked[1]["messages"]
    assert question == server.asked[0]["messages"][0]
    assert answer == {"role": "assistant", "content": first}
    assert complaint in complaint_turn["content"]


def test_an_answer_that_breaks_off_is_sent_back(clip):
    with chat_server(saying(GOOD.to_json(), "length"), saying(GOOD.to_json())) as server:
        SkyCaptionerScorer(config_for(server)).score(clip)
    assert "breaks off" in server.asked[1]["messages"][2]["content"]


def test_two_broken_answers_are_the_clips_failure(clip):
    with (
        chat_server(saying("no"), saying("{}")) as server,
        pytest.raises(ClipError, match="subjects must be") as failed,
    ):
        SkyCaptionerScorer(config_for(server)).score(clip)
    assert failed.value.code is ErrorCode.BAD_RESPONSE
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (failing(503), ErrorCode.UNREACHABLE),
        (failing(400, "too long"), ErrorCode.BAD_RESPONSE),
        (raw(b"{}"), ErrorCode.BAD_RESPONSE),
    ],
)
def test_a_server_that_fails_costs_the_clip_its_caption(clip, no_waits, reply, code):
    with chat_server(reply) as server, pytest.raises(ClipError) as failed:
        SkyCaptionerScorer(config_for(server)).score(clip)
    assert failed.value.code is code


@pytest.mark.parametrize("status", [401, 404])
def test_a_server_that_would_answer_no_clip_is_the_users_to_mend(clip, status):
    with chat_server(failing(status, "no such model")) as server, pytest.raises(UserError) as error:
        SkyCaptionerScorer(config_for(server)).score(clip)
    assert "refuses every clip" in one_line(error)
    assert len(server.asked) == 1


def test_a_language_model_may_word_the_prose(clip):
    with chat_server(saying(GOOD.to_json()), saying(" A woman\ntalks. ")) as server:
        row = SkyCaptionerScorer(config_for(server, fusion_model="wording")).score(clip)
    assert (row.caption, row.caption_model) == ("A woman talks.", "sky+wording")
    assert server.asked[1]["model"] == "wording"
    assert GOOD.to_json() in server.asked[1]["messages"][0]["content"]


def test_prose_says_nothing_for_empty_fields():
    assert prose(StructuralCaption()) == ""
    assert prose(StructuralCaption(subjects=(Subject("Animal", "Owl"),), shot_type="other")) == "An owl."


# -- before work starts


def test_a_server_that_is_ready_passes_the_check():
    with chat_server(saying("Grey")) as server:
        check(config_for(server))
    assert server.paths == ["/v1/models", "/v1/chat/completions"]
    assert len(shown_to(server)) == 16


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_no_server_is_said_in_one_line_with_the_way_out():
    with chat_server(saying("")) as server:
        config = config_for(server)
    with pytest.raises(UserError) as error:
        check(config)
    assert "no model server" in one_line(error)
    assert "vllm serve sky" in one_line(error)


def test_another_model_is_said():
    with chat_server(saying("")) as server:
        server.serves = ["llama"]
        with pytest.raises(UserError) as error:
            check(config_for(server))
    assert "serves llama, not sky" in one_line(error)


def test_a_server_that_takes_fewer_pictures_is_found_out():
    with chat_server(failing(400, "At most 1 image(s) may be provided")) as server, pytest.raises(UserError) as error:
        check(config_for(server))
    assert "At most 1 image(s)" in one_line(error)
    assert "--limit-mm-per-prompt" in one_line(error)


@pytest.mark.parametrize("fields", [{"frames": 0}, {"frames_as": "gif"}, {"attempts": 0}, {"concurrency": 0}])
def test_settings_that_make_no_sense_are_refused(fields):
    with pytest.raises(UserError, match=next(iter(fields))):
        SkyCaptionerConfig(**fields)


# -- in the funnel


def test_moving_the_server_keeps_the_captions_and_another_model_does_not():
    def digest(**fields):
        return fingerprint(STAGE, STAGE.backend("reference"), SkyCaptionerConfig(**fields), MediaConfig()).digest

    assert digest() == digest(endpoint="http://elsewhere/v1", timeout_s=5.0, concurrency=64)
    assert len({digest(), digest(model="other"), digest(frames=8), digest(fusion_model="llm")}) == 4


def test_a_policy_configures_the_profiles_own_captioner():
    text = "profile: {}\nstages:\n  - stage: caption\n    config: {{{}}}\n"
    policy = parse_policy(text.format("reference", "frames: 8"), "p.yaml")
    assert policy.stages[-1].config == SkyCaptionerConfig(frames=8)
    with pytest.raises(UserError, match="unknown config key 'frames'"):
        parse_policy(text.format("lite", "frames: 8"), "p.yaml")

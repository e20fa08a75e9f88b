"""A served captioner has many clips before the server at once; what goes wrong with one is that clip's own affair."""

import pytest

from catalogs.errors import ClipError, ErrorCode, UserError
from catalogs.media import ClipMedia
from stages.base import takes_several
from stages.captions.skycaptioner import SkyCaptionerConfig, SkyCaptionerScorer
from tests.support.chat_server import chat_server, cut_off, failing, saying, silent, together
from tests.support.grey_clips import caption_of, captioning, grey_span, once


@pytest.fixture(scope="module")
def spans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grey")
    return [grey_span(folder, number) for number in range(12)]


@pytest.fixture
def clips(spans):
    return [ClipMedia(span) for span in spans]


def scorer_for(server, **fields):
    settings = {"endpoint": server.url, "model": "sky", "frames": 2, "timeout_s": 5.0, "attempts": 3, "concurrency": 4}
    return SkyCaptionerScorer(SkyCaptionerConfig(**(settings | fields)))


def structures(results):
    return {position: result().caption_structural for position, result in results}


def test_the_server_has_as_many_questions_at_once_as_is_allowed_and_no_more(clips):
    with chat_server(together(4, captioning())) as server:
        found = structures(scorer_for(server).score_many(clips))
    assert server.most_at_once == 4
    assert found == {number: caption_of(number) for number in range(12)}


def test_many_are_measured_like_one(clips):
    with chat_server(captioning()) as server:
        scorer = scorer_for(server)
        one_by_one = dict(enumerate(scorer.score(clip) for clip in clips))
        assert {position: result() for position, result in scorer.score_many(clips)} == one_by_one


def test_no_picture_stays_in_memory_and_decoding_is_charged(clips):
    with chat_server(captioning()) as server:
        for _ in scorer_for(server).score_many(clips):
            pass
    assert not any("_pictures" in vars(clip) for clip in clips)
    assert all(clip.decode_seconds > 0 for clip in clips)


def test_clips_are_fetched_as_places_become_free(clips):
    fetched = []
    with chat_server(captioning()) as server:
        results = scorer_for(server).score_many(fetched.append(clip) or clip for clip in clips)
        next(results)
        assert len(fetched) == 4
        results.close()


def test_a_bad_answer_fails_its_clip_alone(clips):
    with chat_server(captioning({5: saying("Sorry.")})) as server:
        found = dict(scorer_for(server).score_many(clips))
    with pytest.raises(ClipError) as failed:
        found.pop(5)()
    assert failed.value.code is ErrorCode.BAD_RESPONSE
    assert structures(found.items()) == {number: caption_of(number) for number in range(12) if number != 5}
    assert len(server.asked) == 13


def test_a_clip_that_does_not_decode_fails_alone(clips, tmp_path):
    broken = grey_span(tmp_path, 3)
    (tmp_path / "grey3.mp4").write_bytes(b"no video")
    with chat_server(captioning()) as server:
        found = dict(scorer_for(server).score_many([*clips[:3], ClipMedia(broken)]))
    with pytest.raises(ClipError):
        found.pop(3)()
    assert structures(found.items()) == {number: caption_of(number) for number in range(3)}


def test_troubles_pass_while_others_are_answered(clips, no_waits):
    troubles = {1: failing(429, Retry_After="1"), 2: failing(500), 3: silent(2.0), 4: cut_off("half")}
    odd = {number: once(trouble) for number, trouble in troubles.items()}
    with chat_server(captioning(odd)) as server:
        found = structures(scorer_for(server, timeout_s=0.8).score_many(clips))
    assert found == {number: caption_of(number) for number in range(12)}
    assert len(server.asked) >= 12 + len(troubles)


def test_a_model_that_is_not_there_is_the_users_mistake(clips):
    with chat_server(failing(404, "no such model")) as server:
        _, result = next(scorer_for(server).score_many(clips))
    with pytest.raises(UserError, match="no such model"):
        result()


def test_only_a_served_model_takes_several():
    assert takes_several(SkyCaptionerScorer(SkyCaptionerConfig()))
    assert not takes_several(SkyCaptionerScorer(SkyCaptionerConfig(concurrency=1)))

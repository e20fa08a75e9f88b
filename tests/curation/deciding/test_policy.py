from pathlib import Path

import pytest

from catalogs.errors import UserError
from curation.deciding.policy import builtin_policies, load_policy, parse_policy

GOOD = """
name: mine
profile: lite
media: {sample_fps: 2.0}
stages:
  - stage: scene_split
    keep: {length: "duration_s between 3 and 20"}
  - stage: sync
    on_unavailable: drop
    keep:
      in_sync: "sync_confidence >= 3.0"
      small_offset: "abs(sync_offset_frames) <= 3"
"""


def test_a_policy_reads_as_written() -> None:
    policy = parse_policy(GOOD, "mine.yaml")
    assert [stage.stage.name for stage in policy.stages] == ["scene_split", "sync"]
    sync = policy.stages[1]
    assert [(rule.name, rule.columns) for rule in sync.rules] == [
        ("in_sync", ("sync_confidence",)),
        ("small_offset", ("sync_offset_frames",)),
    ]
    assert sync.on_unavailable == "drop"
    assert policy.media.sample_fps == 2.0


@pytest.mark.parametrize("name", builtin_policies())
def test_shipped_policies_are_valid(name: str) -> None:
    assert load_policy(name).stages[0].stage.name == "scene_split"


def test_shipped_policies_cover_both_profiles() -> None:
    assert {load_policy(name).profile for name in builtin_policies()} == {"lite", "reference"}


def test_scene_split_is_there_even_if_not_named() -> None:
    policy = parse_policy("stages: [face_count]", "p.yaml")
    assert [stage.stage.name for stage in policy.stages] == ["scene_split", "face_count"]


MISTAKES = {
    "not yaml": ("stages: [", "p.yaml line"),
    "no mapping": ("- a", "mapping"),
    "no stages": ("name: x", "non-empty list"),
    "unknown key": ("stage: []\nstages: [sync]", "unknown key 'stage'; did you mean 'stages'"),
    "unknown stage": ("stages: [sinc]", "unknown stage 'sinc'; did you mean 'sync'"),
    "unknown stage key": ("stages: [{stage: sync, kep: {}}]", "did you mean 'keep'"),
    "unknown column": ("stages: [{stage: sync, keep: {a: 'sync_confidense > 1'}}]", "did you mean 'sync_confidence'"),
    "column of another stage": ("stages: [{stage: sync, keep: {a: 'face_count_max = 1'}}]", "unknown column"),
    "bad sql": ("stages: [{stage: sync, keep: {a: 'sync_confidence >'}}]", "bad SQL"),
    "wrong types": ("stages: [{stage: sync, keep: {a: 'sync_confidence + 1'}}]", "must be true or false"),
    "not a comparison": ("stages: [{stage: sync, keep: {a: \"sync_confidence = 'high'\"}}]", "bad SQL"),
    "subquery": ("stages: [{stage: sync, keep: {a: '(select true)'}}]", "without subqueries"),
    "second statement": ("stages: [{stage: sync, keep: {a: 'true); drop table t; --'}}]", "sync"),
    "from clause": ("stages: [{stage: sync, keep: {a: \"true) from read_text('/etc/passwd') --\"}}]", "sync"),
    "rule without quotes": ("stages: [{stage: sync, keep: {a: 3}}]", "SQL expression"),
    "bad rule name": ("stages: [{stage: sync, keep: {'a-b': 'true'}}]", "letters, digits"),
    "twice": ("stages: [sync, sync]", "listed twice"),
    "split not first": ("stages: [sync, scene_split]", "first stage"),
    "bad on_unavailable": ("stages: [{stage: sync, on_unavailable: maybe}]", "pass or drop"),
    "bad profile": ("profile: heavy\nstages: [sync]", "profile must be one of"),
    "bad config": ("stages: [{stage: sync, config: {nothing: 1}}]", "unknown config key"),
    "bad media": ("media: {sample_fpz: 1}\nstages: [sync]", "did you mean 'sample_fps'"),
    "bad media value": ("media: {sample_fps: -1}\nstages: [sync]", "positive"),
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_names_the_place(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_policy(text, "p.yaml")
    message = str(caught.value)
    assert "p.yaml" in message
    assert said in message
    assert "\n" not in message


def test_a_missing_file_lists_what_ships(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"shipped policies are: .*lite"):
        load_policy(str(tmp_path / "none.yaml"))

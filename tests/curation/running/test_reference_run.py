"""Every reference backend goes from a pool of videos to rows in the catalog, through Ray.

Each uses its own library and tiny weights in the published format, declared as one's own. Then the lite profile runs in
the same catalog: nothing is mixed.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import Any

import pytest
import ray

from catalogs.catalog import Catalog
from catalogs.runs import RunRecord
from curation.deciding.bound import Funnel, resolve
from curation.deciding.policy import parse_policy
from curation.deciding.verdicts import open_views
from curation.running.options import RunOptions
from curation.running.run import run_funnel
from stages.captions.structure import StructuralCaption, Subject
from stages.ingest import list_pool
from stages.listing import STAGES
from tests.support.chat_server import ChatServerDouble, chat_server, saying
from tests.support.run_files import measured as rows_by_stage
from weights import registry

NEEDED = ("ultralytics", "insightface", "rtmlib", "onnx", "whisper", "demucs", "transformers", "httpx")
if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
    pytest.skip(f"not installed (extra: reference): {', '.join(missing)}", allow_module_level=True)
from tests.support.tiny_weights import reference as tiny  # noqa: E402  (its builders need what was just looked for)

pytestmark = pytest.mark.cluster

SERVED = StructuralCaption(subjects=(Subject("Human", "Woman", "A woman", is_main_subject=True),), environment="A wall")
OWN_WORDS = StructuralCaption(subjects=(Subject("Human", "Man", "A man", is_main_subject=True),), environment="A hall")
PICTURES_AND_SOUND = """
  - {stage: person_count, config: {min_score: 0.5, device: cpu}}
  - {stage: face_count, config: {device: cpu}}
  - {stage: head_body, config: {device: cpu}}
  - {stage: language, config: {device: cpu, transcribe: true}}
  - {stage: speakers, config: {device: cpu}}
  - {stage: sync, config: {device: cpu}}
"""
LITE = "name: small\nstages: [person_count, face_count, head_body, language, speakers, sync, video_quality, caption]"


@dataclass(frozen=True)
class Measured:
    """Holds what the module's runs left behind.

    Attributes:
        reference: with a served captioner; ``own_captioner`` with one in the worker, otherwise the same.
        lite: under the lite profile, in the same catalog, measured before the others.
    """

    catalog: Catalog
    lite: Funnel
    reference: Funnel
    own_captioner: Funnel
    summaries: tuple[RunRecord, ...]
    server: ChatServerDouble

    def row(self, funnel: Funnel, stage: str) -> dict[str, Any]:
        """Read the one measurement of a stage under a funnel's fingerprint."""
        parts = self.catalog.measurement_parts(stage, funnel.digests[stage])
        (row,) = (row for part in parts for row in self.catalog.store.read_table(part).to_pylist())
        return row


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """Measure four seconds of a woman who talks, under both profiles, by the workers of one local Ray."""
    from curation.demo.compose import render
    from curation.demo.pool import ENGLISH
    from curation.demo.spec import Shot, SourceSpec
    from tests.support.tiny_vlm import save_tiny_qwen

    folder = tmp_path_factory.mktemp("reference")
    for name in ("weights", "pool", "levels", "captioner"):
        (folder / name).mkdir()
    tiny.save_reference_weights(folder / "weights")
    levels = save_tiny_qwen(folder / "levels")
    captioner = save_tiny_qwen(folder / "captioner", says=OWN_WORDS.to_json())
    render(SourceSpec("talk", (Shot(4, (ENGLISH,), "close_up", seed=10),)), folder / "pool" / "talk.mp4")
    with pytest.MonkeyPatch.context() as environment, chat_server(saying("Grey"), saying(SERVED.to_json())) as server:
        environment.setenv("FUNNEL_WEIGHTS", str(folder / "weights"))
        environment.setenv("FUNNEL_CACHE", str(folder / "cache"))
        environment.setenv("no_proxy", "127.0.0.1")
        ray.shutdown()  # whoever ran before in this process
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        catalog = Catalog.open_or_create(str(folder / "catalog"))
        lite = resolve(parse_policy(LITE, "lite.yaml"))
        served = _reference(levels, f"endpoint: '{server.url}', model: sky")
        in_process = _reference(levels, f"folder: '{captioner}', model: own, max_tokens: 8, max_side: 112")
        pool = list_pool(str(folder / "pool"))
        options = RunOptions(workers=1)
        summaries = tuple(run_funnel(catalog, funnel, options, pool=pool) for funnel in (lite, served, in_process))
        ray.shutdown()
        yield Measured(catalog, lite, served, in_process, summaries, server)


def _reference(levels: Path, caption: str) -> Funnel:
    text = f"name: big\nprofile: reference\nstages:{PICTURES_AND_SOUND}"
    text += f"  - {{stage: video_quality, config: {{folder: '{levels}', level_max_side: 112, level_pictures: 1}}}}\n"
    text += f"  - {{stage: caption, config: {{{caption}}}}}\n"
    return resolve(parse_policy(text, "reference.yaml"))


#: Columns that no model fills yet, or whose optional weights (Light-ASD) are not among the tiny ones.
EMPTY = {"off_screen_speech_ratio", "active_speaker_ratio", "text_area_ratio"}
MEASURED = ("person_count", "face_count", "head_body", "language", "speakers", "sync", "video_quality", "caption")


@pytest.mark.parametrize("stage", MEASURED)
def test_every_column_is_filled_under_the_reference_fingerprint(measured: Measured, stage: str) -> None:
    row = measured.row(measured.reference, stage)
    assert (row["status"], row["status_detail"]) == ("ok", None)
    assert {name for name in STAGES[stage].columns.names if row[name] is None} == EMPTY & set(row)


def test_nothing_failed_and_each_run_measured_what_it_owed(measured: Measured) -> None:
    counts = [rows_by_stage(summary.phases["measure"]) for summary in measured.summaries]
    assert counts == [dict.fromkeys(MEASURED, 1), dict.fromkeys(MEASURED, 1), {"caption": 1}]
    assert [summary.failure_rate for summary in measured.summaries] == [0, 0, 0]
    assert [summary.bugs for summary in measured.summaries] == [[], [], []]


def test_the_fingerprints_hold_the_hashes_of_the_declared_files(measured: Measured) -> None:
    declared = json.loads((registry.require("dwpose").parent / "own_weights.json").read_text())
    fingerprints = [bound.fingerprint for bound in measured.reference.stages]
    recorded = {name: sha256 for found in fingerprints for name, sha256 in found.weights.items()}
    assert {name: recorded[name] for name in declared} == {name: entry["sha256"] for name, entry in declared.items()}
    assert len(declared) == 9


def test_yolo_world_counts(measured: Measured) -> None:
    row = measured.row(measured.reference, "person_count")
    assert row["person_count_max"] >= row["person_count_median"] >= 1
    assert 0.5 <= row["person_score_min"] <= 1, "min_score of the policy"
    assert row["person_visible_ratio"] == 1


def test_insightface_measures_the_one_face_that_its_detector_always_sees(measured: Measured) -> None:
    row = measured.row(measured.reference, "face_count")
    assert (row["face_count_max"], row["face_count_median"], row["face_visible_ratio"]) == (1, 1, 1)
    assert row["face_height_px_median"] == pytest.approx(tiny.FACE_PX)
    assert row["face_area_ratio_median"] == pytest.approx(tiny.FACE_PX**2 / (640 * 480))
    assert row["face_score_min"] == pytest.approx(tiny.FACE_SCORE)
    assert row["face_yaw_deg_abs_max"] == pytest.approx(0, abs=0.1)
    assert 0.5 < row["identity_similarity_min"] < 1


def test_dwpose_measures_the_one_person_that_its_networks_always_see(measured: Measured) -> None:
    row = measured.row(measured.reference, "head_body")
    assert row["keypoint_score_median"] == pytest.approx(tiny.KEYPOINT_SCORE)
    assert (row["framing"], row["hands_visible_ratio"]) == ("half_body", 1)
    assert 0.1 < row["head_body_ratio"] < 0.4


def test_whisper_names_a_language_and_writes_down_what_it_hears(measured: Measured) -> None:
    row = measured.row(measured.reference, "language")
    assert row["language"] != "und"
    assert 1 / 100 < row["language_confidence"] <= 1, "surer than a guess among a hundred"
    assert row["speech_s"] == pytest.approx(4 * row["speech_ratio"], abs=0.05)
    assert row["speech_ratio"] > 0.5
    assert row["transcript"]


def test_demucs_splits_before_voices_are_counted(measured: Measured) -> None:
    row = measured.row(measured.reference, "speakers")
    assert (row["speaker_count"], row["speaker_overlap_ratio"]) == (1, 0)
    assert row["voice_to_background_db"] == pytest.approx(20 * log10(tiny.VOICES / (1 - tiny.VOICES)), abs=0.1)


def test_syncnet_reads_the_face_track(measured: Measured) -> None:
    row = measured.row(measured.reference, "sync")
    assert (row["sync_method"], row["sync_tracks"], row["sync_frames"]) == ("syncnet", 1, 100)
    assert abs(row["sync_offset_frames"]) <= 15
    assert row["sync_correction_s"] == pytest.approx(-row["sync_offset_frames"] / 25)
    assert row["sync_confidence"] > 0
    assert row["sync_min_distance"] > 0


def test_a_vision_language_model_names_the_levels_beside_the_signals(measured: Measured) -> None:
    row, lite = (measured.row(funnel, "video_quality") for funnel in (measured.reference, measured.lite))
    assert 1 <= row["iqa"] <= 5
    assert 1 <= row["aesthetic"] <= 5
    assert (lite["iqa"], lite["aesthetic"]) == (None, None)
    assert row["brisque"] == pytest.approx(lite["brisque"]), "the signals are the same"


def test_captions_come_from_the_server_or_from_the_model_in_the_worker(measured: Measured) -> None:
    served, own = (measured.row(funnel, "caption") for funnel in (measured.reference, measured.own_captioner))
    assert (served["caption"], served["caption_model"]) == ("A woman. A wall.", "sky+fields")
    assert (own["caption"], own["caption_model"]) == ("A man. A hall.", "own+fields")
    assert StructuralCaption.parse(own["caption_structural"]) == OWN_WORDS
    assert len(measured.server.asked) == 2, "the check, then the one clip"


@pytest.mark.parametrize("stage", MEASURED)
def test_both_profiles_numbers_lie_side_by_side(measured: Measured, stage: str) -> None:
    digests = {funnel.digests[stage] for funnel in (measured.lite, measured.reference, measured.own_captioner)}
    assert len(digests) == (3 if stage == "caption" else 2)
    assert set(measured.catalog.fingerprints(stage)) == digests
    for funnel in (measured.lite, measured.reference):
        (shown,) = open_views(measured.catalog, funnel).sql(f"SELECT * FROM {stage}").fetchall()
        row = measured.row(funnel, stage)
        assert shown == tuple(row.values())


def test_a_verdict_looks_at_its_own_profiles_numbers_only(measured: Measured) -> None:
    alone = '- {stage: person_count, keep: {alone: "person_count_max = 1"}'
    lite = resolve(parse_policy(f"stages:\n  {alone}}}", "lite.yaml"))
    reference = resolve(
        parse_policy(f"profile: reference\nstages:\n  {alone}, config: {{min_score: 0.5}}}}", "reference.yaml")
    )
    verdict = "SELECT verdict, drop_rule, drop_value FROM verdicts"
    (found,) = open_views(measured.catalog, lite).sql(verdict).fetchall()
    assert found == ("keep", None, None)
    counted = measured.row(measured.reference, "person_count")["person_count_max"]
    assert counted > 1
    (found,) = open_views(measured.catalog, reference).sql(verdict).fetchall()
    assert found == ("drop", "alone", f"person_count_max={counted}")


def test_one_stage_as_a_program_finds_the_same_weights(measured: Measured, tmp_path: Path) -> None:
    policy = tmp_path / "surer.yaml"
    policy.write_text("profile: reference\nstages:\n  - {stage: face_count, config: {device: cpu, min_score: 0.7}}\n")
    command = [sys.executable, "-m", "stages.face_count", "--catalog", measured.catalog.store.url]
    done = subprocess.run([*command, "--policy", str(policy), "--workers", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    row = measured.row(resolve(parse_policy(policy.read_text(), str(policy))), "face_count")
    assert row["face_height_px_median"] == pytest.approx(tiny.FACE_PX)

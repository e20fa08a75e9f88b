"""`funnel sample`, `lots`, `labels`, `accept`, `calibrate`, `snapshot` as a data lead types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from catalogs.catalog import Catalog
from curation.annotation.records import Answer, give, read_lot
from funnel.main import main
from tests.support.hand_written import POLICY, answer, answer_all, funnel, write_catalog, write_run

FUNNEL = funnel()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    opened = write_catalog(str(tmp_path / "cat"), FUNNEL, 1000)
    write_run(opened, FUNNEL)
    return opened


def said(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    """What the command prints; on standard error if it ends with a code."""
    with pytest.raises(SystemExit) as end:
        main(words)
    captured = capsys.readouterr()
    assert (end.value.code or 0) == code, captured.err
    return captured.out if code in (0, 4) and captured.out else captured.err


def judge_all(catalog: Catalog, name: str, bad: int = 0, annotator: str = "ann") -> None:
    lot, items = read_lot(catalog, name)
    answer_all(catalog, lot, items, bad, annotator=annotator)


def test_from_sample_to_snapshot(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    url = catalog.store.url
    assert said(capsys, 0, "lots", url).startswith("no lot in")
    text = said(capsys, 0, "sample", url, "--stage", "audio_quality", "--n", "70")
    assert "lot audio_quality-kept-1: 70 of 500 clips kept by audio_quality; seed 1" in text
    assert "source first, dnsmos_ovrl 1: up to" in text
    assert f"Next: funnel annotate {url} audio_quality-kept-1" in text
    judge_all(catalog, "audio_quality-kept-1")
    assert "70 of 70" in said(capsys, 0, "lots", url)
    text = said(capsys, 0, "accept", url, "audio_quality-kept-1")
    assert "audio_quality, lot audio_quality-kept-1: pass: at most" in text
    text = said(capsys, 4, "snapshot", url, "--name", "v1", "--require-gates")
    assert text.splitlines() == [
        "funnel: policy tested (lite), that of the last run (20260101T120000.1)",
        "funnel: scene_split: no lot of it is accepted yet",
        "funnel: face_count: no lot of it is accepted yet",
        "funnel: snapshot v1 was not made: 2 stage(s) without a passed gate",
    ]
    for stage in ("scene_split", "face_count"):
        said(capsys, 0, "sample", url, "--stage", stage, "--plan", "--acceptable-rate", "0", "--stratify", "")
        judge_all(catalog, f"{stage}-kept-1")
        said(capsys, 0, "accept", url, f"{stage}-kept-1")
    text = said(capsys, 0, "snapshot", url, "--name", "v1", "--require-gates", "--where", "dnsmos_ovrl >= 3")
    assert text.startswith("snapshot v1: 250 clips")
    gate = r"^gate of \w+: at most [45]\.\d\d% bad cases, where 5\.0% at 95% confidence was the limit$"
    assert len(re.findall(gate, text, re.MULTILINE)) == 3
    assert "there is a snapshot 'v1' already" in said(capsys, 2, "snapshot", url, "--name", "v1")


def test_a_gate_that_fails_or_wants_more_is_exit_code_4(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    url = catalog.store.url
    said(capsys, 0, "sample", url, "--stage", "face_count", "--n", "100", "--name", "faces", "--overlap", "2")
    assert "need 100 more: 0 of 100 judged" in said(capsys, 4, "accept", url, "faces")
    judge_all(catalog, "faces", bad=20)
    judge_all(catalog, "faces", bad=18, annotator="bob")
    text = said(capsys, 4, "accept", url, "faces")
    assert "fail: 20 of 100 bad or unsure" in text
    assert "by ann, bob" in text
    assert "same verdict 98%, Cohen's kappa 0.94, Krippendorff's alpha 0.94" in text
    assert "false-drop rate  unknown" in text
    gate = json.loads(said(capsys, 4, "accept", url, "faces", "--json"))
    assert (gate["outcome"], gate["bad"], gate["n"]) == ("fail", 20, 100)
    assert gate["estimate"] == pytest.approx(0.2, abs=0.01)


def test_false_drops(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    url = catalog.store.url
    said(capsys, 0, "sample", url, "--stage", "audio_quality", "--dropped", "--n", "50", "--name", "gone")
    judge_all(catalog, "gone", bad=45)
    text = said(capsys, 0, "accept", url, "gone")
    assert "50 of 50, of 250 dropped clips; by ann" in text
    assert "false-drop rate  10.00%; at least" in text
    found = json.loads(said(capsys, 0, "accept", url, "gone", "--json"))
    rate = found["false_drop_rate"]
    assert rate["lower"] < rate["estimate"] < rate["upper"]
    assert (found["judged"], found["n"], found["population"]) == (50, 50, 250)
    assert "confidence must be at least 0.5" in said(capsys, 2, "accept", url, "gone", "--confidence", "2")


def test_a_plan_is_explained(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, 0, "sample", catalog.store.url, "--stage", "face_count", "--plan", "--sequential")
    assert "plan: stops as soon as it is clear, at the latest after 235 clips and passes with up to 5 bad" in text


def test_a_small_population_is_judged_whole(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, 0, "sample", catalog.store.url, "--stage", "audio_quality", "--dropped", "--n", "999")
    assert "250 of 250 clips dropped by audio_quality: all there are (999 were asked for)" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stage", "sink", "--n", "9"], "has no stage 'sink'"),
        (["--stage", "face_count"], "give either the number of clips"),
        (["--stage", "face_count", "--n", "1000000"], "a lot has at most 20000 clips"),
        (["--stage", "face_count", "--plan", "--max-bad-rate", "2"], "the largest bad rate must lie between 0 and 1"),
        (["--stage", "face_count", "--plan", "--acceptable-rate", "0.1"], "must be smaller than the largest bad rate"),
    ],
)
def test_mistakes_in_a_sample(
    catalog: Catalog, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in said(capsys, 2, "sample", catalog.store.url, *words)


def test_calibrate_proposes_a_diff_and_writes_only_when_told(
    catalog: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, policy = catalog.store.url, tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    assert "no judged lot of audio_quality" in said(capsys, 2, "calibrate", url, "--stage", "audio_quality")
    said(capsys, 0, "sample", url, "--stage", "audio_quality", "--n", "300", "--name", "a")
    lot, items = read_lot(catalog, "a")
    for item in items.to_pylist():
        good = json.loads(item["measured"])["dnsmos_ovrl"] >= 2.5
        answer(catalog, lot, item["number"], item["clip_id"], "good" if good else "bad")
    command = ["calibrate", url, "--stage", "audio_quality", "--policy", str(policy)]
    text = said(capsys, 0, *command)
    assert "300 judged clips of audio_quality, lots a" in text
    assert "rule quality: dnsmos_ovrl >= 2" in text
    assert '-      quality: "dnsmos_ovrl >= 2.0"' in text
    assert '+      quality: "dnsmos_ovrl >= 2.' in text
    assert policy.read_text() == POLICY
    table = text[text.index("rule quality") : text.index("\n\nProposed")].splitlines()[2:]
    thresholds = [float(line.split()[0]) for line in table]
    assert thresholds == sorted(thresholds)
    assert len(thresholds) <= 14
    assert [line.split()[-1] for line in table if line.endswith((" now", " proposed"))] == ["now", "proposed"]
    found = json.loads(said(capsys, 0, *command, "--json"))
    proposed = found["thresholds"][0]["proposed"]
    said(capsys, 0, *command, "--write", str(policy))
    assert policy.read_text() == POLICY.replace("dnsmos_ovrl >= 2.0", f"dnsmos_ovrl >= {proposed:.6g}")
    other = tmp_path / "other.yaml"
    other.write_text("precious")
    assert "it was not changed" in said(capsys, 2, "calibrate", url, "--stage", "audio_quality", "--write", str(other))
    assert other.read_text() == "precious"
    other.write_bytes(b"\xff\xfe\x00")  # not even text
    assert "it was not changed" in said(capsys, 2, "calibrate", url, "--stage", "audio_quality", "--write", str(other))
    for target, trouble in ((tmp_path, "is a folder"), (tmp_path / "none" / "x.yaml", "there is no folder")):
        with pytest.raises(SystemExit):
            main(["calibrate", url, "--stage", "audio_quality", "--write", str(target)])
        captured = capsys.readouterr()
        assert captured.out == ""  # said before the work
        assert trouble in captured.err


def test_calibrating_before_judging_names_the_lots_that_wait(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    url = catalog.store.url
    said(capsys, 0, "sample", url, "--stage", "audio_quality", "--n", "3", "--name", "waits")
    assert "nothing is judged yet in waits; `funnel annotate` it" in said(
        capsys, 2, "calibrate", url, "--stage", "audio_quality"
    )


def test_files_of_labels_that_cannot_be_used_are_one_line(
    catalog: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = catalog.store.url
    text = said(capsys, 0, "sample", url, "--stage", "face_count", "--n", "1", "--name", "a", "--mode", "pair")
    assert "lot a: 1 pair, 2 of" in text
    export = ["labels", "export", url, "a"]
    studio = [*export, "--format", "label-studio"]
    assert "is a folder" in said(capsys, 2, *studio, "--label-config", str(tmp_path))
    assert "--media-url goes with --format label-studio" in said(
        capsys, 2, *export, "--media-url", "http://h/{clip_id}"
    )
    binary = tmp_path / "labels.csv"
    binary.write_bytes(b"\xff\xfe")
    assert said(capsys, 2, "labels", "import", url, "a", str(binary)).endswith(
        "labels.csv cannot be read: it is not UTF-8 text, as CSV and JSON must be\n"
    )
    assert said(capsys, 2, "labels", "import", url, "a", str(tmp_path)).endswith("cannot be read: is a directory\n")


def test_labels_go_out_and_come_in(catalog: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, config = catalog.store.url, tmp_path / "config.xml"
    said(capsys, 0, "sample", url, "--stage", "face_count", "--n", "6", "--name", "a", "--stratify", "")
    words = ["--format", "label-studio", "--media-url", "http://h/{clip_id}", "--label-config", str(config)]
    tasks = json.loads(said(capsys, 0, "labels", "export", url, "a", *words))
    assert len(tasks) == 6
    assert config.read_text().startswith("<View>")
    for task in tasks:
        verdict = {"from_name": "verdict", "value": {"choices": ["good"]}}
        task["annotations"] = [{"completed_by": 3, "result": [verdict]}]
    exported = tmp_path / "exported.json"
    exported.write_text(json.dumps(tasks))
    assert said(capsys, 0, "labels", "import", url, "a", str(exported)).startswith("6 new answers in lot a")
    answers = tmp_path / "answers.csv"
    answers.write_text(said(capsys, 0, "labels", "export", url, "a", "--format", "answers-csv"))
    assert "0 new answers in lot a, 6 were there" in said(capsys, 0, "labels", "import", url, "a", str(answers))
    answers.write_text(answers.read_text().replace("good", "fine", 1))
    assert "answers.csv: line 2: verdict must be one of" in said(capsys, 2, "labels", "import", url, "a", str(answers))
    assert "cannot be read" in said(capsys, 2, "labels", "import", url, "a", str(tmp_path / "none.csv"))
    assert said(capsys, 0, "labels", "export", url, "a").startswith("number,clip_id,stratum,weight,")
    assert "goes with --format label-studio" in said(capsys, 2, "labels", "export", url, "a", *words[-2:])


def test_a_note_comes_back_as_it_was(catalog: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, answers = catalog.store.url, tmp_path / "answers.csv"
    said(capsys, 0, "sample", url, "--stage", "face_count", "--n", "1", "--name", "a")
    clip = read_lot(catalog, "a")[1]["clip_id"][0].as_py()
    give(catalog, Answer("a", 1, clip, "ann", "bad", note="a\ttab,\r\n[red]two[/red] lines\n"))
    answers.write_bytes(said(capsys, 0, "labels", "export", url, "a", "--format", "answers-csv").encode())
    assert "0 new answers in lot a, 1 were there" in said(capsys, 0, "labels", "import", url, "a", str(answers))


def test_lots_of_user_studies_show_mean_scores(
    catalog: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, answers = catalog.store.url, tmp_path / "answers.csv"
    said(
        capsys,
        0,
        "sample",
        url,
        "--stage",
        "face_count",
        "--n",
        "2",
        "--name",
        "a",
        "--mode",
        "scale",
        "--stratify",
        "",
    )
    clips = read_lot(catalog, "a")[1]["clip_id"].to_pylist()
    answers.write_text(f"number,clip_id,annotator,av_consistency\n1,{clips[0]},ann,2\n2,{clips[1]},ann,1\n")
    said(capsys, 0, "labels", "import", url, "a", str(answers))
    (lot,) = json.loads(said(capsys, 0, "lots", url, "--json"))
    assert lot["scores"] == {"av_consistency": {"answers": 2, "mean": 1.5, "standard_error": 0.5}}
    assert "av_consistency 1.50" in said(capsys, 0, "lots", url)
    assert "is a user study" in said(capsys, 2, "accept", url, "a")

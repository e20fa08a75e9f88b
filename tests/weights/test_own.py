"""Weights of one's own take the place of the registry's, by what `own_weights.json` declares and by nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from catalogs.errors import UserError
from catalogs.media import MediaConfig
from stages.base import fingerprint
from stages.listing import STAGES
from weights import download, licences, registry
from weights.declared import declared_weights

FINE_TUNED = b"weights after another thousand steps"
SHA256 = hashlib.sha256(FINE_TUNED).hexdigest()
ENTRY = {"file": "finetuned.model", "sha256": SHA256, "licence": "proprietary"}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of one's own, with a fine-tuned file in it that nothing declares yet."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "finetuned.model").write_bytes(FINE_TUNED)
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(folder))
    return folder


def declare(folder: Path, **entries: object) -> None:
    (folder / "own_weights.json").write_text(json.dumps(entries))


def test_a_declared_file_replaces_the_published_one(own: Path) -> None:
    declare(own, syncnet_v2={**ENTRY, "source": "our run of May"})
    weights = registry.get("syncnet_v2")
    assert registry.require("syncnet_v2") == own / "finetuned.model"
    assert (weights.kind, weights.licence, weights.source) == ("own", "proprietary", "our run of May")
    assert (weights.size_bytes, weights.sha256) == (len(FINE_TUNED), SHA256)
    assert (weights.purpose, weights.profiles) == (
        declared_weights()["syncnet_v2"].purpose,
        declared_weights()["syncnet_v2"].profiles,
    )
    assert registry.get("dwpose") == declared_weights()["dwpose"]


@pytest.mark.parametrize("name", ["face_detector", "silero_vad", "insightface_detector", "whisper_base"])
def test_files_that_ship_or_come_in_an_archive_are_replaced_too(own: Path, name: str) -> None:
    declare(own, **{name: ENTRY})
    assert registry.find(name) == own / "finetuned.model"
    assert [form.file for form in registry.get(name).forms] == ["finetuned.model"]
    assert registry.get(name).kind == "own"


def test_the_sha256_may_be_written_in_capitals(own: Path) -> None:
    declare(own, dwpose={**ENTRY, "sha256": SHA256.upper()})
    assert registry.find("dwpose") == own / "finetuned.model"


def test_its_hash_is_in_the_fingerprint(own: Path) -> None:
    stage = STAGES["sync"]
    backend, config = stage.backend("reference"), stage.config_of("reference")()
    before = fingerprint(stage, backend, config, MediaConfig())
    declare(own, syncnet_v2=ENTRY)
    after = fingerprint(stage, backend, config, MediaConfig())
    assert before.weights["syncnet_v2"] == "missing"
    assert after.weights["syncnet_v2"] == SHA256
    assert before.digest != after.digest


def test_a_published_copy_in_the_cache_does_not_stand_in_for_it(
    own: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_folder.mkdir()
    published = declared_weights()["dwpose"].file
    for folder in (own, cache_folder):
        (folder / published).write_bytes(FINE_TUNED)
    declare(own, dwpose={**ENTRY, "file": "not_there.onnx"})
    assert registry.copies("dwpose") == []
    with pytest.raises(UserError, match=r"dwpose are not installed: put not_there\.onnx with the sha256 that own_we"):
        registry.require("dwpose")


def test_a_file_that_differs_from_its_declaration_is_not_trusted(own: Path) -> None:
    declare(own, dwpose=ENTRY)
    assert registry.find("dwpose")
    (own / "finetuned.model").write_bytes(FINE_TUNED[:-1])
    assert registry.find("dwpose") is None
    assert [copy.trusted for copy in registry.copies("dwpose")] == [False]
    with pytest.raises(UserError, match=r"finetuned\.model has the wrong sha256; put finetuned\.model with the sha2"):
        registry.require("dwpose")


def test_a_new_declaration_counts_in_the_same_process(own: Path) -> None:
    declare(own, dwpose={**ENTRY, "sha256": "0" * 64})
    assert registry.find("dwpose") is None
    declare(own, dwpose={**ENTRY, "licence": "other", "sha256": SHA256})
    assert registry.find("dwpose") == own / "finetuned.model"


def test_nothing_is_downloaded_and_no_licence_is_asked_for(own: Path) -> None:
    declare(own, yolo_world_x=ENTRY)
    assert download.pull("yolo_world_x") == own / "finetuned.model"
    licences.require(registry.get("yolo_world_x"))
    (own / "finetuned.model").unlink()
    with pytest.raises(UserError, match=r"yolo_world_x cannot be downloaded: put finetuned\.model"):
        download.pull("yolo_world_x")


def test_a_folder_without_declarations_or_none_at_all_changes_nothing(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert registry.all_weights() == declared_weights()
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(own / "nowhere"))
    assert registry.all_weights() == declared_weights()
    monkeypatch.delenv("FUNNEL_WEIGHTS")
    assert registry.all_weights() == declared_weights()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", r"not valid JSON"),
        ("\xff", r"not valid JSON"),
        ("[]", r"expected an object of registry names, got list"),
        ('{"dwpose": 1}', r"dwpose: expected an object with file, sha256, licence, got 1"),
        ('{"dwpose": {}, "dwpose": {}}', r"dwpose is given twice"),
    ],
)
def test_a_listing_that_cannot_be_read_is_one_line(own: Path, text: str, told: str) -> None:
    (own / "own_weights.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=told) as refused:
        registry.get("transnetv2")
    assert str(own / "own_weights.json") in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sha256": None}, r"dwpose: sha256 missing"),
        ({"file": None, "licence": None}, r"dwpose: file, licence missing"),
        ({"sha256": "abc"}, r"dwpose: sha256 must be 64 hex digits, got 'abc'; `sha256sum FILE` prints them"),
        ({"licence": " "}, r"dwpose: licence must be a text that is not empty, got ' '"),
        ({"source": 7}, r"dwpose: source must be a text that is not empty, got 7"),
        ({"url": "https://example.org"}, r"dwpose: unknown key 'url'; known: file, sha256, licence, source"),
        *(
            ({"file": file}, r"dwpose: file must be the name of a file in this folder")
            for file in ("../w.onnx", "/etc/passwd", "sub/w.onnx", "..", ".", "..\\w.onnx", "C:w.onnx", "w.onnx/")
        ),
    ],
)
def test_a_wrong_entry_is_one_line_that_names_it(own: Path, change: dict[str, object], told: str) -> None:
    entry = {key: value for key, value in {**ENTRY, **change}.items() if value is not None}
    declare(own, dwpose=entry)
    with pytest.raises(UserError, match=told):
        registry.find("dwpose")


@pytest.mark.parametrize(
    ("name", "hint"), [("syncnet", r"did you mean 'syncnet_v2'\?"), ("zzz", r"`funnel models list` shows the names")]
)
def test_a_name_that_the_registry_does_not_know_is_a_mistake(own: Path, name: str, hint: str) -> None:
    declare(own, **{name: ENTRY})
    with pytest.raises(UserError, match=rf"there are no weights '{name}'; {hint}"):
        registry.get("transnetv2")

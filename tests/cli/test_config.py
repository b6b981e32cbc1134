import json
import stat
from pathlib import Path

import pytest

from secure_ray.cli.main import main


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in, and an environment without settings."""
    for name in ("SECURE_RAY_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_show_names_value_and_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECURE_RAY_LIMITS__NUM_CPUS", "2")
    assert main(["config", "show"]) == 0
    lines = {tuple(line.split(maxsplit=2)) for line in capsys.readouterr().out.splitlines()}
    assert ("limits.num_cpus", "2", "variable SECURE_RAY_LIMITS__NUM_CPUS") in lines
    assert ("limits.min_free_disk", '"1GiB"', "default") in lines
    assert ("limits.num_gpus", "-", "default") in lines


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_show_has_no_secret(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECURE_RAY_ENVIRONMENT__SET__TOKEN", "hunter2")
    assert main(["config", "show", *options]) == 0
    out, err = capsys.readouterr()
    assert "environment.set.TOKEN" in out
    assert "hunter2" not in out + err


def test_show_is_json_for_a_program(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "secure-ray.toml").write_text("[limits]\nmemory = 4294967296\n")
    (work / "secure-ray.toml").chmod(0o600)
    assert main(["config", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["schema"] == "secure-ray/config-show/1"
    assert shown["files"] == [str(work / "secure-ray.toml")]
    assert {
        "key": "limits.memory",
        "value": "4GiB",
        "origin": f"file {work / 'secure-ray.toml'}",
    } in shown["settings"]


def test_check_names_every_problem_and_exits_2(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = work / "x.toml"
    file.write_text('[network]\nbind = "a b"\n[limit]\n')
    file.chmod(0o600)
    assert main(["config", "check", "x.toml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "network.bind" in err
    assert "did you mean limits?" in err


def test_check_is_content_with_right_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": "secure-ray/config-check/1",
        "ok": True,
        "files": [],
    }


def test_init_writes_files_that_are_right_and_private(work: Path) -> None:
    assert main(["config", "init"]) == 0
    assert main(["config", "check"]) == 0
    for name in ("secure-ray.toml", ".env.example"):
        assert stat.S_IMODE((work / name).stat().st_mode) == 0o600


def test_init_tells_how_to_check_what_it_wrote(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "a b").mkdir()

    assert main(["config", "init"]) == 0
    assert main(["config", "init", "--path", "a b/x.toml"]) == 0

    told = [line for line in capsys.readouterr().err.splitlines() if "config check" in line]
    assert told == [
        "edit it, then: secure-ray config check",
        "edit it, then: secure-ray config check 'a b/x.toml'",
    ]


def test_init_overwrites_nothing(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "secure-ray.toml").write_text("mine")
    assert main(["config", "init"]) == 2
    assert "SR-CFG-006" in capsys.readouterr().err
    assert (work / "secure-ray.toml").read_text() == "mine"
    assert not (work / ".env.example").exists()


def test_init_leaves_an_example_that_is_there(work: Path) -> None:
    (work / ".env.example").write_text("mine")
    assert main(["config", "init", "--path", "other.toml"]) == 0
    assert (work / ".env.example").read_text() == "mine"
    assert (work / "other.toml").exists()


def test_init_follows_no_planted_link(work: Path) -> None:
    (work / "secure-ray.toml").symlink_to(work / "elsewhere")
    assert main(["config", "init"]) == 2
    assert not (work / "elsewhere").exists()


def test_init_into_a_directory_that_is_missing_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "init", "--path", "none/secure-ray.toml"]) == 4
    assert "cannot write" in capsys.readouterr().err

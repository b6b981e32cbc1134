"""`reset` asks first, and removes nothing that runs."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.locks import lock
from secure_ray.cli.main import main
from secure_ray.node.cluster import ensure_cluster
from secure_ray.node.paths import ClusterPaths

if TYPE_CHECKING:
    from pathlib import Path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def paths(home: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterPaths:
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))
    monkeypatch.delenv("SECURE_RAY_CLUSTER", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    paths = ClusterPaths(home, "default")
    ensure_cluster(paths)
    return paths


def test_nobody_to_ask_is_no_consent(
    paths: ClusterPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reset"]) == 2

    assert "SR-CFG-014" in capsys.readouterr().err
    assert paths.directory.is_dir()


@pytest.mark.parametrize(
    ("answer", "code"), [("y\n", 0), ("n\n", 130), ("\n", 130), ("", 130)], ids=repr
)
def test_user_is_asked(
    paths: ClusterPaths,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    code: int,
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    assert main(["reset"]) == code

    assert paths.directory.exists() == (code != 0)
    out, err = capsys.readouterr()
    assert "Remove cluster default" in err
    assert out.strip() == ""


def test_yes_removes_all_and_says_it(
    paths: ClusterPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reset", "--yes", "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["schema"] == "secure-ray/reset/1"
    assert str(paths.directory) in said["removed"]
    assert not paths.directory.exists()


def test_nothing_there_is_done(paths: ClusterPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reset", "--cluster", "other"]) == 0

    assert capsys.readouterr().err == "there is no cluster other\n"
    assert paths.directory.is_dir()


def test_running_cluster_is_not_removed(
    paths: ClusterPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    with lock(paths.supervisor_lock, wait=0):
        assert main(["reset", "--yes"]) == 4

    assert "fix: secure-ray down, then secure-ray reset\n" in capsys.readouterr().err
    assert paths.directory.is_dir()


def test_cluster_that_was_started_while_the_user_was_asked_is_not_removed(
    paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([False, True])
    monkeypatch.setattr("secure_ray.node.instance.supervisor_lives", lambda _paths: next(looks))

    assert main(["reset", "--yes"]) == 4
    assert paths.directory.is_dir()

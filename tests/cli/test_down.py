"""`down`: what it says, and that it touches nothing that is not there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.locks import lock
from secure_ray.cli.main import main
from secure_ray.node import cluster as cluster_module
from secure_ray.node.cluster import ensure_cluster
from secure_ray.node.paths import ClusterPaths

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))
    monkeypatch.delenv("SECURE_RAY_CLUSTER", raising=False)


@pytest.fixture
def paths(home: Path) -> ClusterPaths:
    paths = ClusterPaths(home, "default")
    ensure_cluster(paths)
    return paths


def stub(monkeypatch: pytest.MonkeyPatch, result: tuple[bool, list[str]]) -> list[bool]:
    """Whether each stop was to keep the store."""
    kept: list[bool] = []

    def bring_down(
        _paths: ClusterPaths, on_step: Callable[[str], None], *, keep_store: bool
    ) -> tuple[bool, list[str]]:
        on_step("stopping")
        kept.append(keep_store)
        return result

    monkeypatch.setattr("secure_ray.node.bring_down.bring_down", bring_down)
    return kept


def test_nothing_there_is_done(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down", "--cluster", "a"]) == 0

    assert capsys.readouterr() == ("", "cluster a was not running\n")
    assert list(home.iterdir()) == []


@pytest.mark.usefixtures("paths")
@pytest.mark.parametrize(
    ("result", "said"),
    [
        ((True, []), ["cluster default is down"]),
        ((False, []), ["cluster default was not running"]),
        (
            (False, ["raylet (pid 7)"]),
            [
                "warning: left behind by a supervisor that was killed, now stopped: raylet (pid 7)",
                "cluster default is down",
            ],
        ),
    ],
    ids=["running", "down", "leftovers"],
)
def test_what_was_stopped_is_said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    result: tuple[bool, list[str]],
    said: list[str],
) -> None:
    stub(monkeypatch, result)

    assert main(["down"]) == 0

    assert capsys.readouterr().err.splitlines() == said


@pytest.mark.usefixtures("paths")
def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stub(monkeypatch, (True, ["raylet (pid 7)"]))

    assert main(["down", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {
        "schema": "secure-ray/down/1",
        "cluster": "default",
        "was_running": True,
        "leftovers": ["raylet (pid 7)"],
    }


def test_another_command_is_waited_for_and_then_told(
    paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster_module.changing.__wrapped__, "__kwdefaults__", {"wait": 0})  # type: ignore[attr-defined]

    with lock(paths.lock, wait=0):
        assert main(["down"]) == 5

    assert "SR-STATE-003" in capsys.readouterr().err


def test_empty_name_does_not_stop_the_default_cluster(
    paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(monkeypatch, (True, []))

    assert main(["down", "--cluster", ""]) == 2
    assert paths.directory.is_dir()


@pytest.mark.usefixtures("paths")
def test_store_is_forgotten_unless_it_is_to_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = stub(monkeypatch, (True, []))

    assert main(["down"]) == 0
    assert main(["down", "--keep"]) == 0

    assert kept == [False, True]

"""`secure-ray certs` and `rotate-certs`: what they print, refuse and end with."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.clock import utc_now
from secure_ray.base.locks import lock
from secure_ray.cli import certs, rotate_certs
from secure_ray.cli.main import main
from secure_ray.node.place import Place
from secure_ray.rotation.nodes import AtPort, NodeFacts, OnDisk
from support.plans import private_plan

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan

WORKER = Place("w1", "10.77.0.2", "10.77.0.1")


def node(name: str, *, days: float, live: float | None = None) -> NodeFacts:
    now = utc_now()
    end, shown = now + timedelta(days=days), now + timedelta(days=live or days)
    return NodeFacts(
        id="" if name == "head" else name,
        name=name,
        address="10.77.0.1",
        state="running",
        seen=now,
        orders=(),
        disk=OnDisk("aa", end, "i", ()),
        ports=(AtPort("raylet", 1, "aa" if live is None else "bb", shown, "i"),),
        told={},
    )


def silent(name: str) -> NodeFacts:
    return replace(node(name, days=80), state="silent", ports=(), seen=None)


@pytest.fixture
def told(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[NodeFacts]:
    """The nodes that `certs` finds."""
    nodes: list[NodeFacts] = []
    monkeypatch.setattr(certs, "_nodes", lambda _cluster: (private_plan(home), tuple(nodes)))
    return nodes


@pytest.mark.parametrize(
    ("nodes", "code"),
    [
        ([node("w1", days=80), node("head", days=80)], 0),
        ([node("w1", days=80, live=79), node("head", days=80)], 0),
        ([node("w1", days=80, live=20), node("head", days=80)], 1),
        ([node("w1", days=80), node("head", days=5)], 1),
        ([silent("w1"), node("head", days=80)], 6),
        ([silent("w1"), node("head", days=5)], 1),
    ],
    ids=["well", "restart due", "live past two thirds", "ends soon", "silent", "both"],
)
def test_exit_code_says_how_it_stands(
    told: list[NodeFacts], nodes: list[NodeFacts], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    told += nodes

    assert main(["certs", "check"]) == code
    assert main(["certs", "check", "--json"]) == code
    lines = capsys.readouterr().out
    assert lines.startswith("NODE ")
    assert '"schema": "secure-ray/certs-check/1"' in lines


def test_metrics_tell_disk_and_live(
    told: list[NodeFacts], capsys: pytest.CaptureFixture[str]
) -> None:
    told += [node("w1", days=80, live=20), node("head", days=80)]

    main(["certs", "check", "--format", "prometheus"])

    lines = capsys.readouterr().out.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    name = 'secure_ray_cert_expiry_seconds{node="w1",cert="ray",where="live"}'
    assert 19 * 86400 < float(values[name]) <= 20 * 86400
    assert len(values) == 4


@pytest.fixture
def running(
    home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> LaunchPlan:
    """A head, or what the test asks for, that runs."""
    plan = private_plan(home, **getattr(request, "param", {}))
    plan.paths.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    monkeypatch.setenv("SECURE_RAY_HOME", str(plan.paths.home))

    class Running:
        def __init__(self, plan: LaunchPlan) -> None:
            self.plan = plan

    monkeypatch.setattr("secure_ray.node.instance.require_running", lambda _paths: Running(plan))
    return plan


@pytest.mark.parametrize("running", [{"place": WORKER}], indirect=True)
@pytest.mark.parametrize("command", [["certs", "check"], ["certs", "show"], ["rotate-certs"]])
@pytest.mark.usefixtures("running")
def test_worker_is_sent_to_its_head(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["code"] == "SR-CFG-024"


@pytest.mark.parametrize(
    "options",
    [["--resume", "--rollback"], ["--ca", "root", "--resume"], ["--ca", "issuing", "--rollback"]],
)
@pytest.mark.usefixtures("running")
def test_two_ways_at_once_are_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rotate-certs", *options, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["code"] == "SR-CFG-023"


def test_two_rotations_do_not_run_at_once(
    running: LaunchPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    with lock(running.paths.directory / "rotation.lock", wait=0.0):
        assert main(["rotate-certs", "--json"]) == 5

    assert json.loads(capsys.readouterr().out)["code"] == "SR-ROT-007"


@pytest.mark.parametrize(
    ("options", "act"),
    [
        ([], "leaves"),
        (["--ca", "issuing"], "issuing"),
        (["--ca", "root"], "root"),
        (["--resume"], "resume"),
        (["--rollback"], "rollback"),
    ],
)
@pytest.mark.usefixtures("running")
def test_each_option_has_its_way(
    options: list[str],
    act: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done: list[str] = []

    class Fake:
        def __getattr__(self, name: str) -> Any:
            return lambda: done.append(name)

    monkeypatch.setattr(rotate_certs, "_rotation", lambda *_positional, **_named: Fake())

    assert main(["rotate-certs", *options, "--json"]) == 0
    assert done == [act]
    assert json.loads(capsys.readouterr().out)["schema"] == "secure-ray/rotate-certs/1"

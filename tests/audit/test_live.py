"""What the proof of an instance looks at, and that it leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.audit import live as module
from secure_ray.audit.findings import Report, Status
from secure_ray.audit.live import audit_instance, judge_overrides, prove_instance
from secure_ray.base.errors import InconclusiveError
from secure_ray.node.advisories import read_advisories
from secure_ray.node.plan import ActiveOverride
from support.plans import NOW, instance_of, make_directories, plan_of

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.audit.target import Target
    from secure_ray.network.listeners import Listener

SLEEP = "import signal; print('ready', flush=True); signal.pause()"


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """What is to be proven; it counts as proven."""
    seen: list[Target] = []

    def prove(target: Target, **_: Any) -> Report:
        assert target.foreign_certificate.is_file()
        seen.append(target)
        return Report((), NOW, 0.1)

    monkeypatch.setattr(module, "prove", prove)
    return seen


def test_target_is_the_plan_and_every_process(home: Path, targets: list[Target]) -> None:
    plan = make_directories(plan_of(home, cluster_id=os.urandom(8).hex()))
    with subprocess.Popen(
        [sys.executable, "-S", "-c", SLEEP],
        stdout=subprocess.PIPE,
        env={"SECURE_RAY_INSTANCE": plan.cluster_id},
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            prove_instance(instance_of(plan), clock=lambda: NOW)
        finally:
            process.kill()

    (target,) = targets
    assert target.bind == "127.0.0.1"
    assert {os.getpid(), process.pid} <= set(target.pids)
    assert target.ports == plan.ports
    assert target.certificate == plan.certificates / "node.crt"
    assert target.token_path == plan.paths.token
    assert set(target.private_directories) == {plan.paths.directory, plan.paths.passphrase.parent}
    assert target.ray_parents == (plan.run.directory, plan.paths.spill)


def test_start_is_proven_as_one(
    home: Path, targets: list[Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[Target] = []

    def prove_start(target: Target, **_: Any) -> Report:
        starts.append(target)
        return Report((), NOW, 0.1)

    monkeypatch.setattr(module, "prove_start", prove_start)
    monkeypatch.setattr(module, "_LATE_SECONDS", 0)
    plan = make_directories(plan_of(home))

    prove_instance(instance_of(plan), clock=lambda: NOW, starts=True)
    assert (len(starts), len(targets)) == (1, 0)

    audit_instance(instance_of(plan), read_advisories(()), clock=lambda: NOW)
    assert (len(starts), len(targets)) == (1, 1)


def test_start_waits_for_what_listens_late(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = iter([True, True, False])
    targets: list[Target] = []

    def prove_start(target: Target, **_: Any) -> Report:
        targets.append(target)
        return Report((), NOW, 0.1)

    monkeypatch.setattr(module, "prove_start", prove_start)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0)
    monkeypatch.setattr("secure_ray.audit.checks.listeners.only_late", lambda *_: next(late))

    prove_instance(instance_of(make_directories(plan_of(home))), clock=lambda: NOW, starts=True)

    assert list(late) == []
    assert len(targets) == 1


def test_sockets_that_cannot_be_read_are_a_finding_and_no_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_pids: object) -> tuple[Listener, ...]:
        raise InconclusiveError("SR-X-001", "a process cannot be read", fix="f")

    monkeypatch.setattr(module, "listeners_of", unreadable)
    monkeypatch.setattr("secure_ray.audit.checks.listeners.listeners_of", unreadable)
    instance = instance_of(make_directories(plan_of(home)))

    report = prove_instance(instance, clock=lambda: NOW, starts=True)

    assert not report.proven
    assert {finding.status for finding in report.findings} == {Status.ERROR}
    assert "a process cannot be read" in report.findings[0].actual


@pytest.mark.parametrize("fails", [False, True])
def test_certificate_of_the_probe_is_removed(
    home: Path, targets: list[Target], monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    plan = make_directories(plan_of(home))

    def fail(_target: Target, **_: Any) -> Report:
        raise RuntimeError

    if fails:
        monkeypatch.setattr(module, "prove", fail)
        with pytest.raises(RuntimeError):
            prove_instance(instance_of(plan), clock=lambda: NOW)
    else:
        prove_instance(instance_of(plan), clock=lambda: NOW)
        assert not targets[0].foreign_key.exists()

    assert list(plan.run.temporary.iterdir()) == []


def test_overrides_are_failures() -> None:
    found = list(judge_overrides((ActiveOverride("SR-RAY-001", "2099-01-01", "a test"),)))

    assert [(finding.status, finding.where) for finding in found] == [
        (Status.FAIL, "override SR-RAY-001")
    ]
    assert "2099-01-01: a test" in found[0].actual
    assert [finding.status for finding in judge_overrides(())] == [Status.PASS]


def test_audit_judges_versions_and_overrides_as_well(home: Path, targets: list[Target]) -> None:
    plan = make_directories(plan_of(home, versions={"ray": "2.52.1"}))

    report = audit_instance(instance_of(plan), read_advisories(()), clock=lambda: NOW)

    assert len(targets) == 1
    assert report.worst is not None
    assert {finding.where for finding in report.findings} == {"ray 2.52.1", "settings"}

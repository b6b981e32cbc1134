"""Proves a running instance: gathers what its record and the kernel say of it, then checks."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from secure_ray.audit.before import judge_versions
from secure_ray.audit.checks import listeners
from secure_ray.audit.findings import Rule, Severity
from secure_ray.audit.run import prove, prove_start
from secure_ray.audit.target import Target
from secure_ray.base.errors import InconclusiveError
from secure_ray.base.files import make_private_directory, remove_tree
from secure_ray.network.listeners import listeners_of
from secure_ray.node.start_ray import cluster_processes
from secure_ray.pki.credentials import make_foreign_pair

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from secure_ray.audit.findings import Finding, Report
    from secure_ray.base.clock import Clock
    from secure_ray.node.instance import Instance
    from secure_ray.node.plan import ActiveOverride
    from secure_ray.policy.advisories import AdvisoryBook

_LATE_SECONDS = 20.0
_LOOK_SECONDS = 0.1
_OVERRIDES = Rule(
    "SR-AUDIT-060",
    "no rule is suspended by an override",
    Severity.HIGH,
    "none",
    "remove the override, then start the cluster again",
)


def prove_instance(instance: Instance, *, clock: Clock, starts: bool = False) -> Report:
    """Check the live cluster of `instance` against its plan.

    Args:
        instance: What was started.
        clock: The time.
        starts: True for the proof that decides whether it stays up, which ends early when it is
            open.

    Raises:
        FailedError: the directory for the probe's own certificate cannot be made.
    """
    probe = instance.plan.run.temporary / f"probe-{clock().timestamp():.6f}"
    make_private_directory(probe)
    try:
        if starts:
            _await_late_ones(instance)
        target = _target(instance, probe, clock)
        return prove_start(target, clock=clock) if starts else prove(target, clock=clock)
    finally:
        remove_tree(probe)


def _await_late_ones(instance: Instance) -> None:
    """Wait for what is planned and does not listen yet, but not beside a socket that is open.

    In its own order of starting an older Ray says that it is up before the node agents are (2.52.1,
    `_private/node.py`).
    """
    deadline = time.monotonic() + _LATE_SECONDS
    while time.monotonic() < deadline:
        try:
            found = listeners_of(_pids(instance))
        except InconclusiveError:
            return  # the check of the listeners meets it as well, and makes a finding of it
        if not listeners.only_late(instance.plan.place.address, instance.plan.ports, found):
            return
        time.sleep(_LOOK_SECONDS)


def audit_instance(instance: Instance, book: AdvisoryBook, *, clock: Clock) -> Report:
    """Prove the live cluster, and judge what it was started with: versions and overrides."""
    proof = prove_instance(instance, clock=clock)
    started_with = (
        *judge_versions(instance.plan.versions, book, guarded=instance.plan.guard is not None),
        *judge_overrides(instance.plan.overrides),
    )
    return replace(proof, findings=proof.findings + started_with)


def find_strays(instance: Instance) -> tuple[str, ...]:
    """Sockets of the cluster that other hosts could reach and should not; quick enough to repeat.

    A job can start a program without the bind guard, and what that opens is told here.

    Raises:
        InconclusiveError: the sockets of a process cannot be read.
    """
    found = listeners_of(_pids(instance))
    return tuple(
        str(one)
        for one in found
        if not listeners.is_allowed(one.address, instance.plan.place.address)
    )


def judge_overrides(overrides: Iterable[ActiveOverride]) -> Iterator[Finding]:
    """A failure for each suspended rule; a pass when there is none."""
    found = False
    for override in overrides:
        found = True
        yield _OVERRIDES.judge(
            f"override {override.rule}",
            holds=False,
            actual=f"suspended until {override.until}: {override.reason}",
        )
    if not found:
        yield _OVERRIDES.judge("settings", holds=True, actual="none")


def _target(instance: Instance, probe: Path, clock: Clock) -> Target:
    plan = instance.plan
    foreign_certificate, foreign_key = make_foreign_pair(probe, now=clock())
    return Target(
        bind=plan.place.address,
        pids=_pids(instance),
        ports=plan.ports,
        certificate=plan.certificates / "node.crt",
        key=plan.certificates / "node.key",
        authority=plan.certificates / "ca.crt",
        foreign_certificate=foreign_certificate,
        foreign_key=foreign_key,
        token_path=plan.paths.token,
        private_directories=(plan.paths.directory, plan.paths.passphrase.parent),
        ray_parents=(plan.run.directory, plan.paths.spill),
    )


def _pids(instance: Instance) -> tuple[int, ...]:
    supervisor = instance.supervisor.pid
    processes = cluster_processes(instance.plan.cluster_id, supervisor)
    return tuple(sorted({supervisor, *(process.pid for process in processes)}))

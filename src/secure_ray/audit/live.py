"""Proves a running instance: gathers what its record and the kernel say of it, then checks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from secure_ray.audit.before import judge_versions
from secure_ray.audit.findings import Rule, Severity
from secure_ray.audit.run import prove
from secure_ray.audit.target import Target
from secure_ray.base.files import make_private_directory, remove_tree
from secure_ray.node.plan import BIND
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

_OVERRIDES = Rule(
    "SR-AUDIT-060",
    "no rule is suspended by an override",
    Severity.HIGH,
    "none",
    "remove the override, then start the cluster again",
)


def prove_instance(instance: Instance, *, clock: Clock) -> Report:
    """Check the live cluster of `instance` against its plan.

    Raises:
        FailedError: the directory for the probe's own certificate cannot be made.
    """
    probe = instance.plan.run.temporary / f"probe-{clock().timestamp():.6f}"
    make_private_directory(probe)
    try:
        return prove(_target(instance, probe, clock), clock=clock)
    finally:
        remove_tree(probe)


def audit_instance(instance: Instance, book: AdvisoryBook, *, clock: Clock) -> Report:
    """Prove the live cluster, and judge what it was started with: versions and overrides."""
    proof = prove_instance(instance, clock=clock)
    started_with = (
        *judge_versions(instance.plan.versions, book),
        *judge_overrides(instance.plan.overrides),
    )
    return replace(proof, findings=proof.findings + started_with)


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
    processes = cluster_processes(plan.cluster_id, instance.supervisor.pid)
    pids = {instance.supervisor.pid, *(process.pid for process in processes)}
    return Target(
        bind=BIND,
        pids=tuple(sorted(pids)),
        ports=plan.ports,
        certificate=plan.certificates / "node.crt",
        key=plan.certificates / "node.key",
        authority=plan.certificates / "ca.crt",
        foreign_certificate=foreign_certificate,
        foreign_key=foreign_key,
        token_path=plan.paths.token,
        private_directories=(plan.paths.directory, plan.paths.passphrase.parent),
        session_parent=plan.run.directory,
    )

"""Proves a running instance: gathers what its record and the kernel say of it, then checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.audit.run import prove
from secure_ray.audit.target import Target
from secure_ray.base.files import make_private_directory, remove_tree
from secure_ray.node.plan import BIND
from secure_ray.node.start_ray import cluster_processes
from secure_ray.pki.credentials import make_foreign_pair

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.audit.findings import Report
    from secure_ray.base.clock import Clock
    from secure_ray.node.instance import Instance


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

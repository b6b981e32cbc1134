"""Runs the checks on a live cluster. No check can stop another, and silence is no pass."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from secure_ray.audit.checks import doors, files, grpc, http, listeners, secrets
from secure_ray.audit.findings import Report
from secure_ray.base.errors import SecureRayError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from secure_ray.audit.check import Check
    from secure_ray.audit.findings import Finding
    from secure_ray.audit.target import Target
    from secure_ray.base.clock import Clock

# Waits for nobody, and tells whether the cluster is open.
FIRST = (listeners.CHECK,)
CHECKS = (*FIRST, grpc.CHECK, http.CHECK, files.CHECK, secrets.CHECK)
# Of what there is in private mode only.
PRIVATE_CHECKS = (doors.CHECK,)


def checks_for(target: Target) -> tuple[Check, ...]:
    """The checks that `target` has to pass."""
    return (*CHECKS, *PRIVATE_CHECKS) if target.ports.private else CHECKS


def prove(target: Target, *, clock: Clock, checks: Iterable[Check] | None = None) -> Report:
    """Run the checks side by side; the findings stand in the order of the checks.

    Args:
        target: The cluster.
        clock: The time.
        checks: All that are for `target` when None.
    """
    began, started = time.monotonic(), clock()
    checks = checks_for(target) if checks is None else tuple(checks)
    with ThreadPoolExecutor(max(1, len(checks))) as threads:
        results = threads.map(lambda check: _run(check, target), checks)
        findings = tuple(finding for result in results for finding in result)
    return Report(findings, started, time.monotonic() - began)


def prove_start(
    target: Target,
    *,
    clock: Clock,
    first: Iterable[Check] = FIRST,
    checks: Iterable[Check] | None = None,
) -> Report:
    """Prove a cluster that is stopped unless it passes.

    The `first` of the `checks` run before the others. When one does not pass, its findings are the
    report: an open cluster must not stay up while the others wait for a slow dashboard.
    """
    first = tuple(first)
    checks = checks_for(target) if checks is None else checks
    begin = prove(target, clock=clock, checks=first)
    if not begin.proven:
        return begin
    rest = prove(target, clock=clock, checks=[check for check in checks if check not in first])
    return Report(begin.findings + rest.findings, begin.started, begin.seconds + rest.seconds)


def _run(check: Check, target: Target) -> list[Finding]:
    try:
        findings = list(check.run(target))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is told as a finding
        return [rule.unproven(check.name, _words(error)) for rule in check.rules]
    told = {finding.id for finding in findings}
    silent = [rule for rule in check.rules if rule.code not in told]
    return findings + [rule.unproven(check.name, "there was nothing to check") for rule in silent]


def _words(error: Exception) -> str:
    # The text of any other error could hold what it was working on, a token for instance.
    if isinstance(error, SecureRayError | OSError):
        return f"the check could not run: {error}"
    return f"the check could not run: {type(error).__name__}"

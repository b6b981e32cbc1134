"""Runs the checks on a live cluster. No check can stop another, and silence is no pass."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from secure_ray.audit.checks import files, grpc, http, listeners, secrets
from secure_ray.audit.findings import Report
from secure_ray.base.errors import SecureRayError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from secure_ray.audit.check import Check
    from secure_ray.audit.findings import Finding
    from secure_ray.audit.target import Target
    from secure_ray.base.clock import Clock

CHECKS = (listeners.CHECK, grpc.CHECK, http.CHECK, files.CHECK, secrets.CHECK)


def prove(target: Target, *, clock: Clock, checks: Iterable[Check] = CHECKS) -> Report:
    """Run the checks side by side; the findings stand in the order of the checks."""
    began, started = time.monotonic(), clock()
    checks = tuple(checks)
    with ThreadPoolExecutor(max(1, len(checks))) as threads:
        results = threads.map(lambda check: _run(check, target), checks)
        findings = tuple(finding for result in results for finding in result)
    return Report(findings, started, time.monotonic() - began)


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

"""Looks at what would be started: the installed versions and what is known about them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from secure_ray.audit.findings import Finding, Report, Rule, Severity
from secure_ray.base.errors import FailedError
from secure_ray.network.guard.library import guard_library, self_test
from secure_ray.network.guard.rules import LOCAL_RULES
from secure_ray.node.advisories import read_advisories
from secure_ray.node.host import read_versions
from secure_ray.node.load import load_settings
from secure_ray.policy.advisories import CLOSED_BY_GUARD, INFORMATIONAL
from secure_ray.policy.versions import vulnerable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from secure_ray.base.clock import Clock
    from secure_ray.policy.advisories import Advisory, AdvisoryBook

_TITLE = "no known advisory affects an installed package"
_CODE = "SR-AUDIT-050"
_INSTALLED = {"ray": "ray[default]", "aiohttp": "aiohttp", "grpcio": "grpcio"}


def examine(
    *, environ: Mapping[str, str], cwd: Path, clock: Clock, config: Path | None = None
) -> Report:
    """A finding for each installed package that carries Ray's traffic, and for each advisory.

    Args:
        environ: The caller's environment.
        cwd: Where the settings are looked for.
        clock: The time.
        config: The settings file that was named, or None.

    Raises:
        UsageError: the settings or an advisory file are wrong.
    """
    began, started = time.monotonic(), clock()
    settings = load_settings(config=config, environ=environ, cwd=cwd, flags={}).resolved.settings
    book = read_advisories(settings.advisories.files)
    findings = tuple(judge_versions(read_versions(), book, guarded=_guard_holds()))
    return Report(findings, started, time.monotonic() - began)


def _guard_holds() -> bool:
    try:
        self_test(guard_library(), LOCAL_RULES)
    except FailedError:
        return False
    return True


def judge_versions(
    versions: Mapping[str, str], book: AdvisoryBook, *, guarded: bool
) -> Iterator[Finding]:
    """A pass for each package without advisories, else a failure for each advisory.

    Args:
        versions: Versions by package.
        book: What is known of them.
        guarded: Whether the bind guard holds Ray's processes.
    """
    expected = f"none in the advisories of {book.date.isoformat()}"
    affected = {found.package: found for found in vulnerable(versions, book)}
    for package, version in versions.items():
        where = f"{package} {version}"
        found = affected.get(package)
        if found is None:
            yield _rule(Severity.HIGH, expected).judge(where, holds=True, actual="none")
        elif not found.readable:
            yield _rule(Severity.HIGH, expected).unproven(where, "the version cannot be compared")
        else:
            for advisory in found.advisories:
                fix = _upgrade(package, advisory.fixed)
                open_here = not guarded and advisory.id in CLOSED_BY_GUARD
                severity = Severity.HIGH if open_here else _severity(advisory)
                yield _rule(severity, expected, fix).judge(
                    where,
                    # Closed by what secure-ray itself does; told, but no reason to worry.
                    holds=advisory.severity == INFORMATIONAL and not open_here,
                    actual=f"{advisory.id}: {advisory.summary}",
                )
    if "ray" not in versions:
        yield _rule(Severity.HIGH, expected).unproven("ray", "it is not installed")


def _upgrade(package: str, fixed: str) -> str:
    if package not in _INSTALLED:  # a copy inside Ray
        return f"pip install --upgrade 'ray[default]', to one that brings {fixed or 'a fixed one'}"
    if not fixed:
        return "no version is known that is not affected"
    return f"pip install '{_INSTALLED[package]}>={fixed}'"


def _rule(severity: Severity, expected: str, fix: str = "") -> Rule:
    return Rule(_CODE, _TITLE, severity, expected, fix)


def _severity(advisory: Advisory) -> Severity:
    if advisory.severity == INFORMATIONAL:
        return Severity.LOW
    return Severity[advisory.severity.upper()]

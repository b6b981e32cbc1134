"""A report as text for people."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from secure_ray.audit.findings import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secure_ray.audit.findings import Finding, Report


def as_lines(report: Report, *, each: bool = False) -> Iterator[str]:
    """The report as plain lines: a line for each rule that holds, all that is known of the others.

    Args:
        report: What was found.
        each: A line for each place where a rule holds, with what was found there.
    """
    for finding, times in _in_order(report) if each else _condensed(report):
        yield f"{finding.status.value:<6} {finding.id}  {finding.title}{_count(times)}"
        if finding.status is not Status.PASS:
            yield f"       {finding.severity}, {finding.where}: {finding.actual}"
            yield f"       expected: {finding.expected}.  fix: {finding.fix}"
        elif each:
            yield f"       {finding.where}: {finding.actual}"
    yield summary(report)


def summary(report: Report) -> str:
    """One line: how many findings of each kind, and how long it took."""
    counts = {
        status: sum(finding.status is status for finding in report.findings) for status in Status
    }
    told = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    return f"{told or 'nothing checked'} in {report.seconds:.2f} s"


def _condensed(report: Report) -> Iterator[tuple[Finding, int]]:
    """What passed as one entry a rule with its count, everything else by itself."""
    for _, group in groupby(_in_order(report), key=lambda entry: entry[0].id):
        findings = [finding for finding, _ in group]
        passed = [finding for finding in findings if finding.status is Status.PASS]
        if passed:
            yield passed[0], len(passed)
        for finding in findings:
            if finding.status is not Status.PASS:
                yield finding, 1


def _in_order(report: Report) -> list[tuple[Finding, int]]:
    return [(finding, 1) for finding in sorted(report.findings, key=lambda finding: finding.id)]


def _count(times: int) -> str:
    return f" ({times} places)" if times > 1 else ""

"""A report as text for people, and as JSON."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING

from secure_ray.audit.findings import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from secure_ray.audit.findings import Finding, Report

_COLORS = {
    Status.PASS: "green",
    Status.FAIL: "red",
    Status.WAIVED: "yellow",
    Status.ERROR: "magenta",
}


def as_json(report: Report) -> str:
    """The report as one JSON document."""
    return json.dumps(report.to_json(), indent=2)


def as_lines(report: Report) -> Iterator[str]:
    """The report as plain lines: a line for each rule that holds, all that is known of the others."""
    for finding, times in _condensed(report):
        yield f"{finding.status.value:<6} {finding.id}  {finding.title}{_count(times)}"
        if finding.status is not Status.PASS:
            yield f"       {finding.severity}, {finding.where}: {finding.actual}"
            yield f"       expected: {finding.expected}.  fix: {finding.fix}"
    yield summary(report)


def as_table(report: Report) -> Table:
    """The report as a table for a terminal, condensed as in `as_lines`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=summary(report), caption_justify="left", highlight=False)
    for column in ("", "Rule", "What must hold", "Where", "Found", "Fix"):
        table.add_column(column, overflow="fold")
    for finding, times in _condensed(report):
        where = f"{times} places" if times > 1 else finding.where
        actual = "" if times > 1 else finding.actual
        status = Text(finding.status.value, style=_COLORS[finding.status])
        # Text, not str: what was found can hold brackets, which are markup to rich.
        cells = (finding.id, finding.title, where, actual, finding.fix)
        table.add_row(status, *(Text(cell) for cell in cells))
    return table


def summary(report: Report) -> str:
    """One line: how many findings of each kind, and how long it took."""
    counts = {
        status: sum(finding.status is status for finding in report.findings) for status in Status
    }
    told = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    return f"{told or 'nothing checked'} in {report.seconds:.2f} s"


def _condensed(report: Report) -> Iterator[tuple[Finding, int]]:
    """What passed as one entry a rule with its count, everything else by itself."""
    ordered = sorted(report.findings, key=lambda finding: finding.id)
    for _, group in groupby(ordered, key=lambda finding: finding.id):
        findings = list(group)
        passed = [finding for finding in findings if finding.status is Status.PASS]
        if passed:
            yield passed[0], len(passed)
        for finding in findings:
            if finding.status is not Status.PASS:
                yield finding, 1


def _count(times: int) -> str:
    return f" ({times} places)" if times > 1 else ""

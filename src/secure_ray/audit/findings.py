"""What a proof says: findings, each about one rule and one place, and the report of them.

"It could not be checked" is a finding of its own, with status error, and never a pass.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

SCHEMA = "secure-ray/audit/1"


class Status(Enum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    ERROR = "error"  # it could not be checked


class Severity(IntEnum):
    """How bad it is when a rule does not hold."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """One rule at one place.

    Attributes:
        id: The rule, for example `SR-AUDIT-001`.
        severity: How bad it is, or would be.
        status: How the check ended.
        title: What holds when it passes.
        expected: What was looked for.
        actual: What was found, or why nothing could be.
        fix: What to do about it; "" when it passes.
        where: The socket, file or process.
    """

    id: str
    severity: Severity
    status: Status
    title: str
    expected: str
    actual: str
    fix: str
    where: str


@dataclass(frozen=True)
class Rule:
    """One thing that a live cluster must show; makes the findings about it."""

    code: str
    title: str
    severity: Severity
    expected: str
    fix: str

    def judge(self, where: str, *, holds: bool, actual: str) -> Finding:
        """A pass or a fail."""
        if holds:
            return self._finding(Status.PASS, where, actual, fix="")
        return self._finding(Status.FAIL, where, actual, fix=self.fix)

    def unproven(self, where: str, why: str) -> Finding:
        """It could not be checked."""
        return self._finding(Status.ERROR, where, why, fix="remove the cause, then run it again")

    def _finding(self, status: Status, where: str, actual: str, *, fix: str) -> Finding:
        return Finding(
            self.code, self.severity, status, self.title, self.expected, actual, fix, where
        )


@dataclass(frozen=True)
class Report:
    """All findings of one run.

    Attributes:
        findings: In the order of the checks.
        started: When the run began.
        seconds: How long it took.
    """

    findings: tuple[Finding, ...]
    started: datetime
    seconds: float

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What could not be checked."""
        return tuple(finding for finding in self.findings if finding.status is Status.ERROR)

    @property
    def worst(self) -> Severity | None:
        """The highest severity that failed, None when nothing did."""
        return max((finding.severity for finding in self.failed(Severity.LOW)), default=None)

    @property
    def proven(self) -> bool:
        """Whether something was checked, nothing failed and nothing was left unchecked."""
        return bool(self.findings) and self.worst is None and not self.errors

    def failed(self, at_or_above: Severity) -> tuple[Finding, ...]:
        """What failed with this severity or a higher one."""
        return tuple(
            finding
            for finding in self.findings
            if finding.status is Status.FAIL and finding.severity >= at_or_above
        )

    def to_json(self) -> dict[str, object]:
        """The report as plain data with a versioned `schema`."""
        counts = {status.value: 0 for status in Status}
        for finding in self.findings:
            counts[finding.status.value] += 1
        return {
            "schema": SCHEMA,
            "started": self.started.isoformat(),
            "seconds": round(self.seconds, 3),
            "worst": None if self.worst is None else str(self.worst),
            "proven": self.proven,
            "counts": counts,
            "findings": [_plain(finding) for finding in self.findings],
        }


def _plain(finding: Finding) -> dict[str, str]:
    return {
        **asdict(finding),
        "severity": str(finding.severity),
        "status": finding.status.value,
    }

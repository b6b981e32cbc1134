"""The errors that reach a user.

    SecureRayError            1  a bug of ours, or findings
    |-- UsageError            2  usage or configuration
    |-- RefusedError          3  refused by policy: holds every refusal
    |-- FailedError           4  failed, and nothing changed
    |-- IncompleteError       5  incomplete: run it again to continue
    |-- InconclusiveError     6  a check could not run
    `-- RejectedError         7  join or authentication rejected

Each error has a stable code (`secure-ray explain CODE`), a cause and a fix. None may ever contain
a secret: give the path of a secret's file instead of what is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class SecureRayError(Exception):
    """Something went wrong that the user can be told about.

    Attributes:
        code: Stable identifier, for example `SR-STATE-003`.
        cause: What happened, in one sentence.
        fix: What the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, cause: str, *, fix: str) -> None:
        super().__init__(f"{code}: {cause}")
        self.code = code
        self.cause = cause
        self.fix = fix


class UsageError(SecureRayError):
    """The command line, a variable or the settings file is wrong."""

    exit_code = 2


class FailedError(SecureRayError):
    """It failed, and what was there before is as it was."""

    exit_code = 4


class IncompleteError(SecureRayError):
    """It stopped half-way; the same command run again continues."""

    exit_code = 5


class InconclusiveError(SecureRayError):
    """A check could not run, so nothing is proven."""

    exit_code = 6


class RejectedError(SecureRayError):
    """A join or an authentication was rejected."""

    exit_code = 7


@dataclass(frozen=True)
class Refusal:
    """One thing that policy refuses.

    Attributes:
        rule: The rule, for example `SR-NET-002`.
        subject: What was asked, for example `the dashboard would listen on 0.0.0.0`.
        source: Where it was asked, for example `flag --dashboard-host`.
        why: Why it is refused.
        fix: What to do instead.
    """

    rule: str
    subject: str
    source: str
    why: str
    fix: str


class RefusedError(SecureRayError):
    """Policy refuses what was asked. Holds all refusals, not the first."""

    exit_code = 3

    def __init__(self, refusals: tuple[Refusal, ...]) -> None:
        if not refusals:
            msg = "a RefusedError needs at least one refusal"
            raise ValueError(msg)
        first = refusals[0]
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        super().__init__(first.rule, f"{first.subject} ({first.source}){more}", fix=first.fix)
        self.refusals = refusals

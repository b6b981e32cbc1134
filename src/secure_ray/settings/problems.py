"""What is wrong with settings, all of it at once."""

from __future__ import annotations

from msgspec import Struct

from secure_ray.base.errors import UsageError


class Problem(Struct, frozen=True):
    """One setting that cannot be used.

    Attributes:
        code: `SR-CFG-001` for an unknown key, `SR-CFG-002` for a value that is not allowed.
        key: The setting, for example `limits.num_cpus`.
        value: What was given, as JSON; "" where it must not be shown (it may be a secret).
        complaint: The end of a sentence that begins with the key.
        source: Where it was given.
    """

    code: str
    key: str
    value: str
    complaint: str
    source: str

    def __str__(self) -> str:
        given = f" = {self.value}" if self.value else ""
        return f"{self.key}{given} {self.complaint} ({self.source})"


class SettingsError(UsageError):
    """Settings are wrong. Holds every problem, not the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        if not problems:
            msg = "a SettingsError needs at least one problem"
            raise ValueError(msg)
        cause = "\n".join(str(problem) for problem in problems)
        super().__init__(
            problems[0].code,
            cause,
            fix="correct what is named; `secure-ray config init` writes a file with every setting",
        )
        self.problems = problems


def syntax_error(name: str, complaint: str) -> UsageError:
    """The error for a file that cannot be read as what it should be."""
    return UsageError("SR-CFG-003", f"{name}: {complaint}", fix="correct that line")

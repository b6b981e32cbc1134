"""The error codes of the other parts, so that `secure-ray explain` knows every code."""

from __future__ import annotations

from secure_ray.policy.rules import Rule, Severity


def _error(code: str, title: str, why: str, fix: str, *, overridable: bool = False) -> Rule:
    return Rule(code, title, why, fix, overridable, Severity.MEDIUM)


ERRORS = (
    _error(
        "SR-FILE-001",
        "a path is a link or something other than it should be",
        "A link in a trusted place may have been planted to make us read or write elsewhere, so "
        "it is never followed.",
        "Find out who made it (ls -ld PATH), then remove it.",
    ),
    _error(
        "SR-FILE-002",
        "a file or directory is not ours, or open to others",
        "Whoever owns it or may read it has what it protects: keys, the token, the state.",
        "Run as its owner; if nobody else has touched it, chmod go-rwx PATH.",
    ),
    _error(
        "SR-FILE-003",
        "somebody else can swap a directory above a trusted path",
        "Who may write to a directory may rename what lies in it, private or not.",
        "chmod go-w the directory named, or set SECURE_RAY_HOME to a directory of yours.",
    ),
    _error(
        "SR-FILE-004",
        "a file cannot be read or written",
        "Without its state secure-ray does not start anything.",
        "Check owner, mode and mount of the directory named, or set SECURE_RAY_HOME.",
    ),
    _error(
        "SR-FILE-005",
        "a file is larger than it can be",
        "Reading it whole could take all memory; nothing that secure-ray writes gets that large.",
        "Remove it and try again.",
    ),
    _error(
        "SR-FILE-006",
        "no space left",
        "Nothing was half written; what was there before is unchanged.",
        "Free space or quota on the file system named.",
    ),
)

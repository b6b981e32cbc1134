"""No secret stands where a process list shows it: in arguments and environments.

It sees what a process was started with. What a process puts into its own environment later is only
in its memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from secure_ray.audit.check import Check
from secure_ray.audit.findings import Rule, Severity
from secure_ray.base.files import read_private
from secure_ray.network.listeners import has_ended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secure_ray.audit.findings import Finding
    from secure_ray.audit.target import Target

TOKEN = Rule(
    "SR-AUDIT-040",
    "the cluster token is in no process's arguments or environment",
    Severity.CRITICAL,
    expected="not found",
    fix="stop the process, give it RAY_AUTH_TOKEN_PATH instead, and make a new token "
    "(secure-ray explain SR-AUDIT-040 says how)",
)
VARIABLE = Rule(
    "SR-AUDIT-041",
    "RAY_AUTH_TOKEN is set in no process",
    Severity.HIGH,
    expected="not set",
    fix="unset it: every job inherits it, and it wins over RAY_AUTH_TOKEN_PATH",
)
KEY = Rule(
    "SR-AUDIT-042",
    "the private key is in no process's arguments or environment",
    Severity.CRITICAL,
    expected="not found",
    fix="stop the process, give it the key's path instead, and make new keys "
    "(secure-ray explain SR-AUDIT-042 says how)",
)
RULES = (TOKEN, VARIABLE, KEY)

_VARIABLE = b"RAY_AUTH_TOKEN="
_SHORTEST = 16  # bytes; less than that would match by chance


@dataclass(frozen=True)
class Sought:
    """The texts to look for."""

    token: bytes
    key_lines: tuple[bytes, ...]

    def __repr__(self) -> str:
        return "Sought(********)"


def _run(target: Target) -> Iterator[Finding]:
    sought = Sought(read_private(target.token_path).strip(), _key_lines(target.key))
    clean = 0
    findings: list[Finding] = []
    for pid in target.pids:
        try:
            process = psutil.Process(pid)
            told = judge(f"{process.name()} (pid {pid})", _started_with(process), sought)
        except (psutil.Error, OSError) as error:
            if has_ended(pid):
                continue
            told = [rule.unproven(f"pid {pid}", type(error).__name__) for rule in RULES]
        clean += not told
        findings += told
    yield from findings
    yield from _passes(findings, clean)


def judge(where: str, started_with: tuple[bytes, ...], sought: Sought) -> list[Finding]:
    """The failures of one process, from its arguments and `NAME=value` strings."""
    joined = b"\n".join(started_with)
    broken = {
        TOKEN: sought.token in joined,
        VARIABLE: any(entry.startswith(_VARIABLE) for entry in started_with),
        KEY: any(line in joined for line in sought.key_lines),
    }
    return [rule.judge(where, holds=False, actual="found") for rule, bad in broken.items() if bad]


def _passes(findings: list[Finding], clean: int) -> Iterator[Finding]:
    told = {finding.id for finding in findings}
    for rule in RULES:
        if clean and rule.code not in told:
            yield rule.judge(f"{clean} processes", holds=True, actual="not found")


def _key_lines(path: Path) -> tuple[bytes, ...]:
    lines = (line.strip() for line in read_private(path).splitlines())
    return tuple(line for line in lines if len(line) >= _SHORTEST and not line.startswith(b"--"))


def _started_with(process: psutil.Process) -> tuple[bytes, ...]:
    entry = Path(f"/proc/{process.pid}")
    if entry.is_dir():
        # As it stands: psutil ends at the first empty string, and a process that writes its title
        # over its arguments leaves such strings before its environment.
        parts = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        return tuple(text for part in parts for text in part.split(b"\0") if text)
    arguments = (argument.encode() for argument in process.cmdline())
    variables = (f"{name}={value}".encode() for name, value in process.environ().items())
    return (*arguments, *variables)


CHECK = Check("secrets", RULES, _run)

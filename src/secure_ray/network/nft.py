"""Puts a table of rules into the kernel by nft(8), compares it, takes it out again.

nft sends a file to the kernel as one transaction: it takes effect whole or not at all, also when
nft is killed. Only the table that is named is touched.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError, InconclusiveError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Not the caller's PATH: this runs as root.
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"
_TABLE = re.compile(r"^add table inet (secure_ray_[a-z0-9_-]+)$", re.MULTILINE)
# What a set has learnt from packets is no rule.
_LEARNT = re.compile(r"\n\s*elements = \{[^}]*\}")
_NO_TABLE = "No such file or directory"
_FORBIDDEN = "Operation not permitted"


def apply_rules(rules: str) -> None:
    """Make or replace the table that `rules` define.

    Raises:
        FailedError: not root, no nft here, or the kernel refuses the rules; nothing has changed.
    """
    _require(_nft(["-f", "-"], rules))


def differences(rules: str) -> tuple[str, ...]:
    """How the live table differs from `rules`, in lines with "-" (missing) and "+" (foreign).

    The kernel itself says how the rules look once they are loaded: they are loaded a second time,
    in an empty network namespace that nobody uses and that ends with the question.

    Raises:
        FailedError: not root, or no nft here.
        InconclusiveError: no network namespace can be made.
    """
    table = table_of(rules)
    script = 'nft -f - && { nft -s list table inet "$1" 2>/dev/null || :; }'
    command = ["unshare", "--net", "--", "sh", "-c", script, "sh", table]
    live = live_rules(table)
    loaded = _run(command, rules)
    if loaded.returncode:
        raise InconclusiveError(
            "SR-FW-004",
            f"the rules cannot be compared: {_reason(loaded)}",
            fix="run it where root may make network namespaces (CAP_SYS_ADMIN, unshare(1))",
        )
    lines = difflib.unified_diff(
        _without_learnt(loaded.stdout), live.splitlines(), lineterm="", n=0
    )
    return tuple(line for line in lines if not line.startswith(("---", "+++", "@@")))


def live_rules(table: str) -> str:
    """The table as the kernel has it, without what its sets have learnt; "" when there is none.

    Raises:
        FailedError: not root, or no nft here.
    """
    done = _nft(["-s", "list", "table", "inet", table])
    if done.returncode and _NO_TABLE in done.stderr:
        return ""
    _require(done)
    return "\n".join(_without_learnt(done.stdout))


def remove_table(table: str, removal: str) -> bool:
    """Take the table out. False when it was not there.

    Raises:
        FailedError: not root, no nft here, or the kernel refuses.
    """
    was_there = bool(live_rules(table))
    if was_there:
        _require(_nft(["-f", "-"], removal))
    return was_there


def table_of(rules: str) -> str:
    """The table that `rules` define.

    Raises:
        ValueError: they define none.
    """
    found = _TABLE.search(rules)
    if found is None:
        raise ValueError("these rules define no table of secure-ray")
    return found.group(1)


def _without_learnt(listing: str) -> list[str]:
    return _LEARNT.sub("", listing).splitlines()


def _nft(arguments: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    if os.geteuid() != 0:
        raise _needs_root()
    return _run(["nft", *arguments], text)


def _run(command: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which(command[0], path=_SYSTEM_PATH)
    if program is None:
        raise FailedError(
            "SR-FW-002",
            f"{command[0]} is not installed",
            fix="install the package nftables, or run as root what secure-ray firewall show "
            "--iptables prints",
        )
    return subprocess.run(  # noqa: S603  # a program of the system, its arguments are ours
        [program, *command[1:]],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": _SYSTEM_PATH, "LC_ALL": "C"},
    )


def _require(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode == 0:
        return
    if _FORBIDDEN in done.stderr:
        raise _needs_root()
    raise FailedError(
        "SR-FW-003",
        f"nft does not take the rules: {_reason(done)}",
        fix="see what is missing with: secure-ray firewall show | nft -c -f - (as root)",
    )


def _needs_root() -> FailedError:
    return FailedError(
        "SR-FW-001",
        "only root may see or change the firewall",
        fix="secure-ray firewall show | sudo nft -f -",
    )


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]

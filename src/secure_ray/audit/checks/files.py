"""Nobody else on this host can read or swap the cluster's files, or reach its Unix sockets."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.audit.check import Check
from secure_ray.audit.findings import Rule, Severity
from secure_ray.base.errors import FailedError
from secure_ray.base.files import read_private
from secure_ray.base.ownership import require_private_directory
from secure_ray.network.listeners import unix_sockets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from secure_ray.audit.findings import Finding
    from secure_ray.audit.target import Target

DIRECTORY = Rule(
    "SR-AUDIT-030",
    "the state directories are closed to others",
    Severity.CRITICAL,
    expected="a directory of ours with mode 0700, and none above it that others can change",
    fix="find out who opened it; then chmod 0700, and make new keys and a new token "
    "(secure-ray explain SR-AUDIT-030 says how)",
)
CONTENT = Rule(
    "SR-AUDIT-031",
    "nothing in the state directories is open to others",
    Severity.HIGH,
    expected="ours, no permission for others, no link that leads out",
    fix="find out who opened it; then chmod go-rwx, or remove the link",
)
SECRET_FILE = Rule(
    "SR-AUDIT-032",
    "the private key and the token are readable by us alone",
    Severity.CRITICAL,
    expected="a file of ours with mode 0600",
    fix="chmod 0600, and make new keys and a new token, which somebody may have read "
    "(secure-ray explain SR-AUDIT-032 says how)",
)
SESSION = Rule(
    "SR-AUDIT-033",
    "Ray's own directories are closed off",
    Severity.CRITICAL,
    expected="a parent of ours with mode 0700 that is no link: Ray opens all below it to everybody",
    fix="stop the cluster, chmod 0700 the parent",
)
SOCKET = Rule(
    "SR-AUDIT-034",
    "Unix sockets are out of reach of others",
    Severity.HIGH,
    expected="a path below a private directory",
    fix="stop the cluster; a socket elsewhere, or an abstract one, is open to every user",
)

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def _run(target: Target) -> Iterator[Finding]:
    for directory in target.private_directories:
        yield _judge_private(DIRECTORY, directory, require_private_directory)
    for directory in _outermost(target.private_directories):
        yield from _judge_content(directory, leave_out=target.ray_parents)
    for path in (target.key, target.token_path):
        yield _judge_private(SECRET_FILE, path, read_private)
    for directory in target.ray_parents:
        yield _judge_private(SESSION, directory, require_private_directory)
    closed = (*target.ray_parents, *target.private_directories)
    for name in unix_sockets_of(target.pids):
        yield _judge_socket(name, closed)


def _outermost(directories: tuple[Path, ...]) -> list[Path]:
    """Those that lie in none of the others."""
    given = set(directories)
    return [directory for directory in sorted(given) if given.isdisjoint(directory.parents)]


def _judge_private(rule: Rule, path: Path, require: Callable[[Path], object]) -> Finding:
    try:
        require(path)
    except FailedError as error:
        return rule.judge(str(path), holds=False, actual=error.cause)
    return rule.judge(str(path), holds=True, actual="private")


def _judge_content(directory: Path, *, leave_out: tuple[Path, ...]) -> list[Finding]:
    findings, count = [], 0
    try:
        for path in _walk(directory, leave_out):
            count += 1
            wrong = _what_is_wrong(path, directory)
            if wrong:
                findings.append(CONTENT.judge(str(path), holds=False, actual=wrong))
    except OSError as error:
        return [*findings, CONTENT.unproven(str(directory), str(error))]
    return findings or [CONTENT.judge(str(directory), holds=True, actual=f"{count} entries")]


def _walk(directory: Path, leave_out: tuple[Path, ...]) -> Iterator[Path]:
    for entry in sorted(directory.iterdir()):
        if entry in leave_out:  # Ray's own trees, which their parents close off
            continue
        yield entry
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry, leave_out)


def _what_is_wrong(path: Path, directory: Path) -> str:
    try:
        found = path.lstat()
    except FileNotFoundError:  # a temporary file that has its own name by now
        return ""
    if found.st_uid != os.geteuid():
        return f"belongs to uid {found.st_uid}"
    if stat.S_ISLNK(found.st_mode):
        outside = not path.resolve().is_relative_to(directory.resolve())
        return f"leads to {path.resolve()}" if outside else ""
    if found.st_mode & _OTHERS:
        return f"mode {stat.S_IMODE(found.st_mode):04o}"
    return ""


def _judge_socket(name: str, closed: tuple[Path, ...]) -> Finding:
    # An abstract socket ("@...") has no owner and no mode: unix(7).
    path = Path(name)
    inside = path.is_absolute() and any(
        path.resolve().is_relative_to(directory.resolve()) for directory in closed
    )
    return SOCKET.judge(name, holds=inside, actual="inside" if inside else "outside")


CHECK = Check("files", (DIRECTORY, CONTENT, SECRET_FILE, SESSION, SOCKET), _run)

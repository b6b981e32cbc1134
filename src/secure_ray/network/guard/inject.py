"""The guard for a process that runs already: a driver that was not started under it."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.network.guard.library import guarded_environment

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.network.guard.rules import GuardRules

_MACHINES = {"x86_64", "aarch64"}
_MOST_NAMES = 16384


def inject(library: Path, rules: GuardRules) -> None:
    """Guard the sockets that this process makes from now on, and the processes that it starts.

    Python's own imports are watched, so extension modules that come later are guarded as they are
    loaded. Sockets that are bound already stay where they are. Puts the guard's variables into
    `os.environ`; does nothing in a process that has these rules already.

    Raises:
        FailedError: this platform cannot do it, the process is guarded by other rules, or a loaded
            object could not be reached.
    """
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        raise _cannot(f"it is for Linux on {' and '.join(sorted(_MACHINES))}")
    before = dict(os.environ)
    preload = os.environ.get("LD_PRELOAD", "")
    os.environ.update(guarded_environment(library, rules, inherited_preload=preload))
    try:
        guard = _load(library)
        if not guard.secure_ray_guard_agrees():
            raise _cannot("it is guarded by other rules already, or the guard cannot read these")
    except FailedError:
        os.environ.clear()
        os.environ.update(before)
        raise
    guard.secure_ray_guard_patch()
    require_injected(library)


def require_injected(library: Path) -> None:
    """Check that nothing that is loaded into this process calls past the guard.

    Raises:
        FailedError: something does, or the guard is not in this process.
    """
    names = ctypes.create_string_buffer(_MOST_NAMES)
    unpatched = _load(library).secure_ray_guard_unpatched(names, ctypes.c_size_t(_MOST_NAMES))
    if unpatched:
        found = sorted({name or sys.executable for name in names.value.decode().splitlines()})
        raise FailedError(
            "SR-GUARD-005",
            f"part of this process opens sockets past the bind guard: {', '.join(found)}",
            fix="start it under the guard instead: secure-ray run -- COMMAND",
        )


def _load(library: Path) -> ctypes.CDLL:
    """The guard in this process; the one that was preloaded if there is one."""
    try:
        guard = ctypes.CDLL(str(library))
    except OSError as error:
        raise _cannot(str(error)) from None
    guard.secure_ray_guard_agrees.restype = ctypes.c_int
    guard.secure_ray_guard_patch.restype = ctypes.c_size_t
    guard.secure_ray_guard_unpatched.restype = ctypes.c_size_t
    return guard


def _cannot(why: str) -> FailedError:
    return FailedError(
        "SR-GUARD-004",
        f"the bind guard cannot be put into this process: {why}",
        fix="start it under the guard instead: secure-ray run -- COMMAND",
    )

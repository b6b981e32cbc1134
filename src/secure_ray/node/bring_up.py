"""Start a supervisor in the background, or become one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from secure_ray.base.errors import (
    FailedError,
    IncompleteError,
    InconclusiveError,
    RejectedError,
    SecureRayError,
    UsageError,
)
from secure_ray.node.environment import INSTANCE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from secure_ray.node.prepare import Prepared

# The supervisor is composed one layer up, where the proof lives.
_SUPERVISOR_MODULE = "secure_ray.cli.supervise"
# What it can report; any other exit code is that of a bug.
_KINDS: dict[int, type[SecureRayError]] = {
    kind.exit_code: kind
    for kind in (UsageError, FailedError, IncompleteError, InconclusiveError, RejectedError)
}


def bring_up(prepared: Prepared, on_event: Callable[[dict[str, Any]], None]) -> None:
    """Start the supervisor and wait until the cluster is proven, or waits to be wanted.

    Interrupted (Ctrl-C), it has the supervisor stop Ray again before it lets go.

    Raises:
        SecureRayError: what the supervisor reported; nothing of Ray is left running.
    """
    process = subprocess.Popen(  # noqa: S603  # our own module, no shell
        _command(prepared),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(prepared),
        cwd=prepared.plan.paths.directory,
        pass_fds=(prepared.reservation.fileno(),),
        start_new_session=True,
    )
    prepared.reservation.close()
    assert process.stdin is not None  # noqa: S101  # both were asked for
    assert process.stdout is not None  # noqa: S101
    try:
        # One that died at once is told by its silence, below.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(_order(prepared))
            process.stdin.close()
        _follow(process, on_event, prepared.plan.paths.log)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        process.stdout.close()
    # It lives on by itself; without this, Popen's destructor would warn of it.
    process.returncode = 0


def become_supervisor(prepared: Prepared, cluster_lock: int) -> None:
    """Replace this process by the supervisor, in the foreground (`--block`). Does not return.

    Args:
        prepared: What to start.
        cluster_lock: The descriptor of the cluster's lock. The supervisor lets it go once it holds
            its own, so that no other command takes it for a leftover in between.
    """
    # A file, since nobody would empty a pipe that the order fills.
    with tempfile.TemporaryFile() as order:
        order.write(_order(prepared))
        order.seek(0)
        os.dup2(order.fileno(), 0)
    for descriptor in (prepared.reservation.fileno(), cluster_lock):
        os.set_inheritable(descriptor, True)  # noqa: FBT003  # the os module's way
    os.chdir(prepared.plan.paths.directory)
    os.execve(  # noqa: S606  # our own module, no shell
        sys.executable,
        [*_command(prepared), "--foreground", "--cluster-lock", str(cluster_lock)],
        _environment(prepared),
    )


def _command(prepared: Prepared) -> list[str]:
    reservation = str(prepared.reservation.fileno())
    return [sys.executable, "-m", _SUPERVISOR_MODULE, "--reservation", reservation]


def _order(prepared: Prepared) -> bytes:
    order = {
        "expires": prepared.certificate_expires,
        # Sent, since it could be gone before the supervisor can ask the kernel.
        "parent": os.getpid(),
        "plan": prepared.plan.to_json(),
    }
    return json.dumps(order).encode() + b"\n"


def _environment(prepared: Prepared) -> dict[str, str]:
    """The supervisor's own: it needs less than Ray, and nothing of the caller's."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
    environment = {name: value for name, value in prepared.plan.environment.items() if name in kept}
    return environment | {INSTANCE_VARIABLE: prepared.plan.cluster_id}


def _follow(
    process: subprocess.Popen[bytes], on_event: Callable[[dict[str, Any]], None], log: Path
) -> None:
    assert process.stdout is not None  # noqa: S101  # it was asked for
    for line in process.stdout:
        event = json.loads(line)
        on_event(event)
        if event["event"] in {
            "running",
            "waiting",
        }:  # a worker that is drained waits from the start
            return
        if event["event"] == "error":
            process.wait()
            raise _error(event)
        if event["event"] == "stopped":
            process.wait()
            raise _stopped(log)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    raise FailedError(
        "SR-STATE-007",
        f"the supervisor ended without a word (exit code {process.returncode})",
        fix=f"look into {log}",
    )


def _stopped(log: Path) -> FailedError:
    return FailedError(
        "SR-STATE-013",
        "the start was stopped by somebody else: by secure-ray down, or by a signal",
        fix=f"run it again; {log} says how far it came",
    )


def _error(event: dict[str, Any]) -> SecureRayError:
    kind = _KINDS.get(event["exit_code"], SecureRayError)
    return kind(event["code"], event["cause"], fix=event["fix"])

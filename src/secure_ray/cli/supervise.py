"""The supervisor's process: joins the node's life with the audit that proves it.

Started by `up` and by `secure_init`, never by hand: the order comes as one JSON line on standard
input, so that nothing of it stands on the command line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, Any

from secure_ray.base.clock import utc_now
from secure_ray.base.descriptors import raise_descriptor_limit
from secure_ray.base.errors import SecureRayError
from secure_ray.base.file_errors import os_failure
from secure_ray.base.secrets import Secret, redact
from secure_ray.node.instance import Instance
from secure_ray.node.plan import LaunchPlan
from secure_ray.node.supervisor import Given, Proven, Supervisor
from secure_ray.pki.token import read_token

if TYPE_CHECKING:
    from secure_ray.node.beside import Epoch
    from secure_ray.node.supervisor import Emit

# What is shorter would take too much of the log with it, and is no secret worth the name.
_SHORTEST_SECRET = 6


def main() -> int:
    """Read the order, run the supervisor, return its exit code."""
    options = _read_options()
    os.umask(0o077)
    raise_descriptor_limit()
    emit = _let_go(options.cluster_lock) if options.foreground else _emit_line
    log, redacts = _begin_log(foreground=options.foreground), False
    try:
        # Held, not used: the kernel keeps the block of ports for us while this socket is open.
        with contextlib.closing(socket.socket(fileno=options.reservation)):
            order = json.loads(sys.stdin.readline())
            plan = LaunchPlan.from_json(order["plan"])
            _open_log(log, plan)
            redacts = True
            asyncio.run(_supervise(plan, order, emit, log))
    except SecureRayError as error:
        return _report(error, emit, log)
    except Exception as error:
        if redacts:  # the text may hold what was worked on
            log.exception("a bug of secure-ray")
        return _report(_bug(error), emit, log)
    return 0


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="secure-ray supervise")
    parser.add_argument("--reservation", type=int, required=True)
    parser.add_argument("--foreground", action="store_true")
    parser.add_argument("--cluster-lock", type=int)
    return parser.parse_args()


async def _supervise(
    plan: LaunchPlan, order: dict[str, Any], emit: Emit, log: logging.Logger
) -> None:
    supervisor = Supervisor(
        plan,
        given=Given(prove=_prove, find_strays=_find_strays, open_door=_open_door, members=_members),
        emit=emit,
        log=log,
        clock=utc_now,
        certificate_expires=order["expires"],
        parent=order["parent"],
    )
    await supervisor.run()


def _prove(instance: Instance) -> Proven:
    from secure_ray.audit.findings import Status
    from secure_ray.audit.live import prove_instance

    report = prove_instance(instance, clock=utc_now, starts=True)
    if report.proven:
        return Proven(ok=True, reason=f"{len(report.findings)} checks passed")
    off = [
        f"{finding.id} at {finding.where}: {finding.actual} (should be: {finding.expected})"
        for finding in report.findings
        if finding.status in {Status.FAIL, Status.ERROR}
    ]
    return Proven(ok=False, reason="; ".join(off) or "nothing was checked")


def _find_strays(instance: Instance) -> tuple[str, ...]:
    from secure_ray.audit.live import find_strays

    return find_strays(instance)


def _members(plan: LaunchPlan) -> tuple[str, ...]:
    from secure_ray.gateway.nodes.open_door import members

    return members(plan)


def _open_door(
    plan: LaunchPlan, epoch: Epoch, log: logging.Logger
) -> contextlib.AbstractAsyncContextManager[None]:
    from secure_ray.gateway.nodes.open_door import open_door

    return open_door(plan, epoch=epoch, log=log, clock=utc_now)


def _report(error: SecureRayError, emit: Emit, log: logging.Logger) -> int:
    log.error("%s: %s; fix: %s", error.code, error.cause, error.fix)
    words = {"code": error.code, "cause": error.cause, "fix": error.fix}
    emit({"event": "error", **words, "exit_code": error.exit_code})
    return error.exit_code


def _bug(error: Exception) -> SecureRayError:
    return SecureRayError(
        "SR-STATE-008",
        f"the supervisor met a bug of secure-ray ({type(error).__name__})",
        fix="please report it with supervisor.log from the cluster's directory",
    )


def _let_go(cluster_lock: int | None) -> Emit:
    """In the foreground the log on standard error tells all; events end the cluster's lock.

    The first one comes when the supervisor holds its own lock.
    """
    held = [] if cluster_lock is None else [cluster_lock]

    def emit(_event: dict[str, Any]) -> None:
        while held:
            os.close(held.pop())

    return emit


def _emit_line(event: dict[str, Any]) -> None:
    # Whoever started us may be gone, which changes nothing for the cluster.
    with contextlib.suppress(OSError, ValueError):
        os.write(1, json.dumps(event).encode() + b"\n")


class _Redacting(logging.Formatter):
    """Takes secrets out of each line, whatever wrote it."""

    def __init__(self, secrets: tuple[Secret, ...], *, as_json: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._secrets = secrets
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if self._as_json:
            # Before JSON escapes what is in them.
            message = redact(record.getMessage(), self._secrets)
            if record.exc_info:
                message += "\n" + redact(self.formatException(record.exc_info), self._secrets)
            entry = {"time": utc_now().isoformat(), "level": record.levelname, "message": message}
            text = json.dumps(entry)
        return redact(text, self._secrets)


def _begin_log(*, foreground: bool) -> logging.Logger:
    log = logging.getLogger("secure_ray.supervisor")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    handler = logging.StreamHandler(sys.stderr) if foreground else logging.NullHandler()
    handler.setLevel(logging.INFO)
    log.addHandler(handler)
    return log


def _open_log(log: logging.Logger, plan: LaunchPlan) -> None:
    secrets = _secrets(plan)
    try:
        file = RotatingFileHandler(
            plan.paths.log, maxBytes=plan.logging_bytes, backupCount=plan.logging_count
        )
    except OSError as error:
        raise os_failure("write", plan.paths.log, error) from None
    log.addHandler(file)
    log.setLevel(plan.logging_level.upper())
    for handler in log.handlers:
        handler.setFormatter(_Redacting(secrets, as_json=plan.logging_json))


def _secrets(plan: LaunchPlan) -> tuple[Secret, ...]:
    """The cluster token, and what the settings bring into Ray's environment."""
    brought_in = (plan.environment.get(name, "") for name in plan.private)
    values = (value for value in brought_in if len(value) >= _SHORTEST_SECRET)
    return (read_token(plan.paths.token), *map(Secret, values))


if __name__ == "__main__":
    sys.exit(main())

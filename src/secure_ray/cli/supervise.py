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
from secure_ray.base.errors import SecureRayError
from secure_ray.base.files import read_private
from secure_ray.base.secrets import Secret, redact
from secure_ray.node.instance import Instance
from secure_ray.node.plan import LaunchPlan
from secure_ray.node.supervisor import Proven, Supervisor

if TYPE_CHECKING:
    from secure_ray.node.supervisor import Emit

_LOG_BYTES = 5 << 20
_LOG_COUNT = 3


def main() -> int:
    """Read the order, run the supervisor, return its exit code."""
    parser = argparse.ArgumentParser(prog="secure-ray supervise")
    parser.add_argument("--reservation", type=int, required=True)
    parser.add_argument("--foreground", action="store_true")
    parser.add_argument("--cluster-lock", type=int)
    options = parser.parse_args()
    os.umask(0o077)
    order = json.loads(sys.stdin.readline())
    plan = LaunchPlan.from_json(order["plan"])
    log = _open_log(plan, foreground=options.foreground)
    emit = _let_go(options.cluster_lock) if options.foreground else _emit_line
    # Held, not used: the kernel keeps the block of ports for us while this socket is open.
    with contextlib.closing(socket.socket(fileno=options.reservation)):
        try:
            asyncio.run(_supervise(plan, order, emit, log))
        except SecureRayError as error:
            log.error("%s: %s; fix: %s", error.code, error.cause, error.fix)  # noqa: TRY400  # for people
            emit({"event": "error", **_describe(error)})
            return error.exit_code
        except Exception as error:
            log.exception("a bug of secure-ray")
            emit({"event": "error", **_describe(_bug(plan, error))})
            return SecureRayError.exit_code
    return 0


async def _supervise(
    plan: LaunchPlan, order: dict[str, Any], emit: Emit, log: logging.Logger
) -> None:
    supervisor = Supervisor(
        plan,
        prove=_prove,
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

    report = prove_instance(instance, clock=utc_now)
    if report.proven:
        return Proven(ok=True, reason=f"{len(report.findings)} checks passed")
    off = [
        f"{finding.id} at {finding.where}: {finding.actual} (should be: {finding.expected})"
        for finding in report.findings
        if finding.status in {Status.FAIL, Status.ERROR}
    ]
    return Proven(ok=False, reason="; ".join(off) or "nothing was checked")


def _describe(error: SecureRayError) -> dict[str, Any]:
    return {
        "code": error.code,
        "cause": error.cause,
        "fix": error.fix,
        "exit_code": error.exit_code,
    }


def _bug(plan: LaunchPlan, error: Exception) -> SecureRayError:
    return SecureRayError(
        "SR-STATE-008",
        f"the supervisor met a bug of secure-ray ({type(error).__name__})",
        fix=f"please report it with {plan.paths.log}",
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
    """Takes the cluster token out of each line, whatever wrote it."""

    def __init__(self, token: Secret, *, as_json: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._token = token
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if self._as_json:
            message = record.getMessage()
            if record.exc_info:
                message += "\n" + self.formatException(record.exc_info)
            entry = {"time": utc_now().isoformat(), "level": record.levelname, "message": message}
            text = json.dumps(entry)
        return redact(text, (self._token,))


def _open_log(plan: LaunchPlan, *, foreground: bool) -> logging.Logger:
    token = Secret(read_private(plan.paths.token).decode().strip())
    log = logging.getLogger("secure_ray.supervisor")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    handlers: list[logging.Handler] = [
        RotatingFileHandler(plan.paths.log, maxBytes=_LOG_BYTES, backupCount=_LOG_COUNT)
    ]
    if foreground:
        handlers.append(logging.StreamHandler(sys.stderr))
        handlers[-1].setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(_Redacting(token, as_json=plan.logging_json))
        log.addHandler(handler)
    return log


if __name__ == "__main__":
    sys.exit(main())

r"""The supervisor: one process per cluster and node that starts, has proven and watches Ray.

    starting -> proving -> running <-> degraded -> stopping -> stopped
         \________\___________\________\______-> failed

It restarts nothing by itself. When one of Ray's processes ends it says so in the record, in the log
and in its exit code; when the proof fails it stops Ray again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil

from secure_ray.base.errors import FailedError, IncompleteError, SecureRayError
from secure_ray.base.files import lock, make_private_directory
from secure_ray.base.processes import ProcessIdentity
from secure_ray.node.control import is_same_user
from secure_ray.node.instance import Instance, Phase, write_instance
from secure_ray.node.start_ray import adopt_orphans, start_ray, stop_ray, until_ended
from secure_ray.node.watch import CoreProcesses, reap_orphans, why_ray_ended

if TYPE_CHECKING:
    import logging

    from secure_ray.base.clock import Clock
    from secure_ray.node.plan import LaunchPlan

# Printed by Ray 2.52.1 to 2.60.0 (scripts/scripts.py) once every process is up.
_READY_LINE = b"Ray runtime started."
_WATCH_SECONDS = 1.0
_LOCK_WAIT = 1.0
_LAST_WORDS_SECONDS = 2.0
_OUTPUT_KEPT = 40


@dataclass(frozen=True)
class Proven:
    """What the proof found.

    Attributes:
        ok: Whether nothing is off.
        reason: What is off, for a person; how many checks passed otherwise.
    """

    ok: bool
    reason: str


Prove = Callable[[Instance], Proven]
Emit = Callable[[dict[str, Any]], None]


class Supervisor:
    """Runs one instance of a cluster from start to end.

    Args:
        plan: What to start.
        prove: Compares the live cluster with the plan; runs in a thread.
        emit: Is told of each phase while the cluster starts.
        log: Where everything is written.
        clock: The time.
        certificate_expires: When the leaf expires, ISO 8601, for the record.
        parent: The process that asked for it; an ephemeral cluster ends with it.
    """

    def __init__(
        self,
        plan: LaunchPlan,
        *,
        prove: Prove,
        emit: Emit,
        log: logging.Logger,
        clock: Clock,
        certificate_expires: str,
        parent: int,
    ) -> None:
        self._plan = plan
        self._prove = prove
        self._emit = emit
        self._log = log
        self._clock = clock
        self._parent = parent
        self._stop = asyncio.Event()
        self._changed = asyncio.Condition()
        self._output: list[str] = []
        now = clock().isoformat(timespec="seconds")
        self._instance = Instance(
            plan=plan,
            supervisor=ProcessIdentity.of(os.getpid()),
            ray=None,
            phase=Phase.STARTING,
            reason="",
            since=now,
            started=now,
            certificate_expires=certificate_expires,
        )

    async def run(self) -> None:
        """Start, prove, watch, stop.

        Raises:
            FailedError: Ray did not start, or the proof failed; nothing is left running.
            IncompleteError: Ray died while it ran, or a supervisor runs already.
        """
        paths = self._plan.paths
        os.umask(0o077)
        adopt_orphans()
        with contextlib.ExitStack() as stack:
            try:
                # Not at once: `status` holds it for the moment that it takes to look at it.
                stack.enter_context(lock(paths.supervisor_lock, wait=_LOCK_WAIT))
            except BlockingIOError:
                raise IncompleteError(
                    "SR-STATE-006",
                    f"cluster {paths.name} has a supervisor already",
                    fix=f"secure-ray status --cluster {paths.name}",
                ) from None
            for directory in self._plan.private_directories:
                make_private_directory(directory)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
            server = await self._serve()
            try:
                await self._live()
            finally:
                server.close()
                self._plan.run.control.unlink(missing_ok=True)

    async def _live(self) -> None:
        """From the start of Ray to its end, whichever way that comes."""
        await self._enter(Phase.STARTING, "")
        ray = await start_ray(self._plan)
        self._instance = replace(self._instance, ray=_identity(ray.pid))
        failure: Exception | None = None
        try:
            await self._until_ready(ray)
            if not self._stop.is_set():
                await self._until_proven()
                await self._watch(ray)
        except Exception as error:  # noqa: BLE001  # raised again once Ray is stopped
            failure = error
            self._log.error("%s", _cause(error))
        if failure is None:
            await self._enter(Phase.STOPPING, "asked to stop")
        for line in await stop_ray(ray, self._plan.cluster_id, os.getpid()):
            self._log.info("ended after ray start: %s", line)
        if failure is not None:
            await self._enter(Phase.FAILED, _cause(failure))
            raise failure
        await self._enter(Phase.STOPPED, "asked to stop")

    async def _enter(self, phase: Phase, reason: str) -> None:
        now = self._clock().isoformat(timespec="seconds")
        self._instance = replace(self._instance, phase=phase, reason=reason, since=now)
        try:
            write_instance(self._instance)
        except SecureRayError as error:
            # A full disk must not keep Ray from being watched or stopped.
            self._log.error("%s: %s", error.code, error.cause)  # it says enough
        self._log.info("%s %s", phase.value, reason)
        self._emit({"event": phase.value, "reason": reason})
        async with self._changed:
            self._changed.notify_all()

    async def _until_ready(self, ray: asyncio.subprocess.Process) -> None:
        ready = asyncio.Event()
        reader = asyncio.create_task(self._read_output(ray, ready))
        waits = {asyncio.create_task(event.wait()): event for event in (ready, self._stop)}
        ended = asyncio.create_task(until_ended(ray))
        try:
            done, _ = await asyncio.wait(
                {*waits, ended},
                timeout=self._plan.timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if ended in done:
                # Not for ever: what it left behind may hold the other end.
                await asyncio.wait({reader}, timeout=_LAST_WORDS_SECONDS)
                raise FailedError(
                    "SR-RAY-010",
                    f"ray start ended with {ray.returncode}: {self._last_words()}",
                    fix=f"the whole output is in {self._plan.paths.log}",
                )
            if not done:
                raise FailedError(
                    "SR-RAY-011",
                    f"Ray was not ready after {self._plan.timeout:g} s: {self._last_words()}",
                    fix="free CPU or memory, or raise start.timeout_seconds; the output is in "
                    f"{self._plan.paths.log}",
                )
        finally:
            for task in (*waits, ended):
                task.cancel()
        self._reader = reader

    async def _read_output(self, ray: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
        assert ray.stdout is not None  # noqa: S101  # start_ray asks for a pipe
        while line := await _next_line(ray.stdout):
            text = line.decode(errors="replace").strip()
            if text:
                self._log.debug("ray: %s", text)
                self._output = [*self._output[-_OUTPUT_KEPT:], text]
            if _READY_LINE in line:
                ready.set()

    def _last_words(self) -> str:
        """The line of Ray's output that says best what went wrong: the last one that raises."""
        telling = [line for line in self._output if "Error" in line or "rror:" in line]
        return (telling or self._output or ["it printed nothing"])[-1]

    async def _until_proven(self) -> None:
        await self._enter(Phase.PROVING, "")
        proven = await asyncio.to_thread(self._prove, self._instance)
        if not proven.ok:
            raise FailedError(
                "SR-AUDIT-000",
                f"Ray is not as planned, so it was stopped again: {proven.reason}",
                fix="secure-ray explain SR-AUDIT-000",
            )
        await self._enter(Phase.RUNNING, proven.reason)

    async def _watch(self, ray: asyncio.subprocess.Process) -> None:
        core = CoreProcesses.below(ray.pid)
        while not self._stop.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _WATCH_SECONDS)
            reap_orphans(keep=ray.pid)
            if self._plan.ephemeral and os.getppid() != self._parent:
                self._log.info("the program that started this cluster has ended")
                return
            if ray.returncode is not None and not self._stop.is_set():
                raise IncompleteError(
                    "SR-RAY-012",
                    f"Ray died: {why_ray_ended(self._plan.run.ray, ray.returncode)}",
                    fix="secure-ray up --head starts it again; the logs are in "
                    f"{self._plan.run.ray}/session_latest/logs",
                )
            lost = core.newly_lost()
            if lost and ray.returncode is None:
                await self._enter(Phase.DEGRADED, f"{', '.join(lost)} ended")

    async def _serve(self) -> asyncio.AbstractServer:
        self._plan.run.control.unlink(missing_ok=True)
        return await asyncio.start_unix_server(self._answer, path=self._plan.run.control)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not is_same_user(writer.get_extra_info("socket")):
                return
            asked = json.loads(await asyncio.wait_for(reader.readline(), 5))
            if asked == {"do": "stop"}:
                self._stop.set()
                await self._report_end(writer)
            else:
                self._send(writer)
            await writer.drain()
        except (OSError, ValueError, asyncio.TimeoutError):
            return  # a client that went away or speaks another language
        finally:
            writer.close()

    async def _report_end(self, writer: asyncio.StreamWriter) -> None:
        async with self._changed:
            while self._instance.phase not in {Phase.STOPPED, Phase.FAILED}:
                self._send(writer)
                await self._changed.wait()
        self._send(writer)

    def _send(self, writer: asyncio.StreamWriter) -> None:
        ended = self._instance.phase in {Phase.STOPPED, Phase.FAILED}
        answer = {"phase": self._instance.phase.value, "reason": self._instance.reason}
        writer.write(json.dumps({**answer, "done": ended}).encode() + b"\n")


def _identity(pid: int) -> ProcessIdentity | None:
    try:
        return ProcessIdentity.of(pid)
    except psutil.NoSuchProcess:
        return None  # it ended at once, and that has been noticed already


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    while True:
        try:
            return await stream.readline()
        except ValueError:  # too long: asyncio throws away what it has; the rest must be read too
            continue


def _cause(error: Exception) -> str:
    # The text of any other error could hold what was worked on.
    if isinstance(error, SecureRayError):
        return error.cause
    return f"a bug of secure-ray ({type(error).__name__})"

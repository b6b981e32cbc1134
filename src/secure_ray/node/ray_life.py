"""One life of Ray: from `ray start` to its end, and the words that it says meanwhile."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import psutil

from secure_ray.base.errors import FailedError
from secure_ray.base.processes import ProcessIdentity
from secure_ray.node.start_ray import start_ray, stop_ray, until_ended

if TYPE_CHECKING:
    import logging

    from secure_ray.node.plan import LaunchPlan

# Printed by Ray 2.52.1 to 2.60.0 (scripts/scripts.py) once every process is up.
_READY_LINE = b"Ray runtime started."
_FAILED_CHECK, _STATUS = "Check failed:", "Status not OK:"
_LAST_WORDS_SECONDS = 2.0
_OUTPUT_KEPT = 40


class RayLife:
    """A `ray start` that runs; made by `begin`."""

    def __init__(
        self, plan: LaunchPlan, process: asyncio.subprocess.Process, log: logging.Logger
    ) -> None:
        self._plan = plan
        self._process = process
        self._log = log
        self._output: list[str] = []
        self._failed_check = ""
        self._ready = asyncio.Event()
        self._reader = asyncio.create_task(self._read_output())

    @classmethod
    async def begin(cls, plan: LaunchPlan, log: logging.Logger) -> RayLife:
        """Start Ray as planned."""
        return cls(plan, await start_ray(plan), log)

    @property
    def pid(self) -> int:
        """The process of `ray start`."""
        return self._process.pid

    @property
    def identity(self) -> ProcessIdentity | None:
        """The same, told from a later process of that number; None when it ended at once."""
        try:
            return ProcessIdentity.of(self.pid)
        except psutil.NoSuchProcess:
            return None

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    async def until_ready(self, stop: asyncio.Event) -> None:
        """Wait until Ray says that it is up, or somebody asks to stop.

        Raises:
            FailedError: it ended, or took longer than planned.
        """
        waits = [asyncio.create_task(event.wait()) for event in (self._ready, stop)]
        ended = asyncio.create_task(until_ended(self._process))
        try:
            done, _ = await asyncio.wait(
                {*waits, ended},
                timeout=self._plan.timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if ended in done:
                # Not for ever: what it left behind may hold the other end.
                await asyncio.wait({self._reader}, timeout=_LAST_WORDS_SECONDS)
                raise FailedError(
                    "SR-RAY-010",
                    f"ray start ended with {self.exit_code}: {self._last_words()}",
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

    async def end(self) -> None:
        """Stop it, and whatever it started."""
        for line in await stop_ray(self._process, self._plan.cluster_id, os.getpid()):
            self._log.info("ended after ray start: %s", line)

    async def _read_output(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  # start_ray asks for a pipe
        while line := await _next_line(self._process.stdout):
            text = line.decode(errors="replace").strip()
            if text:
                self._log.debug("ray: %s", text)
                self._output = [*self._output[-_OUTPUT_KEPT:], text]
                # A long list of addresses follows it.
                check = text.partition(_FAILED_CHECK)[2].rpartition(_STATUS)[2].strip()
                self._failed_check = self._failed_check or check
            if _READY_LINE in line:
                self._ready.set()

    def _last_words(self) -> str:
        """The line of Ray's output that says best what went wrong: the last one that raises.

        Ray's C++ part rather ends at a check that fails.
        """
        if self._failed_check:
            where = self._plan.environment.get("RAY_REDIS_ADDRESS")
            beside = f" (the control store is at {where})" if where else ""
            return f"{_FAILED_CHECK} {self._failed_check}{beside}"
        telling = [line for line in self._output if "Error" in line or "rror:" in line]
        return (telling or self._output or ["it printed nothing"])[-1]


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    while True:
        try:
            return await stream.readline()
        except ValueError:  # too long: asyncio throws away what it has; the rest must be read too
            continue

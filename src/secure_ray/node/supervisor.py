r"""The supervisor: one process per cluster and node that starts, has proven and watches Ray.

    starting -> proving -> running <-> degraded -> stopping -> stopped
         \________\___________\________\______-> failed

On a head it restarts nothing by itself: when one of Ray's processes ends it says so in the record,
in the log and in its exit code. A worker's Ray ends when its head is away for long; then the phase
is "waiting", and Ray is started again when the head is back. When the proof fails Ray is stopped.
Asked to (`control`), it ends Ray in order and starts it again: running -> stopping -> starting.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psutil

from secure_ray.base.commands import command
from secure_ray.base.errors import (
    FailedError,
    IncompleteError,
    InconclusiveError,
    SecureRayError,
)
from secure_ray.base.files import make_private_directory
from secure_ray.base.locks import lock
from secure_ray.base.processes import ProcessIdentity, plain_text
from secure_ray.node.beside import beside
from secure_ray.node.control_server import ControlServer, Standing, Wishes
from secure_ray.node.draining import OwnDrain
from secure_ray.node.following import Following
from secure_ray.node.identity import leaf_expires
from secure_ray.node.instance import Instance, Phase, write_instance
from secure_ray.node.lost_ports import hold_lost_ports
from secure_ray.node.ray_life import RayLife
from secure_ray.node.sessions import make_way, session_name
from secure_ray.node.start_ray import adopt_orphans
from secure_ray.node.watch import CoreProcesses, Every, reap_orphans, why_ray_ended

if TYPE_CHECKING:
    import logging

    from secure_ray.base.clock import Clock
    from secure_ray.node.beside import Members, OpenDoor
    from secure_ray.node.plan import LaunchPlan

_WATCH_SECONDS = 1.0
_LOOK_SECONDS = 10.0
_LOCK_WAIT = 1.0
# Seconds before a worker's Ray is started again; the last one counts from then on.
_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0)
# A worker's Ray that ran once is started again after everything but these: it was open, or is not
# wanted any more.
_STAYS_DOWN = frozenset({"SR-AUDIT-000", "SR-JOIN-045", "SR-JOIN-046"})
_RESTART = "asked to start Ray again"


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
FindStrays = Callable[[Instance], tuple[str, ...]]
Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Given:
    """What the layers above give to the supervisor.

    Attributes:
        prove: Compares the live cluster with the plan; runs in a thread.
        find_strays: Finds listeners where none should be; runs in a thread.
        open_door: Opens a head's door for nodes.
        members: The addresses of those who joined a head; runs in a thread.
    """

    prove: Prove
    find_strays: FindStrays
    open_door: OpenDoor
    members: Members


class Supervisor:
    """Runs one instance of a cluster from start to end.

    Args:
        plan: What to start.
        given: What the layers above do for it.
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
        given: Given,
        emit: Emit,
        log: logging.Logger,
        clock: Clock,
        certificate_expires: str,
        parent: int,
    ) -> None:
        self._plan = plan
        self._given = given
        self._emit = emit
        self._log = log
        self._clock = clock
        self._parent = parent
        self._wishes = Wishes()
        self._stop = self._wishes.stop
        self._control = ControlServer(self._now, self._wishes)
        self._has_run = False
        self._lost = ""
        self._following: Following | None = None
        self._life = 0
        self._session = ""
        self._lost_meanwhile: list[str] = []
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
                    fix=command("status", paths.name),
                ) from None
            for directory in self._plan.private_directories:
                make_private_directory(directory)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
            async with self._control.serving(self._plan.run.control):
                await self._live()

    async def _live(self) -> None:
        """From the first start of Ray to its last end, whichever way that comes."""
        try:
            async with beside(
                self._plan,
                open_door=self._given.open_door,
                members=self._given.members,
                now=lambda: self._instance,
                epoch=lambda: self._session,
                log=self._log,
            ) as heartbeats:
                if heartbeats is None:
                    await self._head_lives()
                else:
                    self._following = Following(
                        heartbeats,
                        head=self._plan.place.head,
                        pause=self._pause,
                        clock=self._clock,
                    )
                    await self._worker_lives(self._following)
        except Exception as error:
            await self._enter(Phase.FAILED, _cause(error))
            raise
        await self._enter(Phase.STOPPED, "asked to stop")

    async def _head_lives(self) -> None:
        await self._one_life()
        while self._wishes.restart.is_set() and not self._stop.is_set():
            await self._one_life()

    async def _worker_lives(self, following: Following) -> None:
        """A worker's Ray ends with its head's; it is started again once the head is back."""
        await following.until_reached()
        if following.held_back:  # also over a restart of this host
            await self._until_wanted(following)
        pauses = iter(_PAUSES)
        while not self._stop.is_set():
            try:
                await self._one_life(following)
            except (SecureRayError, OSError) as error:
                # What never ran is told to whoever started it; what is open stays closed.
                if not self._has_run or getattr(error, "code", "") in _STAYS_DOWN:
                    raise
                if self._wishes.finish.is_set():
                    return
                why = f"{_cause(error)}; Ray starts again when the head is back"
                await self._enter(Phase.WAITING, why)
            if self._wishes.restart.is_set() or await self._pause(next(pauses, _PAUSES[-1])):
                continue
            await self._until_wanted(following)

    async def _until_wanted(self, following: Following) -> None:
        await following.until_wanted(
            expires=self._leaf_expires,
            on_held_back=lambda why: self._enter(Phase.WAITING, why),
        )

    def _leaf_expires(self) -> datetime:
        """Of the leaf on disk; what was there at the start, where it cannot be read now."""
        with contextlib.suppress(SecureRayError):
            return leaf_expires(self._plan.paths)
        return datetime.fromisoformat(self._instance.certificate_expires)

    async def _pause(self, seconds: float) -> bool:
        """Wait; whether somebody has asked to stop."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)
        return self._stop.is_set()

    async def _one_life(self, following: Following | None = None) -> None:
        reason = _RESTART if self._wishes.restart.is_set() else ""
        self._wishes.restart.clear()
        self._life, self._session = self._life + 1, ""
        await self._enter(Phase.STARTING, reason)
        if following is not None:
            following.begin_life()
            await following.take_token(self._plan)
        make_way(self._plan.run)
        self._read_leaf()
        ray = await RayLife.begin(self._plan, self._log)
        self._instance = replace(self._instance, ray=ray.identity, sound=False)
        self._record()  # by it what we leave behind is found, should we be killed
        try:
            await ray.until_ready(self._stop)
            if not self._stop.is_set():
                self._session = session_name(self._plan.run)
                await self._until_proven(ray)
                await self._watch(ray, following)
            restarts = self._wishes.restart.is_set() and not self._stop.is_set()
            await self._enter(Phase.STOPPING, _RESTART if restarts else "asked to stop")
        except Exception as error:
            self._log.error("%s", _cause(error))
            raise
        finally:
            self._session = ""
            await ray.end()

    def _read_leaf(self) -> None:
        """Ray has the leaf that is there when it starts; what was told before may be older."""
        if self._life > 1:
            with contextlib.suppress(SecureRayError):  # then Ray says it better
                expires = leaf_expires(self._plan.paths).isoformat(timespec="seconds")
                self._instance = replace(self._instance, certificate_expires=expires)

    async def _enter(self, phase: Phase, reason: str) -> None:
        now = self._clock().isoformat(timespec="seconds")
        reason = plain_text(reason)  # it goes into JSON, and may hold what a job made up
        self._instance = replace(self._instance, phase=phase, reason=reason, since=now)
        self._record()
        self._log.info("%s %s", phase.value, reason)
        self._emit({"event": phase.value, "reason": reason})
        await self._control.tell()
        if self._following is not None:
            self._following.hurry()

    def _record(self) -> None:
        try:
            write_instance(self._instance)
        except SecureRayError as error:
            # A full disk must not keep Ray from being watched or stopped.
            self._log.error("%s: %s", error.code, error.cause)  # it says enough

    def _now(self) -> Standing:
        return Standing(self._instance.phase, self._instance.reason, self._life)

    async def _until_proven(self, ray: RayLife) -> None:
        await self._enter(Phase.PROVING, "")
        core = CoreProcesses.below(ray.pid)
        proven = await asyncio.to_thread(self._given.prove, self._instance)
        lost = core.newly_lost()
        if not proven.ok and (lost or ray.exit_code is not None):
            raise self._ray_died(f"{', '.join(lost) or 'ray start'} ended during the proof")
        if not proven.ok:
            raise FailedError(
                "SR-AUDIT-000",
                f"Ray is not as planned, so it was stopped again: {proven.reason}",
                fix="secure-ray explain SR-AUDIT-000",
            )
        self._lost_meanwhile = lost  # the proof may have passed before that, and is told then
        self._instance = replace(self._instance, sound=True)
        self._has_run = True
        await self._enter(Phase.RUNNING, proven.reason)

    async def _watch(self, ray: RayLife, following: Following | None) -> None:
        """Until somebody asks to stop or to restart.

        Raises:
            IncompleteError: Ray ended, or has to.
        """
        async with contextlib.AsyncExitStack() as held:
            await self._watch_holding(ray, following, held)

    async def _watch_holding(
        self, ray: RayLife, following: Following | None, held: contextlib.AsyncExitStack
    ) -> None:
        core, self._lost = CoreProcesses.below(ray.pid), ""
        strays, drains = Every(_LOOK_SECONDS), OwnDrain(self._plan, self._log)
        while not (self._stop.is_set() or self._wishes.restart.is_set()):
            await self._pause(_WATCH_SECONDS)
            reap_orphans(keep=ray.pid)
            if self._plan.ephemeral and os.getppid() != self._parent:
                self._log.info("the program that started this cluster has ended")
                return
            if following is not None and (why := following.require_same_head()):
                raise self._ray_died(why)
            if following is not None:
                drains.follow(following.orders)
            if ray.exit_code is not None and not self._stop.is_set():
                raise self._ray_died(why_ray_ended(self._plan.run.ray, ray.exit_code))
            lost, self._lost_meanwhile = [*self._lost_meanwhile, *core.newly_lost()], []
            # `ray start` goes on without a raylet that was drained, yet the node is gone by then.
            if following is not None and any(name.startswith("raylet") for name in lost):
                raise self._ray_died(f"{', '.join(lost)} ended")
            if lost and ray.exit_code is None:
                self._lost = f"{', '.join(lost)} ended"
                ports = await hold_lost_ports(self._plan, held)
                self._log.info("held, so that nobody else is sent the token there: %s", ports)
                await self._enter(Phase.DEGRADED, self._lost)
            if strays.due():
                await self._look_for_strays()

    def _ray_died(self, why: str) -> IncompleteError:
        return IncompleteError(
            "SR-RAY-012",
            f"Ray died: {why}",
            fix=f"{command(self._plan.place.start, self._plan.paths.name)} starts it again; the logs are in "
            f"{self._plan.run.ray}/session_latest/logs",
        )

    async def _look_for_strays(self) -> None:
        """A job can start a program without the guard; what it opens is told at least."""
        off = await asyncio.to_thread(self._what_is_off)
        if bool(off) == self._instance.sound:
            self._instance = replace(self._instance, sound=not off)
            off = off or self._lost
            await self._enter(Phase.DEGRADED if off else Phase.RUNNING, off or "as planned")

    def _what_is_off(self) -> str:
        try:
            strays = self._given.find_strays(self._instance)
        except InconclusiveError as error:
            # A job's program that only root may look into (sudo, ping) does not end the cluster.
            return error.cause
        except (OSError, psutil.Error) as error:
            return f"what listens here cannot be told ({type(error).__name__})"
        return f"open where it should not be: {', '.join(strays)}" if strays else ""


def _cause(error: Exception) -> str:
    # The text of any other error could hold what was worked on.
    if isinstance(error, SecureRayError):
        return error.cause
    return f"a bug of secure-ray ({type(error).__name__})"

"""The one place that starts Ray's processes, and the one that stops them."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
from typing import TYPE_CHECKING

from secure_ray.base.processes import descendants, marked, stop_all, titled_in_session
from secure_ray.node.environment import INSTANCE_VARIABLE

if TYPE_CHECKING:
    import psutil

    from secure_ray.base.processes import ProcessIdentity
    from secure_ray.node.plan import LaunchPlan

# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STOP_GRACE = 20.0
_KILL_GRACE = 5.0
_LOOK_SECONDS = 0.05


async def start_ray(plan: LaunchPlan) -> asyncio.subprocess.Process:
    """Start `ray start --block` with exactly the plan's environment.

    It is killed when this process dies, however that happens, and its own children die with it
    (Ray's fate sharing, `_private/services.py`): so nothing is left behind a killed supervisor.
    """
    return await asyncio.create_subprocess_exec(
        *plan.argv,
        env=plan.environment,
        cwd=plan.working_directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def adopt_orphans() -> None:
    """Make orphans among our descendants our children, so that none can slip away (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_with_parent() -> None:
    # Not SIGTERM: the kernel sends the signal once for each thread of a dying parent, and a second
    # one finds Ray 2.56.0 in its handler, holding a lock that the handler wants again.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def cluster_processes(
    cluster_id: str, root: int | None, ray: ProcessIdentity | None = None
) -> list[psutil.Process]:
    """All processes of a cluster.

    Args:
        cluster_id: The mark that they carry.
        root: The process below which they are, where it lives.
        ray: A `ray start` that may have ended; what it began is in its session.
    """
    found = {process.pid: process for process in marked(INSTANCE_VARIABLE, cluster_id)}
    if ray is not None:
        found |= {process.pid: process for process in titled_in_session(ray)}
    if root is not None:
        found |= {process.pid: process for process in descendants(root)}
    return list(found.values())


async def until_ended(ray: asyncio.subprocess.Process) -> None:
    """Wait for the end of `ray start`, and for nothing else.

    `Process.wait` also waits, in Python 3.11 and 3.12, until nobody holds the other end of its
    output (gh-119710), and what it left behind may.
    """
    while ray.returncode is None:  # noqa: ASYNC110  # asyncio has no event for it
        await asyncio.sleep(_LOOK_SECONDS)


async def stop_ray(ray: asyncio.subprocess.Process, cluster_id: str, own_pid: int) -> list[str]:
    """Stop Ray and whatever it started.

    Returns:
        What had to be killed or could not be, for the log.
    """
    if ray.returncode is None:
        ray.terminate()
        try:
            await asyncio.wait_for(until_ended(ray), _STOP_GRACE)
        except asyncio.TimeoutError:
            ray.kill()
            await until_ended(ray)
    return await asyncio.to_thread(stop_leftovers, cluster_id, own_pid)


def stop_leftovers(
    cluster_id: str, root: int | None, ray: ProcessIdentity | None = None
) -> list[str]:
    """Stop the processes of a cluster that have no `ray start` above them any more.

    Args:
        cluster_id: As in `cluster_processes`.
        root: As there.
        ray: As there.

    Returns:
        A line for each process that was found.
    """
    from secure_ray.base.processes import describe

    leftovers = cluster_processes(cluster_id, root, ray)
    lines = [describe(process) for process in leftovers]
    stuck = {process.pid for process in stop_all(leftovers, grace=_KILL_GRACE)}
    return [
        f"{line}: could not be killed" if process.pid in stuck else line
        for process, line in zip(leftovers, lines, strict=True)
    ]

"""Keeps a node's leaf fresh on disk: past half of its life, or when the head asks for it.

Processes of Ray that run already keep what they have read; what starts from then on reads the new
one. So the old one has to serve until Ray is started anew, which a rotation does.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError, SecureRayError
from secure_ray.base.files import write_private
from secure_ray.node.identity import pki_paths
from secure_ray.node.place import renew_order
from secure_ray.pki.facts import read_facts
from secure_ray.pki.lifetimes import RENEW_AT
from secure_ray.pki.store import LeafFiles
from secure_ray.pki.token import read_token

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Callable, Iterator
    from datetime import datetime

    from secure_ray.base.clock import Clock
    from secure_ray.node.heartbeat import HeartbeatLoop
    from secure_ray.node.plan import LaunchPlan
    from secure_ray.pki.facts import CertificateFacts

_LOOK_SECONDS = 2.0
_FAILED_SECONDS = 15.0
# Of a leaf that lives shorter than an hour, half a minute would be too much.
_LONGEST_WAIT, _SHARE = timedelta(seconds=30), 20
_FIRST_WAIT = timedelta(seconds=5)


@asynccontextmanager
async def keeping_own_leaf(
    plan: LaunchPlan, renew: Callable[[LaunchPlan], tuple[str, ...]], log: logging.Logger
) -> AsyncIterator[None]:
    """Renew a head's leaf, and its issuing CA, when they are due, as long as this lasts.

    The wall clock is asked each time, so neither sleep nor a clock that was set puts it off.

    Args:
        plan: The head's.
        renew: Makes what is due; says what it has made. Runs in a thread.
        log: Where that is told.
    """

    async def keep() -> None:
        trouble = _Trouble(log)
        # Not while Ray starts, which needs the CPUs.
        await asyncio.sleep(min(_FIRST_WAIT, _LONGEST_WAIT).total_seconds())
        while True:
            await asyncio.sleep(_pause(plan).total_seconds())
            with trouble.told():
                for change in await asyncio.to_thread(renew, plan):
                    log.info("%s", change)

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@asynccontextmanager
async def keeping_leaf(
    plan: LaunchPlan, heartbeats: HeartbeatLoop, *, clock: Clock, log: logging.Logger
) -> AsyncIterator[None]:
    """Have the head renew a worker's leaf when it is due or ordered, as long as this lasts."""
    task = asyncio.create_task(_keep_leaf(plan, heartbeats, clock=clock, log=log))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _keep_leaf(
    plan: LaunchPlan, heartbeats: HeartbeatLoop, *, clock: Clock, log: logging.Logger
) -> None:
    trouble = _Trouble(log)
    while True:
        await asyncio.sleep(_FAILED_SECONDS if trouble.why else _LOOK_SECONDS)
        if not heartbeats.reached.is_set():
            continue
        with trouble.told():
            leaf = _leaf(plan)
            if renew_order(leaf.serial) in heartbeats.orders or is_due(leaf, clock()):
                leaf = await renew_leaf(plan, heartbeats, clock=clock)
                log.info("the certificate is renewed: until %s", leaf.not_after.isoformat())
                heartbeats.hurry()


def is_due(leaf: CertificateFacts, now: datetime) -> bool:
    """Whether a leaf is past half of its life."""
    return leaf.life_used(now) >= RENEW_AT


async def renew_leaf(
    plan: LaunchPlan, heartbeats: HeartbeatLoop, *, clock: Clock
) -> CertificateFacts:
    """Get a leaf with a new key from the head, and make it this node's.

    Raises:
        SecureRayError: the head does not answer or refuses, or the leaf cannot be used or written;
            the one in use is as it was.
        OSError: the one in use cannot be shown to the head.
    """
    from secure_ray.pki.enrolment import UnusableLeafError, keep_renewal, renewal_request

    pki = pki_paths(plan.paths, plan.pki)
    request, _ = await asyncio.to_thread(renewal_request, pki, plan.pki.leaf_key)
    async with heartbeats.client() as client:
        answer = await client.renew(request.decode())
    try:
        return await asyncio.to_thread(
            keep_renewal, pki, chain=answer.chain, roots=answer.roots, now=clock()
        )
    except UnusableLeafError as error:
        raise FailedError(
            "SR-JOIN-035",
            f"the leaf that the head sent cannot be used: {error}",
            fix="on the head: secure-ray certs check",
        ) from None


async def fetch_token(plan: LaunchPlan, heartbeats: HeartbeatLoop) -> bool:
    """Take over the head's cluster token; whether it was another one.

    Raises:
        SecureRayError: the head does not answer, or the token cannot be written.
        OSError: this node's leaf cannot be shown to the head.
    """
    async with heartbeats.client() as client:
        token = await client.token()
    if token == await asyncio.to_thread(read_token, plan.paths.token):
        return False
    await asyncio.to_thread(write_private, plan.paths.token, token.reveal().encode())
    return True


class _Trouble:
    """Says why a leaf is not renewed, once for each reason; it is tried again.

    Attributes:
        why: The reason; "" while there is none.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self.why = ""

    @contextmanager
    def told(self) -> Iterator[None]:
        """Whatever goes wrong in it is told, and goes no further."""
        try:
            yield
        except (SecureRayError, OSError) as error:
            if _cause(error) != self.why:
                self._log.warning("the certificate is not renewed: %s", _cause(error))
            self.why = _cause(error)
        else:
            self.why = ""


def _cause(error: SecureRayError | OSError) -> str:
    return error.cause if isinstance(error, SecureRayError) else str(error.strerror or error)


def _leaf(plan: LaunchPlan) -> CertificateFacts:
    return read_facts(LeafFiles.within(plan.certificates).certificate)


def _pause(plan: LaunchPlan) -> timedelta:
    try:
        leaf = _leaf(plan)
    except SecureRayError:  # what makes it anew says why
        return timedelta(seconds=_FAILED_SECONDS)
    return min(_LONGEST_WAIT, (leaf.not_after - leaf.not_before) / _SHARE)

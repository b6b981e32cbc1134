"""The node door: HTTPS with TLS 1.3, on the head's address. Each route says who may call it."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from aiohttp import web

from secure_ray.base.errors import SecureRayError
from secure_ray.gateway.nodes.answers import (
    LOOK_AT_HEAD,
    SAME_VERSION,
    RefusalError,
    address_of,
    body_of,
    problem,
    reply,
)
from secure_ray.gateway.nodes.enrolment import Enrolment, HeadFacts, revoked
from secure_ray.gateway.nodes.presence import Presence
from secure_ray.gateway.nodes.renewal import Renewal
from secure_ray.gateway.nodes.strangers import RefusalLines, Strangers
from secure_ray.gateway.nodes.transport import HANDSHAKE_SECONDS, Connections, door_context
from secure_ray.network.bounded import BoundedSocket, Bounds, listen
from secure_ray.network.fresh_context import FreshContext
from secure_ray.node.messages import (
    MOST_BYTES,
    Application,
    Challenge,
    ClusterToken,
    Heartbeat,
    Leaf,
    NodeEntry,
    NodesToSend,
    Nonce,
    OrdersToSend,
    RenewalRequest,
)
from secure_ray.policy.addresses import canonical
from secure_ray.policy.admission import Rejection
from secure_ray.policy.rate_limit import Limits

if TYPE_CHECKING:
    import logging
    import socket

    from msgspec import Struct

    from secure_ray.base.clock import Clock
    from secure_ray.gateway.nodes.members import Member
    from secure_ray.gateway.nodes.presence import Roster
    from secure_ray.gateway.nodes.register import Register

_IDLE_SECONDS = 30.0
_CHORES_SECONDS = 5.0
_Handler = Callable[["NodeDoor", "Visit"], Awaitable["Struct"]]


class Caller(Enum):
    """Who may call a route."""

    ANYBODY = "anybody"
    NODE = "a node that joined"


@dataclass(frozen=True)
class KnownNode:
    """A node that has shown its certificate, and the roster that it was found in."""

    member: Member
    roster: Roster


@dataclass(frozen=True)
class Visit:
    """A request, and who makes it: `node` is None for a stranger."""

    request: web.Request
    node: KnownNode | None

    @property
    def known(self) -> KnownNode:
        """The node, on routes that let nobody else in."""
        assert self.node is not None  # noqa: S101  # `NodeDoor._served` sees to it
        return self.node


@dataclass(frozen=True)
class Route:
    """One thing that the door does."""

    method: str
    path: str
    caller: Caller
    handler: _Handler


class NodeDoor:
    """Lets nodes in, and knows how those inside are.

    Args:
        facts: What it tells and issues.
        register: Tokens and nodes.
        log: One line for each join, refusal and failure; never a secret.
        clock: The time.
        limits: For strangers.
    """

    def __init__(
        self,
        facts: HeadFacts,
        register: Register,
        *,
        log: logging.Logger,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self._log = log
        self._clock = clock
        self._epoch = facts.epoch
        self._near = facts.address
        self._refusals = RefusalLines()
        self._renewal = Renewal(facts, register)
        leaf = facts.pki.leaf
        self._tls = FreshContext(lambda: door_context(leaf), leaf.state, failed=self._keep_old)
        # One thread: SQLite has one writer at a time anyway, and the supervisor's own threads
        # stay free whatever comes in here.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="node-door")
        self._presence = Presence(
            register, NodeEntry(name="head", address=facts.address, role="head"), self._in_thread
        )
        self._strangers = Strangers(
            Enrolment(facts, register),
            limits or Limits(),
            near=facts.address,
            clock=clock,
            in_thread=self._in_thread,
        )
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._chores: asyncio.Task[None] | None = None

    async def start(
        self, host: str = "", port: int = 0, *, sock: socket.socket | None = None
    ) -> int:
        """Listen on `sock`, or on a new socket at `host` and `port`; the port it is.

        Raises:
            OSError: the address cannot be had.
        """
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[self._guard])
        for route in ROUTES:
            app.router.add_route(route.method, route.path, self._served(route))
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=0,
            handle_signals=False,
        )
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101  # there after setup
        await self._presence.roster(time.monotonic())
        bounds = Bounds.by_descriptors(self._near, self._presence.is_at)
        bounded = BoundedSocket(sock, bounds) if sock else listen(host, port, bounds)
        self._server = await asyncio.get_running_loop().create_server(
            Connections(self._near).bounded(self._runner.server),
            ssl=self._tls.context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            sock=bounded,
        )
        self._chores = asyncio.create_task(self._do_chores())
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Answer no more, and write what is still to be written."""
        if self._chores is not None:
            self._chores.cancel()
            with suppress(asyncio.CancelledError):
                await self._chores
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._keep_register()
        self._thread.shutdown(wait=False)

    def _keep_old(self, error: Exception) -> None:
        self._log.error("the door keeps its old certificate: %s", _cause(error))

    async def _do_chores(self) -> None:
        while True:
            await asyncio.sleep(_CHORES_SECONDS)
            await self._keep_register()

    async def _keep_register(self) -> None:
        try:
            await self._presence.write()
            await self._presence.roster(time.monotonic())  # who is known when connections come
        except SecureRayError as error:
            self._log.error("%s: %s", error.code, error.cause)

    async def _in_thread(self, act: Callable[..., Any], *arguments: object) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: act(*arguments))

    def _served(self, route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def serve(request: web.Request) -> web.Response:
            node = await self._require_node(request) if route.caller is Caller.NODE else None
            return reply(await route.handler(self, Visit(request, node)))

        return serve

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """A stranger knocks first, whatever it asks for; what goes wrong becomes an answer."""
        try:
            node = await self._node(request)
            if node is None or node.member.revoked is not None:
                self._strangers.knock(address_of(request))
            response: web.StreamResponse = await handler(request)
        except RefusalError as refusal:
            return self._refused(request, refusal)
        except web.HTTPException as error:
            why = Rejection("SR-JOIN-021", f"the door says {error.reason}", SAME_VERSION)
            return problem(why, error.status)
        except SecureRayError as error:
            self._log.error("%s: %s", error.code, error.cause)
            why = Rejection(
                "SR-JOIN-027", f"the head cannot do it now ({error.code})", LOOK_AT_HEAD
            )
            return problem(why, 503)
        except Exception as error:  # noqa: BLE001  # the boundary: a bug is answered too
            # Not its message: it may hold a value that must not be shown.
            place = "".join(traceback.format_tb(error.__traceback__))
            self._log.error("a bug of secure-ray: %s\n%s", type(error).__name__, place)
            return problem(Rejection("SR-JOIN-027", "the head met a bug", LOOK_AT_HEAD), 500)
        return response

    def _refused(self, request: web.Request, refusal: RefusalError) -> web.Response:
        why, address = refusal.rejection, canonical(request.remote or "")
        if line := self._refusals.line(address, why, time.monotonic()):
            self._log.info("%s", line)
        return problem(why, refusal.status)

    async def _node(self, request: web.Request) -> KnownNode | None:
        """The node that asks, by its certificate, be it a revoked one; None for all others."""
        serial = _serial(request)
        if not serial:
            return None
        roster = await self._presence.roster(time.monotonic())
        member = roster.members.get(serial)
        return KnownNode(member, roster) if member is not None else None

    async def _require_node(self, request: web.Request) -> KnownNode:
        node = await self._node(request)
        if node is None:
            raise RefusalError(
                Rejection(
                    "SR-JOIN-022",
                    "this needs the certificate of a node that has joined",
                    "join first: secure-ray up --join -",
                ),
                403,
            )
        if node.member.revoked is not None:
            raise RefusalError(revoked(node.member.name), 403)
        return node

    async def challenge(self, visit: Visit) -> Nonce:
        """A nonce for a join."""
        await body_of(visit.request, Challenge)
        return Nonce(self._strangers.challenge(), self._clock())

    async def join(self, visit: Visit) -> Struct:
        """A leaf for a node that proves that it holds a token."""
        address = address_of(visit.request)
        application = await body_of(visit.request, Application)
        welcome = await self._strangers.join(application, address)
        self._presence.expect_news()
        self._log.info(
            "node %s (%s) joined with token %s", welcome.name, welcome.address, application.token
        )
        return welcome

    async def heartbeat(self, visit: Visit) -> OrdersToSend:
        """What a node says of itself, for what it is to know."""
        member, roster = visit.known.member, visit.known.roster
        beat = await body_of(visit.request, Heartbeat)
        now = self._clock()
        self._presence.beat(member, beat, now)
        return OrdersToSend(member.orders, roster.entries, now, self._epoch())

    async def renew(self, visit: Visit) -> Leaf:
        """A new leaf for a node, for a key of its choice, as the cluster's CA issues them now."""
        wish = await body_of(visit.request, RenewalRequest)
        member, shown = visit.known.member, _serial(visit.request)
        outcome = await self._in_thread(
            self._renewal.issue, member, shown, wish.request, self._clock()
        )
        if isinstance(outcome, Rejection):
            raise RefusalError(outcome, 400)
        self._presence.expect_news()
        self._log.info("node %s has a new certificate", member.name)
        leaf: Leaf = outcome
        return leaf

    async def token(self, _visit: Visit) -> ClusterToken:
        """Ray's cluster token as it is now."""
        return ClusterToken(await self._in_thread(self._renewal.token))

    async def nodes(self, visit: Visit) -> NodesToSend:
        """Who is in the cluster."""
        return NodesToSend(visit.known.roster.entries)


# What does not stand here is not there.
ROUTES = (
    Route("POST", "/v1/challenge", Caller.ANYBODY, NodeDoor.challenge),
    Route("POST", "/v1/join", Caller.ANYBODY, NodeDoor.join),
    Route("POST", "/v1/heartbeat", Caller.NODE, NodeDoor.heartbeat),
    Route("POST", "/v1/renew", Caller.NODE, NodeDoor.renew),
    Route("GET", "/v1/token", Caller.NODE, NodeDoor.token),
    Route("GET", "/v1/nodes", Caller.NODE, NodeDoor.nodes),
)


def _serial(request: web.Request) -> str:
    """The serial number of the certificate that the client has shown; empty when it has not."""
    shown = request.get_extra_info("peercert")
    return f"{int(shown['serialNumber'], 16):x}" if shown else ""


def _cause(error: Exception) -> str:
    return error.cause if isinstance(error, SecureRayError) else type(error).__name__

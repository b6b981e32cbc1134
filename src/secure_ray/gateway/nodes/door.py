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
from math import ceil
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from secure_ray.base.errors import SecureRayError
from secure_ray.gateway.nodes.enrolment import UNPROVEN, Enrolment, HeadFacts, revoked
from secure_ray.gateway.nodes.nonces import Nonces
from secure_ray.gateway.nodes.presence import Presence
from secure_ray.gateway.nodes.renewal import Renewal
from secure_ray.gateway.nodes.transport import HANDSHAKE_SECONDS, Connections, door_context
from secure_ray.network.bounded import BoundedSocket, listen
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
    Problem,
    RenewalRequest,
    decode,
    encode,
)
from secure_ray.policy.addresses import parse_address
from secure_ray.policy.admission import Rejection, in_words
from secure_ray.policy.rate_limit import Gatekeeper, Limits

if TYPE_CHECKING:
    import logging
    import socket

    from msgspec import Struct

    from secure_ray.base.clock import Clock
    from secure_ray.gateway.nodes.members import Member
    from secure_ray.gateway.nodes.presence import Roster
    from secure_ray.gateway.nodes.register import Register

_BODY_SECONDS = 10.0
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
        self._enrolment = Enrolment(facts, register)
        self._epoch = facts.epoch
        self._gate = Gatekeeper(limits or Limits())
        self._nonces = Nonces()
        self._renewal = Renewal(facts, register)
        leaf = facts.pki.leaf
        self._tls = FreshContext(lambda: door_context(leaf), leaf.state, failed=self._keep_old)
        # One thread: SQLite has one writer at a time anyway, and the supervisor's own threads
        # stay free whatever comes in here.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="node-door")
        self._presence = Presence(
            register, NodeEntry(name="head", address=facts.address, role="head"), self._in_thread
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
        bounded = BoundedSocket(sock) if sock else listen(host, port)
        self._server = await asyncio.get_running_loop().create_server(
            Connections().bounded(self._runner.server),
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
        await self._write_heartbeats()
        self._thread.shutdown(wait=False)

    def _keep_old(self, error: Exception) -> None:
        self._log.error("the door keeps its old certificate: %s", _cause(error))

    async def _do_chores(self) -> None:
        while True:
            await asyncio.sleep(_CHORES_SECONDS)
            await self._write_heartbeats()

    async def _write_heartbeats(self) -> None:
        try:
            await self._presence.write()
        except SecureRayError as error:
            self._log.error("%s: %s", error.code, error.cause)

    async def _in_thread(self, act: Callable[..., Any], *arguments: object) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: act(*arguments))

    def _served(self, route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def serve(request: web.Request) -> web.Response:
            node = await self._require_node(request) if route.caller is Caller.NODE else None
            return _reply(await route.handler(self, Visit(request, node)))

        return serve

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Whatever goes wrong becomes an answer that names it."""
        try:
            response: web.StreamResponse = await handler(request)
        except _RefusalError as refusal:
            why = refusal.rejection
            self._log.info("refused %s %s: %s", request.remote or "-", why.code, why.cause)
            return _problem(why, refusal.status)
        except web.HTTPException as error:
            why = Rejection("SR-JOIN-021", f"the door says {error.reason}", _SAME_VERSION)
            return _problem(why, error.status)
        except SecureRayError as error:
            self._log.error("%s: %s", error.code, error.cause)
            why = Rejection(
                "SR-JOIN-027", f"the head cannot do it now ({error.code})", _LOOK_AT_HEAD
            )
            return _problem(why, 503)
        except Exception as error:  # noqa: BLE001  # the boundary: a bug is answered too
            # Not its message: it may hold a value that must not be shown.
            place = "".join(traceback.format_tb(error.__traceback__))
            self._log.error("a bug of secure-ray: %s\n%s", type(error).__name__, place)
            return _problem(Rejection("SR-JOIN-027", "the head met a bug", _LOOK_AT_HEAD), 500)
        return response

    async def _require_node(self, request: web.Request) -> KnownNode:
        serial = _serial(request)
        roster = await self._presence.roster(time.monotonic())
        member = roster.members.get(serial) if serial else None
        if member is None:
            raise _RefusalError(
                Rejection(
                    "SR-JOIN-022",
                    "this needs the certificate of a node that has joined",
                    "join first: secure-ray up --join -",
                ),
                403,
            )
        if member.revoked is not None:
            raise _RefusalError(revoked(member.name), 403)
        return KnownNode(member, roster)

    def _admit_stranger(self, request: web.Request) -> str:
        """The address of a stranger who may knock now."""
        address, now = _address(request), time.monotonic()
        if wait := self._gate.locked(address, now):
            raise _too_early("SR-JOIN-019", "too many wrong proofs came from this address", wait)
        if wait := self._gate.knock(address, now):
            raise _too_early("SR-JOIN-018", "too many requests come from this address", wait)
        return address

    async def challenge(self, visit: Visit) -> Nonce:
        """A nonce for a join."""
        self._admit_stranger(visit.request)
        await _body(visit.request, Challenge)
        return Nonce(self._nonces.make(time.monotonic()), self._clock())

    async def join(self, visit: Visit) -> Struct:
        """A leaf for a node that proves that it holds a token."""
        address = self._admit_stranger(visit.request)
        application = await _body(visit.request, Application)
        self._require_nonce(self._nonces.is_fresh(application.nonce, time.monotonic()))
        wanted = await self._proven(application, address)
        now = time.monotonic()
        # A dead token admits nobody: whoever kept one must not use up what is for all.
        if await self._in_thread(self._is_live, application, wanted) and (
            wait := self._gate.join(now)
        ):
            raise _too_early("SR-JOIN-018", "too many nodes join at once", wait)
        self._require_nonce(self._nonces.spend(application.nonce, now))
        outcome = await self._in_thread(self._admit, application, wanted, address)
        if isinstance(outcome, Rejection):
            raise _RefusalError(outcome, 403)
        self._log.info(
            "node %s (%s) joined with token %s", outcome.name, outcome.address, application.token
        )
        welcome: Struct = outcome
        return welcome

    def _is_live(self, application: Application, wanted: Any) -> bool:
        return self._enrolment.is_live(application, wanted, now=self._clock())

    def _admit(self, application: Application, wanted: Any, address: str) -> object:
        return self._enrolment.admit(application, wanted, address=address, now=self._clock())

    async def _proven(self, application: Application, address: str) -> Any:
        from secure_ray.pki.proof import UnusableRequestError

        try:
            wanted = await self._in_thread(
                self._enrolment.prove, application, application.nonce.encode()
            )
        except UnusableRequestError as error:
            why = Rejection(
                "SR-JOIN-021", f"the certificate request is not accepted: {error}", _SAME_VERSION
            )
            raise _RefusalError(why, 400) from None
        if wanted is None:
            self._gate.bad_proof(address, time.monotonic())
            raise _RefusalError(UNPROVEN, 403)
        return wanted

    @staticmethod
    def _require_nonce(good: bool) -> None:  # noqa: FBT001  # reads as a sentence
        if not good:
            why = Rejection(
                "SR-JOIN-020", "the nonce is not fresh any more", "join again: it gets a new one"
            )
            raise _RefusalError(why, 409)

    async def heartbeat(self, visit: Visit) -> OrdersToSend:
        """What a node says of itself, for what it is to know."""
        member, roster = visit.known.member, visit.known.roster
        beat = await _body(visit.request, Heartbeat)
        now = self._clock()
        self._presence.beat(member, beat, now)
        return OrdersToSend(member.orders, roster.entries, now, self._epoch)

    async def renew(self, visit: Visit) -> Leaf:
        """A new leaf for a node, for a key of its choice, as the cluster's CA issues them now."""
        wish = await _body(visit.request, RenewalRequest)
        outcome = await self._in_thread(
            self._renewal.issue, visit.known.member, wish.request, self._clock()
        )
        if isinstance(outcome, Rejection):
            raise _RefusalError(outcome, 400)
        self._log.info("node %s has a new certificate", visit.known.member.name)
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
_SAME_VERSION = "on this node use the head's version of secure-ray"
_LOOK_AT_HEAD = "try again; the reason is in supervisor.log on the head"


class _RefusalError(Exception):
    def __init__(self, rejection: Rejection, status: int) -> None:
        super().__init__(rejection.code)
        self.rejection = rejection
        self.status = status


def _too_early(code: str, cause: str, wait: float) -> _RefusalError:
    from datetime import timedelta

    seconds = ceil(wait)
    again = in_words(timedelta(seconds=seconds))
    why = Rejection(code, f"{cause}; again in {again}", f"wait {again}, then join again", seconds)
    return _RefusalError(why, 429)


async def _body(request: web.Request, kind: Any) -> Any:
    try:
        content = await asyncio.wait_for(request.read(), _BODY_SECONDS)
        return decode(content, kind)
    except asyncio.TimeoutError:
        why = Rejection("SR-JOIN-021", "the request did not come to its end", _SAME_VERSION)
        raise _RefusalError(why, 408) from None
    except (ConnectionError, HttpProcessingError, web.RequestPayloadError):
        why = Rejection("SR-JOIN-021", "the request broke off, or is no HTTP", _SAME_VERSION)
        raise _RefusalError(why, 400) from None
    except ValueError as error:
        why = Rejection("SR-JOIN-021", f"the request is {error}", _SAME_VERSION)
        raise _RefusalError(why, 400) from None


def _reply(message: Struct, status: int = 200) -> web.Response:
    return web.Response(
        body=encode(message),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", "Server": "secure-ray"},
    )


def _problem(why: Rejection, status: int) -> web.Response:
    response = _reply(Problem(why.code, why.cause, why.fix, why.retry_after), status)
    if why.retry_after:
        response.headers["Retry-After"] = str(why.retry_after)
    if status in {400, 408, 413}:
        response.force_close()
    return response


def _address(request: web.Request) -> str:
    """Where the request comes from, in canonical spelling."""
    address = parse_address((request.remote or "").partition("%")[0])
    if address is None:  # the connection is gone, and with it its other end
        why = Rejection("SR-JOIN-021", "the request has no sender any more", _SAME_VERSION)
        raise _RefusalError(why, 400)
    return str(address)


def _serial(request: web.Request) -> str:
    """The serial number of the certificate that the client has shown; empty when it has not."""
    shown = request.get_extra_info("peercert")
    return f"{int(shown['serialNumber'], 16):x}" if shown else ""


def _cause(error: Exception) -> str:
    return error.cause if isinstance(error, SecureRayError) else type(error).__name__

"""The supervisor's part in carrying plain HTTP between nodes: which services, and who may ask."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING

from secure_ray.network.fresh_context import FreshContext
from secure_ray.network.relay import (
    NoWayError,
    Stream,
    addresses_of,
    open_service,
    serve_forwarder,
    serve_relay,
    wanted_host,
)
from secure_ray.pki.store import LeafFiles
from secure_ray.policy.addresses import canonical

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from secure_ray.node.plan import LaunchPlan

_AGENT, _DASHBOARD = "agent_http", "dashboard"


@asynccontextmanager
async def relaying(plan: LaunchPlan, known: Callable[[], frozenset[str]]) -> AsyncIterator[None]:
    """Offer this node's services to the others and forward to theirs, as long as this lasts.

    Args:
        plan: The node's.
        known: The addresses of the cluster's nodes now. A certificate for none of them is one of a
            node that was revoked, and gets no further than its handshake.

    Raises:
        OSError: a port cannot be bound, or the node's leaf cannot be used.
    """
    files = LeafFiles.within(plan.certificates)
    fresh = FreshContext(lambda: _server(files), files.state)
    async with AsyncExitStack() as stack:
        relay = await serve_relay(
            plan.place.address,
            plan.ports.port("relay"),
            context=fresh.context,
            services=_offered(plan),
            welcome=lambda shown: not known().isdisjoint(addresses_of(shown)),
            know=lambda address: canonical(address) in known(),
        )
        await stack.enter_async_context(relay)
        for port, service, host in _forwarded(plan):
            forwarder = await serve_forwarder(port, _Way(plan, files, service, host).open)
            await stack.enter_async_context(forwarder)
        yield


def _offered(plan: LaunchPlan) -> dict[str, int]:
    """What the other nodes may reach here. Ray asks for the cluster token there as well."""
    names = (_AGENT, _DASHBOARD) if plan.place.is_head else (_AGENT,)
    ports = {planned.component.name: planned.port for planned in plan.ports.of_ray}
    return {name: ports[name] for name in names if name in ports}


def _forwarded(plan: LaunchPlan) -> list[tuple[int, str, str]]:
    """Loopback port here, service, and the host that has it; "" for the one a request names."""
    ports = {planned.component.name: planned.port for planned in plan.ports.ports}
    ways = [(ports["relay_agent"], _AGENT, "")]
    if not plan.place.is_head and _DASHBOARD in ports:
        ways.append((ports[_DASHBOARD], _DASHBOARD, plan.place.head))
    return ways


class _Way:
    """Opens streams to one service of one host, or of the host that each request names."""

    def __init__(self, plan: LaunchPlan, files: LeafFiles, service: str, host: str) -> None:
        self._port = plan.head_ports.port("relay")
        self._files = files
        self._service = service
        self._host = host

    async def open(self, head: bytes) -> Stream:
        wanted = wanted_host(head)
        if self._host and not (_is_loopback(wanted) or wanted == self._host.lower()):
            raise NoWayError(f"{self._service} is reached at this node or at {self._host} alone")
        host = self._host or wanted
        # Made anew each time, so that a renewed leaf is shown.
        context = _client(self._files)
        return await open_service(host, self._port, self._service, context=context)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _server(files: LeafFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _with_leaf(context, files)


def _client(files: LeafFiles) -> ssl.SSLContext:
    return _with_leaf(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


def _with_leaf(context: ssl.SSLContext, files: LeafFiles) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(files.authority)
    context.load_cert_chain(files.certificate, files.key)
    return context

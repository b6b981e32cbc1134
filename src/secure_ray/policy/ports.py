"""The port plan: which component listens where, and how each is told.

One table that the launch, the proof, the guard, the firewall and the docs share. A cluster takes
one block of ports: the services at the block's start, the workers and drivers behind them. Blocks
end below 32768, where Linux begins to hand out ports by itself, so that no outgoing connection
takes one. All nodes of a cluster have the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from secure_ray.policy.addresses import LOOPBACK, AddressKind, kind_of, same_address

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK_SIZE = 1024
FIRST_BLOCK = 10240
BLOCK_COUNT = 22
RESERVATION_OFFSET = 31
WORKER_OFFSET = 32


class Protocol(Enum):
    """What a listener speaks, and so which proof it must pass."""

    GRPC = "grpc"  # mutual TLS and token
    HTTP = "http"  # token; plain HTTP, so loopback only
    EXPORTER = "exporter"  # plain HTTP that asks for no token
    HTTPS = "https"  # TLS 1.2 or newer; a client certificate for all but joining
    STREAM = "stream"  # mutual TLS around a stream of bytes
    FORWARDER = "forwarder"  # takes plain HTTP on loopback, carries it on by mutual TLS


class Reach(Enum):
    """Where a component listens in private mode; in local mode all are on loopback."""

    NODE = "node"  # the node's private address
    LOOPBACK = "loopback"  # plain, so never where another host could read it


@dataclass(frozen=True)
class Component:
    """One listener of Ray, or of secure-ray itself.

    Attributes:
        name: The name in the settings file, in output and in the audit.
        title: What it is, for a person.
        offset: Its place in the block.
        protocol: What it speaks.
        flag: The `ray start` option that sets its port, or "".
        variable: The environment variable that sets its port, or "".
        metrics: True when it exists only with `[metrics] enabled`.
        dashboard: True when it exists only with `[dashboard] enabled`.
        asks_since: The first Ray in which it asks for the token; kept closed in older ones.
        reach: Where it listens in private mode.
        head: True when it exists on the head only.
        ours: True when it is of secure-ray, not of Ray; such a one exists in private mode only.
    """

    name: str
    title: str
    offset: int
    protocol: Protocol
    flag: str = ""
    variable: str = ""
    metrics: bool = False
    dashboard: bool = False
    asks_since: str = ""
    reach: Reach = Reach.LOOPBACK
    head: bool = False
    ours: bool = False


# Ray 2.60.0: scripts/scripts.py `start`, dashboard/consts.py, autoscaler/_private/constants.py.
ALL_COMPONENTS = (
    Component(
        "gcs", "control store (GCS)", 0, Protocol.GRPC, flag="--port", reach=Reach.NODE, head=True
    ),
    # On a worker the port is a forwarder's of secure-ray, which leads to the head's dashboard.
    Component(
        "dashboard",
        "dashboard and Jobs API",
        1,
        Protocol.HTTP,
        flag="--dashboard-port",
        dashboard=True,
    ),
    Component(
        "node_manager", "raylet", 2, Protocol.GRPC, flag="--node-manager-port", reach=Reach.NODE
    ),
    Component(
        "object_manager",
        "object transfer",
        3,
        Protocol.GRPC,
        flag="--object-manager-port",
        reach=Reach.NODE,
    ),
    Component(
        "agent_grpc",
        "node agent",
        4,
        Protocol.GRPC,
        flag="--dashboard-agent-grpc-port",
        reach=Reach.NODE,
    ),
    Component(
        "agent_http",
        "node agent (HTTP)",
        5,
        Protocol.HTTP,
        flag="--dashboard-agent-listen-port",
        # Ray 2.52.1 and 2.53.0, dashboard/http_server_agent.py, have no token middleware: whoever
        # reaches the agent runs jobs, with RAY_AUTH_MODE=token too. 2.54.0 has it.
        asks_since="2.54.0",
    ),
    Component(
        "runtime_env", "runtime environments", 6, Protocol.HTTP, flag="--runtime-env-agent-port"
    ),
    Component(
        "metrics", "node metrics", 7, Protocol.EXPORTER, flag="--metrics-export-port", metrics=True
    ),
    Component(
        "dashboard_metrics",
        "dashboard metrics",
        8,
        Protocol.EXPORTER,
        variable="DASHBOARD_METRIC_PORT",
        metrics=True,
        head=True,
    ),
    Component(
        "autoscaler_metrics",
        "autoscaler metrics",
        9,
        Protocol.EXPORTER,
        variable="AUTOSCALER_METRIC_PORT",
        metrics=True,
        head=True,
    ),
    Component(
        "nodes", "door for nodes", 10, Protocol.HTTPS, reach=Reach.NODE, head=True, ours=True
    ),
    Component("relay", "relay between nodes", 11, Protocol.STREAM, reach=Reach.NODE, ours=True),
    Component("relay_agent", "way to other nodes' agents", 12, Protocol.FORWARDER, ours=True),
)
# Those of Ray, which are told their ports.
COMPONENTS = tuple(component for component in ALL_COMPONENTS if not component.ours)
COMPONENT_NAMES = tuple(component.name for component in COMPONENTS)
# Where the guard puts what must stay on this host: 127.0.0.2 where Ray asked for the node's address,
# for the agent takes its HTTP port on 127.0.0.1 as well (Ray 2.60.0, dashboard/http_server_agent.py).
_LOOPBACKS = (LOOPBACK, "127.0.0.2", "::1")


@dataclass(frozen=True)
class PlannedPort:
    """A component and the port that it gets."""

    component: Component
    port: int


@dataclass(frozen=True)
class PortPlan:
    """All ports of one cluster on one node.

    Attributes:
        base: First port of the block.
        ports: The components that this cluster runs, with their ports.
        closed: Components that this Ray leaves open to anybody; they are given the reservation,
            which they cannot bind, and so do without a listener.
        first_worker: First port for workers and drivers.
        last_worker: Last port for workers and drivers, included.
        private: Whether the cluster listens on a private address, so that others can join.
        head: Whether this is the head's; all nodes have the same numbers.
    """

    base: int
    ports: tuple[PlannedPort, ...]
    first_worker: int
    last_worker: int
    closed: tuple[Component, ...] = ()
    private: bool = False
    head: bool = True

    def port(self, name: str) -> int:
        """The port of component `name`. Raises KeyError when this cluster does not run it."""
        for planned in self.ports:
            if planned.component.name == name:
                return planned.port
        raise KeyError(name)

    @property
    def reservation(self) -> int:
        """The port that the supervisor holds so that no other cluster takes the block."""
        return self.base + RESERVATION_OFFSET

    @property
    def is_sound(self) -> bool:
        """Whether each port has one use: one that the user fixed may lie where another comes."""
        single = [self.reservation, *(planned.port for planned in self.ports)]
        shared = any(self.first_worker <= port <= self.last_worker for port in single)
        return len(set(single)) == len(single) and not shared

    def allows(self, port: int) -> bool:
        """Whether a process of this cluster may listen on `port`."""
        planned = {entry.port for entry in self.ports}
        return port in planned or self.first_worker <= port <= self.last_worker

    @property
    def of_ray(self) -> tuple[PlannedPort, ...]:
        """Those that Ray is told; on a worker the dashboard's port is ours."""
        return tuple(
            planned
            for planned in self.ports
            if not planned.component.ours and (self.head or planned.component.name != "dashboard")
        )

    def for_worker(self) -> PortPlan:
        """The plan of a worker that joins the head with this plan."""
        ports = tuple(planned for planned in self.ports if not planned.component.head)
        return replace(self, ports=ports, head=False)

    def expected(self, node: str) -> tuple[ExpectedSocket, ...]:
        """The sockets that must exist on the node whose address is `node`."""
        return tuple(
            ExpectedSocket(planned, self._addresses(planned, node)) for planned in self.ports
        )

    def allows_at(self, node: str, address: str, port: int) -> bool:
        """Whether a process of this cluster may listen on `address` and `port` of node `node`."""
        stays_here = kind_of(address.partition("%")[0]) is AddressKind.LOOPBACK
        if not stays_here and not same_address(address, node):
            return False
        if self.first_worker <= port <= self.last_worker:
            return stays_here or self.private
        wanted = Reach.LOOPBACK if stays_here else Reach.NODE
        return any(entry.port == port for entry in self.ports if self._reach(entry) is wanted)

    @property
    def loopback_ports(self) -> frozenset[int]:
        """For the guard: what is bound to these stays on this host, whatever it asks for.

        The reservation is among them: what is kept closed is given that port and must not find it
        free on the node's address.
        """
        kept = self._ports_of(Reach.LOOPBACK)
        return kept | {self.reservation} if self.private else kept

    @property
    def node_ports(self) -> frozenset[int]:
        """For the guard: listeners of Ray on the node's address that Ray also dials on loopback."""
        ours = {planned.port for planned in self.ports if planned.component.ours}
        return self._ports_of(Reach.NODE) - ours

    @property
    def relayed(self) -> dict[int, int]:
        """For the guard: plain HTTP ports of other nodes, and the forwarder here that leads there.

        The dashboard runs on the head alone; the job agents that it asks run everywhere.
        """
        if not self.private:
            return {}
        ways = {"agent_http": "relay_agent"} | ({} if self.head else {"dashboard": "dashboard"})
        ports = {planned.component.name: planned.port for planned in self.ports}
        return {ports[far]: ports[near] for far, near in ways.items() if far in ports}

    @property
    def opened(self) -> tuple[tuple[int, int], ...]:
        """For the firewall: first and last port of what the other nodes of the cluster reach."""
        if not self.private:
            return ()
        single = [(port, port) for port in sorted(self._ports_of(Reach.NODE))]
        return (*single, (self.first_worker, self.last_worker))

    def _ports_of(self, reach: Reach) -> frozenset[int]:
        if not self.private:
            return frozenset()
        return frozenset(entry.port for entry in self.ports if entry.component.reach is reach)

    def _reach(self, planned: PlannedPort) -> Reach:
        return planned.component.reach if self.private else Reach.LOOPBACK

    def _addresses(self, planned: PlannedPort, node: str) -> tuple[str, ...]:
        if self._reach(planned) is Reach.NODE:
            return (node,)
        guarded = self.private and not planned.component.ours
        return _LOOPBACKS if guarded else (LOOPBACK,)


@dataclass(frozen=True)
class ExpectedSocket:
    """A listener that must exist.

    Attributes:
        planned: The component and its port.
        addresses: It listens on one of them at least.
    """

    planned: PlannedPort
    addresses: tuple[str, ...]

    @property
    def port(self) -> int:
        """Its port."""
        return self.planned.port


def block_bases(first: int | None = None) -> tuple[int, ...]:
    """The bases to try in order: only `first` when the user named one, else every block."""
    if first is not None:
        return (first,)
    return tuple(FIRST_BLOCK + index * BLOCK_SIZE for index in range(BLOCK_COUNT))


def open_to_anybody(ray_version: str) -> tuple[Component, ...]:
    """The components that ask for no token in this Ray, though they do in newer ones."""
    from packaging.version import Version

    version = Version(ray_version)
    return tuple(
        component
        for component in COMPONENTS
        if component.asks_since and version < Version(component.asks_since)
    )


def plan_ports(
    base: int,
    *,
    fixed: Mapping[str, int],
    workers: tuple[int, int] | None,
    metrics: bool,
    dashboard: bool,
    closed: tuple[Component, ...] = (),
    private: bool = False,
) -> PortPlan:
    """The plan for the block at `base`.

    Args:
        base: First port of the block.
        fixed: Ports that the user chose, by component name.
        workers: First and last port for workers and drivers, if the user chose them.
        metrics: Whether the exporters run.
        dashboard: Whether the dashboard runs.
        closed: Components that must not listen.
        private: Whether other nodes can join; then there are listeners of ours too.
    """
    ports = tuple(
        PlannedPort(component, fixed.get(component.name, base + component.offset))
        for component in ALL_COMPONENTS
        if (metrics or not component.metrics)
        and (dashboard or not component.dashboard)
        and (private or not component.ours)
        and component not in closed
    )
    first, last = workers or (base + WORKER_OFFSET, base + BLOCK_SIZE - 1)
    return PortPlan(base, ports, first, last, closed, private)

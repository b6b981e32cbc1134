"""The port plan: which component of Ray listens where, and how each is told.

One table that the launch, the proof, the firewall and the docs share. A cluster takes one block of
ports: the services at the block's start, the workers and drivers behind them. Blocks end below
32768, where Linux begins to hand out ports by itself, so that no outgoing connection takes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

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


@dataclass(frozen=True)
class Component:
    """One listener of Ray.

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


# Ray 2.60.0: scripts/scripts.py `start`, dashboard/consts.py, autoscaler/_private/constants.py.
COMPONENTS = (
    Component("gcs", "control store (GCS)", 0, Protocol.GRPC, flag="--port"),
    Component(
        "dashboard",
        "dashboard and Jobs API",
        1,
        Protocol.HTTP,
        flag="--dashboard-port",
        dashboard=True,
    ),
    Component("node_manager", "raylet", 2, Protocol.GRPC, flag="--node-manager-port"),
    Component("object_manager", "object transfer", 3, Protocol.GRPC, flag="--object-manager-port"),
    Component("agent_grpc", "node agent", 4, Protocol.GRPC, flag="--dashboard-agent-grpc-port"),
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
        "metrics",
        "node metrics",
        7,
        Protocol.EXPORTER,
        flag="--metrics-export-port",
        metrics=True,
    ),
    Component(
        "dashboard_metrics",
        "dashboard metrics",
        8,
        Protocol.EXPORTER,
        variable="DASHBOARD_METRIC_PORT",
        metrics=True,
    ),
    Component(
        "autoscaler_metrics",
        "autoscaler metrics",
        9,
        Protocol.EXPORTER,
        variable="AUTOSCALER_METRIC_PORT",
        metrics=True,
    ),
)
COMPONENT_NAMES = tuple(component.name for component in COMPONENTS)


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
    """

    base: int
    ports: tuple[PlannedPort, ...]
    first_worker: int
    last_worker: int
    closed: tuple[Component, ...] = ()

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
) -> PortPlan:
    """The plan for the block at `base`.

    Args:
        base: First port of the block.
        fixed: Ports that the user chose, by component name.
        workers: First and last port for workers and drivers, if the user chose them.
        metrics: Whether the exporters run.
        dashboard: Whether the dashboard runs.
        closed: Components that must not listen.
    """
    ports = tuple(
        PlannedPort(component, fixed.get(component.name, base + component.offset))
        for component in COMPONENTS
        if (metrics or not component.metrics)
        and (dashboard or not component.dashboard)
        and component not in closed
    )
    first, last = workers or (base + WORKER_OFFSET, base + BLOCK_SIZE - 1)
    return PortPlan(base, ports, first, last, closed)

"""What Ray's control store knows about its nodes, and the order to drain one.

Ray is asked in a process of its own, which gets the cluster's identity by its environment: neither
the CLI nor the supervisor loads Ray.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secure_ray.base.errors import FailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MODULE = "secure_ray.node.ray_nodes"
_STATE_SECONDS = 15
_RPC_SECONDS = 10.0
_PROCESS_SECONDS = 30.0
# Ray 2.60.0, core/generated/gcs_pb2: GcsNodeInfo.ALIVE.
_ALIVE = 0


@dataclass(frozen=True)
class RayNode:
    """A node as Ray sees it.

    Attributes:
        id: Ray's own name for it, in hex.
        address: Where its raylet listens.
        alive: Whether Ray takes it for alive.
        head: Whether it is the head.
    """

    id: str
    address: str
    alive: bool
    head: bool


def list_ray_nodes(environment: Mapping[str, str]) -> tuple[RayNode, ...]:
    """The nodes that Ray knows, dead ones included.

    Args:
        environment: Of a driver of the cluster (`driver_environment`).

    Raises:
        FailedError: Ray does not answer.
    """
    return tuple(RayNode(**node) for node in _ask(environment, "list"))


def drain_ray_node(environment: Mapping[str, str], node_id: str, reason: str) -> None:
    """Have Ray give the node no further work; it ends once what runs there has ended.

    Ray enforces no deadline: that is the caller's (Ray 2.60.0, scripts/scripts.py `drain_node`).

    Raises:
        FailedError: Ray does not answer, or refuses.
    """
    _ask(environment, "drain", node_id, reason)


@dataclass(frozen=True)
class Work:
    """Something that runs in Ray, and ends with the node that it is on.

    Attributes:
        address: The node's.
        kind: `driver`, `actor` or `task`.
        name: What it is called.
    """

    address: str
    kind: str
    name: str


def list_work(environment: Mapping[str, str]) -> tuple[Work, ...]:
    """What runs in the cluster now, as far as Ray's state API knows.

    Raises:
        FailedError: Ray does not answer; so with the dashboard off.
    """
    return tuple(Work(**one) for one in _ask(environment, "work"))


def _ask(environment: Mapping[str, str], *words: str) -> Any:
    try:
        result = subprocess.run(  # noqa: S603  # our own module, no shell
            [sys.executable, "-m", _MODULE, *words],
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=_PROCESS_SECONDS,
            check=False,
            cwd="/",
        )
        answer = json.loads(result.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        answer = {"error": "no answer"}
    if "error" in answer:
        raise FailedError(
            "SR-RAY-030",
            f"Ray's control store was asked about its nodes: {answer['error']}",
            fix="secure-ray status shows whether the head is up and reachable",
        )
    return answer["result"]


def main(arguments: list[str]) -> None:
    """Answer one question on standard output, as JSON."""
    try:
        result = _answer(*arguments)
    except Exception as error:  # noqa: BLE001  # told to the one who asked
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))  # noqa: T201
    else:
        print(json.dumps({"result": result}))  # noqa: T201


def _answer(question: str, node_id: str = "", reason: str = "") -> Any:
    from ray._raylet import GcsClient

    store = GcsClient(address=os.environ["RAY_ADDRESS"])
    if question == "drain":
        return _drain(store, node_id, reason)
    found = store.get_all_node_info(timeout=_RPC_SECONDS)
    if question == "work":
        return _work({node.hex(): info.node_manager_address for node, info in found.items()})
    return [
        {
            "id": node.hex(),
            "address": info.node_manager_address,
            "alive": info.state == _ALIVE,
            "head": info.is_head_node,
        }
        for node, info in found.items()
    ]


def _work(addresses: Mapping[str, str]) -> list[dict[str, str]]:
    from ray.util.state import list_actors, list_jobs, list_tasks

    jobs = list_jobs(filters=[("status", "=", "RUNNING")], timeout=_STATE_SECONDS)
    actors = list_actors(filters=[("state", "=", "ALIVE")], timeout=_STATE_SECONDS)
    tasks = list_tasks(filters=[("state", "=", "RUNNING")], timeout=_STATE_SECONDS)
    found = [
        (job.driver_info.node_ip_address, "driver", job.entrypoint)
        for job in jobs
        if job.driver_info is not None
    ]
    found += [
        (addresses.get(one.node_id, ""), "actor", one.name or one.class_name) for one in actors
    ]
    found += [
        (addresses.get(one.node_id, ""), "task", one.name)
        for one in tasks
        if one.type == "NORMAL_TASK"
    ]
    return [{"address": where, "kind": kind, "name": name} for where, kind, name in found]


def _drain(store: Any, node_id: str, reason: str) -> None:
    from ray.core.generated import autoscaler_pb2

    # PREEMPTION is the one that a busy node takes: IDLE_TERMINATION it rejects.
    kind = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = store.drain_node(node_id, kind, reason, 0)
    if not accepted:
        raise RuntimeError(f"the drain was not accepted: {why}")


if __name__ == "__main__":
    main(sys.argv[1:])

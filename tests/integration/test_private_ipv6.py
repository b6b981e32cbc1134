"""A cluster whose network has IPv6 alone."""

from __future__ import annotations

import pytest

from support.fabric import fabric
from support.private import HEAD, private_cluster

pytestmark = [pytest.mark.ray, pytest.mark.root]

LOOPBACK = {"127.0.0.1", "127.0.0.2", "::1"}
_EVERYWHERE = """
import ray
ray.init(log_to_driver=False)
where = ray.remote(lambda: ray.util.get_node_ip_address())
nodes = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
print(sorted(ray.get([where.options(resources={f"node:{n}": 0.01}).remote() for n in nodes])))
"""


def test_a_head_and_a_worker_on_ipv6_alone() -> None:
    with fabric((HEAD, "w1"), v6=True) as network, private_cluster(network, ("w1",)) as cluster:
        waiting = {name: cluster.host(name).waiting() for name in cluster.nodes}
        results = [cluster.machine(name).driver(_EVERYWHERE) for name in cluster.nodes]
        states = cluster.ray_nodes("w1")

    for result in results:
        assert result.stdout.strip() == "['fd77::1', 'fd77::2']", result.stderr
    assert states == {"fd77::1": "ALIVE", "fd77::2": "ALIVE"}
    for name, sockets in waiting.items():
        assert len(sockets) >= 8
        allowed = {cluster.host(name).address, *LOOPBACK}
        assert {socket for socket in sockets if socket.address not in allowed} == set()

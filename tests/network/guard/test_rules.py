from __future__ import annotations

import pytest

from secure_ray.network.guard.rules import GuardRules

NONE: frozenset[int] = frozenset()


def test_environment() -> None:
    rules = GuardRules("10.0.0.1", frozenset({9, 8}), frozenset({7}), {6: 5, 4: 3})

    assert rules.environment() == {
        "SECURE_RAY_GUARD_NODE": "10.0.0.1",
        "SECURE_RAY_GUARD_LOOPBACK_PORTS": "8,9",
        "SECURE_RAY_GUARD_NODE_PORTS": "7",
        "SECURE_RAY_GUARD_RELAYED": "4:3,6:5",
    }


def test_every_variable_is_there_without_ports_too() -> None:
    assert set(GuardRules("10.0.0.1", NONE, NONE).environment().values()) == {"10.0.0.1", ""}


@pytest.mark.parametrize(
    ("node", "written"),
    [("FD00:0::1", "fd00::1"), ("fe80::1%eth0", "fe80::1%eth0"), ("::ffff:10.0.0.1", "10.0.0.1")],
)
def test_address_is_written_in_one_form(node: str, written: str) -> None:
    assert GuardRules(node, NONE, NONE).environment()["SECURE_RAY_GUARD_NODE"] == written


@pytest.mark.parametrize(
    "node", ["", "localhost", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "1.2.3"]
)
def test_address_that_is_not_one_hosts_is_refused(node: str) -> None:
    with pytest.raises(ValueError, match="address"):
        GuardRules(node, NONE, NONE)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port_is_refused(port: int) -> None:
    for ports in ((frozenset({port}), NONE), (NONE, frozenset({port}))):
        with pytest.raises(ValueError, match="is not a port"):
            GuardRules("10.0.0.1", *ports)
    for relayed in ({port: 1}, {1: port}):
        with pytest.raises(ValueError, match="is not a port"):
            GuardRules("10.0.0.1", NONE, NONE, relayed)


def test_port_for_loopback_and_the_node_at_once_is_refused() -> None:
    with pytest.raises(ValueError, match="both on loopback and on the node's address: 8"):
        GuardRules("10.0.0.1", frozenset({8, 9}), frozenset({7, 8}))

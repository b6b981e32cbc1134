"""The cluster of three nodes that most tests of the private mode share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.capture import Capture, capturing
from support.fabric import fabric
from support.private import HEAD, PrivateCluster, private_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

# Without the second layer: what is proven of the sockets and of TLS must hold without it.
_SETTINGS = """
[metrics]
enabled = true
[network]
firewall = "off"
"""


@pytest.fixture(scope="session")
def _captured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PrivateCluster, Capture]]:
    path = tmp_path_factory.mktemp("capture") / "cluster.pcap"
    names = (HEAD, "w1", "w2", "newcomer", "outsider")
    with (
        fabric(names, public=(HEAD, "w2", "outsider")) as network,
        capturing(network, path) as capture,
        private_cluster(network, ("w1", "w2"), settings=_SETTINGS) as cluster,
    ):
        yield cluster, capture


@pytest.fixture(scope="session")
def private(_captured: tuple[PrivateCluster, Capture]) -> PrivateCluster:
    """Three nodes, two of them with a public side, a host that may join, and an outsider.

    Shared by all tests that leave it as it is.
    """
    return _captured[0]


@pytest.fixture(scope="session")
def capture(_captured: tuple[PrivateCluster, Capture]) -> Capture:
    """All that passed the network of `private` since before it was started."""
    return _captured[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares the three nodes comes last, so that they run no longer than needed."""
    items.sort(key=lambda item: "private" in getattr(item, "fixturenames", ()))

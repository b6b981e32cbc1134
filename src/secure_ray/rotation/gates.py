"""What has to be so before a rotation of the root goes on: measured at every port of every node.

A canary is a leaf of five minutes under one of the two roots alone. A process that lets it in has
that root in its memory, one that refuses it has not (`pki.canary`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from secure_ray.base.errors import IncompleteError
from secure_ray.base.files import remove_tree
from secure_ray.network.grpc_probe import Identity, Outcome, probe_grpc, tls_client
from secure_ray.node.identity import pki_paths
from secure_ray.pki.canary import make_canary
from secure_ray.pki.profiles import Owner
from secure_ray.policy.addresses import host_port
from secure_ray.rotation.roll import is_settled

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from typing import Literal

    from secure_ray.node.plan import LaunchPlan
    from secure_ray.rotation.nodes import NodeFacts

_THREADS = 16
_TIMEOUT = 5.0


def require_settled(nodes: Iterable[NodeFacts]) -> None:
    """Every port shows what lies on disk.

    Raises:
        IncompleteError: one does not; says which.
    """
    _require(
        [f"{node.name} still shows another certificate" for node in nodes if not is_settled(node)]
    )


def require_trust(
    plan: LaunchPlan,
    nodes: Iterable[NodeFacts],
    *,
    side: Literal["old", "new"],
    trusted: bool,
    now: datetime,
) -> None:
    """Every port trusts the root of that side of the rotation, or none does.

    Raises:
        IncompleteError: one does otherwise; says which.
        FailedError: no canary can be made.
    """
    directory = plan.run.temporary / f"canary-{now.timestamp():.6f}"
    owner = Owner(plan.paths.name, plan.cluster_id)
    try:
        files = make_canary(pki_paths(plan.paths, plan.pki), owner, directory, side=side, now=now)
        client = tls_client(identity=Identity(files.certificate, files.key), authority=None)
        wanted = Outcome.ACCEPTED if trusted else Outcome.REFUSED
        doors = [(node, port) for node in nodes if not node.rests for port in node.ports]
        with ThreadPoolExecutor(_THREADS) as threads:
            results = threads.map(
                lambda door: probe_grpc(
                    door[0].address, door[1].port, client=client, timeout=_TIMEOUT
                ),
                doors,
            )
            off = [
                f"{node.name} {host_port(node.address, port.port)} ({port.title}): a certificate "
                f"of the {side} root is {result.outcome.value}"
                for (node, port), result in zip(doors, results, strict=True)
                if result.outcome is not wanted
            ]
    finally:
        remove_tree(directory)
    _require(off)


def _require(off: list[str]) -> None:
    if off:
        raise IncompleteError(
            "SR-ROT-004",
            f"the rotation waits at {len(off)} places: {'; '.join(off[:5])}",
            fix="secure-ray certs check shows every node; then secure-ray rotate-certs --resume, "
            "or --rollback",
        )

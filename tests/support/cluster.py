"""A cluster of stand-in servers in this process, as hardened as Ray's would be."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from secure_ray.audit.target import Target
from secure_ray.policy.ports import COMPONENTS, PlannedPort, PortPlan, Protocol
from support.servers import CLUSTER_TOKEN, Pki, Tls, grpc_server, http_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def hardened_cluster(
    home: Path,
    pki: Pki,
    *,
    grpc_tls: Tls = Tls.MUTUAL,
    grpc_token: str | None = CLUSTER_TOKEN,
    http_token: str | None = CLUSTER_TOKEN,
    grpc_loading: int = 0,
) -> Iterator[Target]:
    """Every gRPC and HTTP component of Ray and one worker; a parameter takes a protection out."""
    state, session = home / "state", home / "ray"
    for directory in (state, session):
        directory.mkdir(mode=0o700)
    token_path = state / "token"
    token_path.write_text(CLUSTER_TOKEN)
    token_path.chmod(0o600)
    with ExitStack() as stack:
        planned = []
        for component in COMPONENTS:
            if component.protocol is Protocol.GRPC:
                server = grpc_server(pki, tls=grpc_tls, token=grpc_token, loading=grpc_loading)
            elif component.protocol is Protocol.HTTP:
                server = http_server(http_token)
            else:
                continue
            planned.append(PlannedPort(component, stack.enter_context(server)))
        worker = stack.enter_context(grpc_server(pki, tls=grpc_tls, token=grpc_token))
        raylet_socket = stack.enter_context(socket.socket(socket.AF_UNIX))
        raylet_socket.bind(str(session / "raylet"))
        yield Target(
            bind="127.0.0.1",
            pids=(os.getpid(),),
            ports=PortPlan(0, tuple(planned), worker, worker),
            certificate=pki.certificate,
            key=pki.key,
            authority=pki.authority,
            foreign_certificate=pki.foreign_certificate,
            foreign_key=pki.foreign_key,
            token_path=token_path,
            private_directories=(state,),
            ray_parents=(session,),
        )

"""The cluster that a proof looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.policy.ports import PortPlan


@dataclass(frozen=True)
class Target:
    """Where one node's live cluster is, and what it was meant to be.

    Attributes:
        bind: The node's address; plain HTTP is on loopback all the same.
        pids: All its processes, the supervisor included.
        ports: The plan of its ports.
        certificate: The leaf with its chain; a client with it must be let in.
        key: The leaf's private key.
        authority: The CA that the cluster trusts.
        foreign_certificate: A leaf with the same names from another CA, which must be kept out.
        foreign_key: Its private key.
        token_path: The file with the cluster token.
        private_directories: Directories that nobody else may enter, with what lies in them.
        ray_parents: The directories that close off Ray's own, which Ray opens to everybody.
    """

    bind: str
    pids: tuple[int, ...]
    ports: PortPlan
    certificate: Path
    key: Path
    authority: Path
    foreign_certificate: Path
    foreign_key: Path
    token_path: Path
    private_directories: tuple[Path, ...]
    ray_parents: tuple[Path, ...]

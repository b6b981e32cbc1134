"""Clusters of several nodes in private mode, each node on a host of a fabric."""

from __future__ import annotations

import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.pki.join_string import parse_join_string
from support.clusters import JOBS_WORK, Machine, overrides_for
from support.live import until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from support.fabric import Fabric, Host

HEAD = "head"
SMALL = ("--num-cpus", "1", "--memory", "500MB", "--object-store-memory", "100MB")


@dataclass
class PrivateCluster:
    """A head, its workers, and the network that they are on.

    Attributes:
        fabric: The hosts; those that are no nodes too.
        directory: Below it is the home of each host.
        settings: Of every node.
        strings: The join string that each worker has used.
    """

    fabric: Fabric
    directory: Path
    settings: str = ""
    strings: dict[str, str] = field(default_factory=dict)

    def host(self, name: str) -> Host:
        return self.fabric.hosts[name]

    @property
    def nodes(self) -> tuple[str, ...]:
        return (HEAD, *self.strings)

    @cached_property
    def head(self) -> Machine:
        return self.machine(HEAD)

    def machine(self, name: str, home: str = "") -> Machine:
        """The user's secure-ray on host `name`; with `home`, that of another user there."""
        place = self.directory / (home or name)
        place.mkdir(mode=0o700, exist_ok=True)
        settings = place / "secure-ray.toml"
        settings.write_text(f"{overrides_for(metadata.version('ray'))}\n{self.settings}\n")
        return Machine(place, self.host(name).prefix, {"SECURE_RAY_CONFIG": str(settings)})

    def invite(self, *options: str) -> str:
        """A join string."""
        result = self.head.run("join-token", "create", *options)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def invite_altered(self, **changes: Any) -> str:
        """A join string with fields of `JoinString` changed, as from another cluster."""
        return replace(parse_join_string(self.invite()), **changes).text().reveal()

    @contextmanager
    def swallowing(self, source: str) -> Iterator[None]:
        """What host `source` sends to the head is dropped without a word, as by a firewall."""
        head = self.host(HEAD)
        rules = (
            "table inet test { chain input { type filter hook input priority 0; policy accept;"
            f" ip saddr {self.host(source).address} drop; }}; }}"
        )
        head.run("nft", "-f", "-", text=rules)
        try:
            yield
        finally:
            head.run("nft", "delete", "table", "inet", "test")

    def join(self, name: str, *options: str) -> None:
        """Make host `name` a worker of that name, with a resource of that name."""
        string = self.invite()
        resource = json.dumps({name: 1})
        result = self.join_with(name, string, *SMALL, "--resources", resource, *options)
        assert result.returncode == 0, result.stderr
        self.strings[name] = string

    def join_with(
        self, name: str, string: str, *options: str, home: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """`up --join -` on host `name`, to its end."""
        arguments = ("up", "--join", "-", "--name", name, *options)
        return self.machine(name, home).run(*arguments, text=string)

    def node_list(self) -> dict[str, dict[str, Any]]:
        """`node list` on the head, by name."""
        listed = json.loads(self.head.run("node", "list", "--json").stdout)
        return {node["name"]: node for node in listed["nodes"]}

    def ray_nodes(self, seen_from: str = HEAD) -> dict[str, str]:
        """Address and state of the nodes, by `ray list nodes`; the last state of each address."""
        result = self.machine(seen_from).ray("list", "nodes", "--format", "json")
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)
        # An address that came back has a dead node as well.
        ordered = sorted(found, key=lambda node: node["state"] != "DEAD")
        return {node["node_ip"]: node["state"] for node in ordered}

    def until_state(self, name: str, *states: str, seconds: float = 90) -> None:
        """Wait until `node list` shows the worker in one of `states`."""
        until(
            lambda: self.node_list()[name]["state"] in states,
            f"node {name} {' or '.join(states)}",
            seconds=seconds,
        )

    def until_works(self, name: str, *, seconds: float = 90) -> None:
        """Wait until the head has the worker in order, and Ray gives it work."""
        self.until_state(name, "running", seconds=seconds)
        until(
            lambda: self.ray_nodes().get(self.host(name).address) == "ALIVE",
            f"Ray has node {name}",
            seconds=seconds,
        )

    def clean(self) -> None:
        for name in (*self.fabric.hosts, HEAD):
            if (self.directory / name).is_dir():
                self.machine(name).clean()


@contextmanager
def private_cluster(
    fabric: Fabric, workers: tuple[str, ...], *, options: tuple[str, ...] = (), settings: str = ""
) -> Iterator[PrivateCluster]:
    """A head and workers that have joined it, as long as this lasts.

    Args:
        fabric: With a host for each.
        workers: Their hosts' names.
        options: Further ones of `up --head`.
        settings: Of every node, as TOML.
    """
    if not JOBS_WORK:
        pytest.skip("private mode refuses this Ray, whose job agent asks for no token")
    directory = Path(tempfile.mkdtemp(prefix="srt-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        made = PrivateCluster(fabric, directory, settings)
        stack.callback(made.clean)
        made.head.up("--bind", "private", *SMALL, *options)
        with ThreadPoolExecutor() as pool:
            list(pool.map(made.join, workers))
        yield made

"""Hosts on a network of their own, as network namespaces: a bridge, and for some a public side.

outsider   head   w1 ...        each host is a namespace; its eth0 is on the cluster's network,
   |  |     | |    |            its eth1, if it has one, on the public one
===#==+=====#=+====#===  cluster, 10.77.0.0/24 or fd77::/64
      |       |
======#=======#========  public, 203.0.113.0/24 (RFC 5737: no real host has such an address)
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psutil

from support.networks import KNOCK, run_to_end

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CLUSTER, PUBLIC = "cluster", "public"
# The first process of a host: it buries the orphans, and with it all others end.
_INIT = """
import os, signal
signal.signal(signal.SIGCHLD, lambda *_: None)
print("ready", flush=True)
while True:
    try:
        os.wait()
    except ChildProcessError:
        signal.sigwait({signal.SIGCHLD})
"""
_numbers = itertools.count()


@dataclass(frozen=True)
class Socket:
    """A socket of a host that waits for others."""

    kind: str
    address: str
    port: int
    holder: str


@dataclass(frozen=True)
class Host:
    """One host of a fabric.

    Attributes:
        namespace: The network namespace that it is.
        address: On the cluster's network.
        public: On the public network, or "".
        port: Its place on the bridges.
        init: Its first process. Ray looks for its own among all processes of a host, so hosts
            must not see each other's.
    """

    namespace: str
    address: str
    public: str
    port: int
    init: int = 0

    @property
    def prefix(self) -> tuple[str, ...]:
        """Put before a command, runs it on the host."""
        return ("nsenter", f"--target={self.init}", "--net", "--pid", "--mount", "--")

    def run(self, *command: str, text: str = "") -> str:
        """What `command` prints here; raises when it fails."""
        return run_to_end([*self.prefix, *command], text)

    def waiting(self) -> set[Socket]:
        """Every socket, TCP and UDP, that anybody could send to."""
        lines = self.run("ss", "-ltunpH").splitlines()
        return {_socket(line.split(maxsplit=6)) for line in lines}

    def knock(self, targets: Iterable[tuple[str, int]]) -> list[str]:
        """Connect to each address and port from here; tells what was not refused."""
        text = self.run(sys.executable, "-c", KNOCK, text=json.dumps(list(targets)))
        answered: list[str] = json.loads(text)
        return answered


def _socket(columns: list[str]) -> Socket:
    address, _, port = columns[4].rpartition(":")
    holder = columns[6] if len(columns) > 6 else ""
    return Socket(columns[0], address.strip("[]").removeprefix("::ffff:"), int(port), holder)


@dataclass(frozen=True)
class Fabric:
    """The networks, and the hosts on them by name."""

    switch: str
    hosts: dict[str, Host]

    def cut(self, name: str) -> None:
        """Take the host's plug out of the cluster's network."""
        self._set_link(name, "down")

    def mend(self, name: str) -> None:
        """Put it back."""
        self._set_link(name, "up")

    def _set_link(self, name: str, state: str) -> None:
        device = _device(CLUSTER, self.hosts[name].port)
        run_to_end(["ip", "-n", self.switch, "link", "set", device, state])


@contextmanager
def fabric(
    names: Iterable[str], *, public: Iterable[str] = (), v6: bool = False
) -> Iterator[Fabric]:
    """Make the namespaces, which needs root.

    Args:
        names: The hosts.
        public: Those that have a public side as well.
        v6: IPv6 alone instead of IPv4.
    """
    mark = f"srf{os.getpid()}n{next(_numbers)}"
    on_public = set(public)
    hosts = {
        name: Host(
            namespace=f"{mark}{name}",
            address=f"fd77::{port}" if v6 else f"10.77.0.{port}",
            public=f"203.0.113.{port}" if name in on_public else "",
            port=port,
        )
        for port, name in enumerate(names, start=1)
    }
    switch = f"{mark}x"
    with ExitStack() as stack:
        for namespace in (switch, *(host.namespace for host in hosts.values())):
            run_to_end(["ip", "netns", "add", namespace])
            stack.callback(run_to_end, ["ip", "netns", "delete", namespace])
            run_to_end(["ip", "-n", namespace, "link", "set", "lo", "up"])
        for bridge in (CLUSTER, PUBLIC):
            run_to_end(["ip", "-n", switch, "link", "add", bridge, "type", "bridge"])
            run_to_end(["ip", "-n", switch, "link", "set", bridge, "up"])
        for host in hosts.values():
            _plug_in(switch, host, CLUSTER, "eth0", host.address)
            if host.public:
                _plug_in(switch, host, PUBLIC, "eth1", host.public)
        for name, host in hosts.items():
            hosts[name] = replace(host, init=stack.enter_context(_first_process(host)))
        yield Fabric(switch, hosts)


@contextmanager
def _first_process(host: Host) -> Iterator[int]:
    words = ["unshare", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"]
    command = ["ip", "netns", "exec", host.namespace, *words, sys.executable, "-c", _INIT]
    # Killed below it, unshare would complain.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (init,) = psutil.Process(process.pid).children()
        try:
            yield init.pid
        finally:
            init.kill()


def _plug_in(switch: str, host: Host, bridge: str, device: str, address: str) -> None:
    port = _device(bridge, host.port)
    here = ["ip", "-n", host.namespace]
    words = ["type", "veth", "peer", "name", device, "netns", host.namespace]
    run_to_end(["ip", "-n", switch, "link", "add", port, *words])
    run_to_end(["ip", "-n", switch, "link", "set", port, "master", bridge, "up"])
    length = ["/64", "nodad"] if ":" in address else ["/24"]
    run_to_end([*here, "address", "add", address + length[0], "dev", device, *length[1:]])
    run_to_end([*here, "link", "set", device, "up"])


def _device(bridge: str, port: int) -> str:
    return f"{bridge}{port}"

"""Two hosts on one wire, as network namespaces: nothing of this machine's own network is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# Documentation ranges (RFC 5737, RFC 3849): no real host has them.
HERE, HERE_6 = "192.0.2.2", "2001:db8::2"
_THERE, _THERE_6 = "192.0.2.1", "2001:db8::1"

KNOCK = """
import json, socket, sys
answered = []
for address, port in json.load(sys.stdin):
    try:
        socket.create_connection((address, port), 5).close()
    except ConnectionRefusedError:
        continue
    except OSError as error:
        answered.append(f"{address} {port}: {error}")
    else:
        answered.append(f"{address} {port}: connected")
print(json.dumps(answered))
"""

# A name server (RFC 1035) that writes down what it is asked and answers "no such name", or nothing.
_NAME_SERVER = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    query, client = server.recvfrom(4096)
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode(errors="replace"))
        at += 1 + query[at]
    print(".".join(labels), flush=True)
    if sys.argv[2] == "answers":
        header = query[:2] + bytes.fromhex("8183" "0001" "0000" "0000" "0000")
        server.sendto(header + query[12 : at + 5], client)
"""


@dataclass
class Wire:
    """A host with a default route, and its neighbour.

    Attributes:
        host: The namespace of the host.
        neighbour: The namespace at the other end of the wire, its gateway and name server.
        asked: The names that the host has looked up; complete when the wire is cut.
    """

    host: str
    neighbour: str
    asked: set[str] = field(default_factory=set)

    @property
    def prefix(self) -> tuple[str, ...]:
        """Put before a command, runs it on the host."""
        return ("ip", "netns", "exec", self.host)

    def knock(self, ports: Iterable[int]) -> list[str]:
        """Connect to the host's addresses from the neighbour; tells what was not refused."""
        targets = [(address, port) for address in (HERE, HERE_6) for port in ports]
        command = ["ip", "netns", "exec", self.neighbour, sys.executable, "-c", KNOCK]
        answered: list[str] = json.loads(run_to_end(command, json.dumps(targets)))
        return answered

    def listening(self) -> list[tuple[str, int]]:
        """Address and port of all sockets of the host that wait for others."""
        lines = run_to_end([*self.prefix, "ss", "-ltunH"]).splitlines()
        split = [line.split()[4].rpartition(":") for line in lines]
        return [(address, int(port)) for address, _, port in split]


@contextmanager
def wire(*, names_answered: bool = True) -> Iterator[Wire]:
    """Make two namespaces, which needs root.

    Args:
        names_answered: Whether the name server says that there is no such name; else it is silent,
            as behind a firewall that swallows what it does not let through.
    """
    pid = os.getpid()
    made = Wire(f"srt{pid}a", f"srt{pid}b")
    ends = {made.host: f"srta{pid}", made.neighbour: f"srtb{pid}"}
    resolver = Path("/etc/netns") / made.host  # bound over /etc by `ip netns exec`
    with ExitStack() as stack:
        for namespace in ends:
            run_to_end(["ip", "netns", "add", namespace])
            stack.callback(run_to_end, ["ip", "netns", "delete", namespace])
        run_to_end(
            f"ip link add {ends[made.host]} netns {made.host} type veth"
            f" peer name {ends[made.neighbour]} netns {made.neighbour}".split()
        )
        _configure(made.host, ends[made.host], HERE, HERE_6)
        _configure(made.neighbour, ends[made.neighbour], _THERE, _THERE_6)
        run_to_end(["ip", "-n", made.host, "route", "add", "default", "via", _THERE])
        stack.callback(shutil.rmtree, resolver)
        resolver.mkdir(parents=True)
        (resolver / "resolv.conf").write_text(f"nameserver {_THERE}\n")
        stack.enter_context(_name_server(made, answers=names_answered))
        yield made


def _configure(namespace: str, device: str, address: str, address_6: str) -> None:
    ip = ["ip", "-n", namespace]
    run_to_end([*ip, "link", "set", "lo", "up"])
    run_to_end([*ip, "address", "add", f"{address}/24", "dev", device])
    run_to_end([*ip, "address", "add", f"{address_6}/64", "dev", device, "nodad"])
    run_to_end([*ip, "link", "set", device, "up"])


@contextmanager
def _name_server(made: Wire, *, answers: bool) -> Iterator[None]:
    command = ["ip", "netns", "exec", made.neighbour, sys.executable, "-c", _NAME_SERVER]
    with subprocess.Popen(
        [*command, _THERE, "answers" if answers else "silent"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            server.kill()
            made.asked.update(server.stdout.read().split())


def run_to_end(command: Sequence[str], text: str = "") -> str:
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=60, check=True
    ).stdout

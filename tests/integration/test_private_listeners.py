"""Three hosts, two of them with a public side: what listens where, and who is let in."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from support.servers import make_pki

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.fabric import Socket
    from support.private import PrivateCluster

pytestmark = [pytest.mark.ray, pytest.mark.root]

LOOPBACK = {"127.0.0.1", "127.0.0.2", "::1"}
_DRIVER = """
import ray, sys
ray.init(log_to_driver=False)
hold = ray.remote(lambda: sys.stdin and 1)
nodes = [n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"]]
print(ray.get([hold.options(resources={f"node:{n}": 0.01}).remote() for n in nodes]), flush=True)
sys.stdin.read()
"""
_OPEN_WILDCARD = """
import socket
server = socket.create_server(('::', 0), family=socket.AF_INET6, dualstack_ipv6=True)
print(server.getsockname()[1], flush=True)
input()
"""
# Asks as a stranger would: in plain text, by TLS without and with a certificate of its own. What
# counts is what the server says once the handshake is through: in TLS 1.3 a client is through
# before the server has judged it (RFC 8446 section 4.4.2.4).
_STRANGER = """
import json, socket, ssl, sys

PLAIN = {"http": b"GET /v1/nodes HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
         "http2": b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes(3) + b"\\x04" + bytes(5)}

def read(connection):
    received = b""
    try:
        while len(received) < 12:
            more = connection.recv(65536)
            if not more:
                break
            received += more
    except (ssl.SSLError, ConnectionError):
        pass
    except TimeoutError:
        received += b"(silence)"
    return received.decode("latin-1")[:200]

def ask(address, port, words, context=None):
    try:
        connecting = socket.create_connection((address, port), 10)
    except ConnectionRefusedError:  # a worker that has ended since
        return ""
    with connecting as connection:
        if context is not None:
            try:
                connection = context.wrap_socket(connection)
            except (ssl.SSLError, ConnectionError):
                return ""
        try:
            connection.sendall(words)
        except (ssl.SSLError, ConnectionError):
            pass
        return read(connection)

order = json.load(sys.stdin)
contexts = {}
for name, pair in order["pairs"].items():
    contexts[name] = {}
    for how, protocols in (("http", ["http/1.1"]), ("http2", ["h2"])):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(protocols)
        if pair:
            context.load_cert_chain(*pair)
        contexts[name][how] = context
answers = {}
for address, port in order["targets"]:
    for how, words in PLAIN.items():
        answers[f"{address} {port} plain {how}"] = ask(address, port, words)
        for name, context in contexts.items():
            answers[f"{address} {port} {name} {how}"] = ask(address, port, words, context[how])
print(json.dumps(answers))
"""


@contextmanager
def a_driver_on_each(private: PrivateCluster) -> Iterator[None]:
    """A driver runs on each node, and has had a task run on each node."""
    with ExitStack() as stack:
        drivers = []
        for name in private.nodes:
            machine = private.machine(name)
            driver = subprocess.Popen(
                machine.command(["run", "--", sys.executable, "-c", _DRIVER]),
                env=machine.environment(),
                cwd=machine.home,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            drivers.append(stack.enter_context(driver))
            stack.callback(driver.kill)
        for driver in drivers:
            assert driver.stdout is not None
            # Ray also tells drivers of raylets that have died.
            assert f"{[1] * len(private.nodes)}\n" in driver.stdout
        yield
        for driver in drivers:
            driver.communicate()


@pytest.fixture(scope="module")
def waiting(private: PrivateCluster) -> Iterator[dict[str, set[Socket]]]:
    """What waits for others on each node; a driver runs on each of them, and workers."""
    with a_driver_on_each(private):
        yield {name: private.host(name).waiting() for name in private.nodes}


def test_everything_listens_on_loopback_or_the_nodes_own_address(
    private: PrivateCluster, waiting: dict[str, set[Socket]]
) -> None:
    for name in private.nodes:
        allowed = {private.host(name).address, *LOOPBACK}
        found = waiting[name]
        assert {socket for socket in found if socket.address not in allowed} == set()
        facts = private.machine(name).status()
        # The services, the workers that the tasks ran in, and the driver.
        assert len(found) >= len(facts["ports"]) + 2


def test_plain_ports_are_on_loopback_only(
    private: PrivateCluster, waiting: dict[str, set[Socket]]
) -> None:
    for name in private.nodes:
        facts = private.machine(name).status()
        plain = {
            entry["port"]
            for entry in facts["ports"]
            if entry["protocol"] in {"http", "exporter", "forwarder"}
        }
        assert {socket.address for socket in waiting[name] if socket.port in plain} <= LOOPBACK
        assert {socket.port for socket in waiting[name]} >= plain


def test_outsider_does_reach_what_listens_for_all(private: PrivateCluster) -> None:
    head = private.host("head")
    with subprocess.Popen(
        [*head.prefix, sys.executable, "-c", _OPEN_WILDCARD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())

        answered = private.host("outsider").knock([(head.public, port), (head.public, port + 1)])

        assert answered == [f"{head.public} {port}: connected"]
        assert any(socket.address in {"*", "::"} for socket in head.waiting())
        server.communicate("enough")


def test_outsider_reaches_nothing_on_a_public_address(
    private: PrivateCluster, waiting: dict[str, set[Socket]]
) -> None:
    ports = sorted({socket.port for sockets in waiting.values() for socket in sockets})
    public = [host.public for host in map(private.host, private.nodes) if host.public]
    assert len(public) == 2

    targets = [(address, port) for address in public for port in ports]
    answered = private.host("outsider").knock(targets)

    assert answered == []


def test_outsider_on_the_clusters_network_gets_nothing_but_failed_handshakes(
    private: PrivateCluster, waiting: dict[str, set[Socket]], tmp_path: Path
) -> None:
    assert waiting  # and so drivers and workers too
    foreign = make_pki(tmp_path)
    pairs = {
        "no certificate": None,
        "foreign certificate": [str(foreign.foreign_certificate), str(foreign.foreign_key)],
    }
    targets = {
        (socket.address, socket.port)
        for name in private.nodes
        for socket in private.host(name).waiting()
        if socket.address not in LOOPBACK and socket.kind == "tcp"
    }
    order = {"pairs": pairs, "targets": sorted(targets)}
    outsider = private.host("outsider")
    answers = json.loads(outsider.run(sys.executable, "-c", _STRANGER, text=json.dumps(order)))

    door = next(e for e in private.head.status()["ports"] if e["component"] == "nodes")["port"]
    at_door = {how: said for how, said in answers.items() if how.split()[1] == str(door)}
    elsewhere = {how: said for how, said in answers.items() if how not in at_door}
    assert len(elsewhere) >= 6 * 5 * len(private.nodes)
    # An alert, and nothing after it, is what a TLS server says to somebody who speaks none.
    assert {how: said for how, said in elsewhere.items() if not _is_alert_or_nothing(said)} == {}
    assert {
        how: said
        for how, said in at_door.items()
        if not (_is_alert_or_nothing(said) or said.startswith(("HTTP/1.1 403", "HTTP/1.0 400")))
    } == {}
    assert any(said.startswith("HTTP/1.1 40") for said in at_door.values())


def _is_alert_or_nothing(said: str) -> bool:
    return said == "" or (said.startswith("\x15\x03") and len(said) == 7)

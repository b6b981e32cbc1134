"""What somebody reads who sees every packet on the cluster's network: TLS, and nothing in it."""

from __future__ import annotations

import base64
import json
import secrets
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from secure_ray.pki.join_string import parse_join_string
from support.capture import Capture, flows
from support.live import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.private import PrivateCluster

pytestmark = [pytest.mark.ray, pytest.mark.root]

# Each worker makes, takes and prints what holds the marker; 4 MB are not sent inside a message.
_SPREAD = """
import os, ray, sys
ray.init(log_to_driver=True)
marker, nodes = sys.argv[1], sys.argv[2:]

@ray.remote(max_restarts=0)
class Keeper:
    def keep(self, text, block):
        print("kept", text, flush=True)
        self.block = ray.put(block)
        return text, [self.block]
    def look(self, blocks):
        return sum(ray.get(block).count(self.marker_of(block)) for block in blocks)
    def marker_of(self, block):
        return ray.get(block)[:64]

keepers = [Keeper.options(resources={f"node:{node}": 0.01}).remote() for node in nodes]
block = marker.encode().ljust(64) * 65536
kept = ray.get([keeper.keep.remote(marker, block) for keeper in keepers])
blocks = [blocks[0] for _, blocks in kept]
print(ray.get([keeper.look.remote(blocks) for keeper in keepers]))
"""
_JOB = "import os, ray; ray.init(); print('said', os.environ['MARKER'], ray.util.get_node_ip_address())"
_TALK = "said {marker} here and again: {marker}\n"
_SENDER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as connection:
    connection.sendall(sys.argv[3].encode())
    connection.recv(1)
"""
_RECEIVER = """
import socket, sys
with socket.create_server((sys.argv[1], 0)) as server:
    print(server.getsockname()[1], flush=True)
    connection, _ = server.accept()
    connection.recv(65536)
"""


def use_everything(private: PrivateCluster, marker: str) -> None:
    """Tasks, objects, a job on a worker, its log, states, from the head and from a worker."""
    addresses = [private.host(name).address for name in private.nodes]
    for name in ("head", "w1"):
        result = private.machine(name).run(
            "run", "--", sys.executable, "-c", _SPREAD, marker, *addresses
        )
        assert str([65536 * 3] * 3) in result.stdout, result.stderr
    for submitter, place in (("head", "w1"), ("w1", "w2")):
        machine = private.machine(submitter)
        job = submit(private, submitter, place, marker)
        assert f"said {marker} {private.host(place).address}" in job
        for words in (("status",), ("list", "nodes"), ("list", "jobs"), ("job", "list")):
            result = machine.ray(*words)
            assert result.returncode == 0, result.stderr


def submit(private: PrivateCluster, submitter: str, place: str, marker: str) -> str:
    """A job's log, as the submitter reads it; its driver runs on node `place`."""
    runtime_env = json.dumps({"env_vars": {"MARKER": marker}})
    result = private.machine(submitter).ray(
        *("job", "submit", "--entrypoint-resources", json.dumps({place: 0.1})),
        *("--runtime-env-json", runtime_env, "--", "python", "-c", _JOB),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def secrets_of(private: PrivateCluster) -> dict[str, bytes]:
    """All that no packet may hold, by name."""
    found = {"cluster token": (private.head.cluster_directory() / "token").read_bytes().strip()}
    for name, text in private.strings.items():
        secret = parse_join_string(text).secret.reveal()
        found[f"join secret of {name}"] = bytes.fromhex(secret)
        found[f"join secret of {name} in hex"] = secret.encode()
        found[f"join string of {name}"] = text.encode()
    for name in private.nodes:
        key = private.machine(name).cluster_directory() / "pki" / "node" / "current" / "node.key"
        found |= {f"{what} of {name}": text for what, text in _spellings(key).items()}
    return found


def _spellings(key: Path) -> dict[str, bytes]:
    """A private key as it could be sent: lines of its PEM, its number raw, in hex, in base64."""
    text = key.read_bytes()
    lines = [line for line in text.splitlines() if not line.startswith(b"-")]
    loaded = load_pem_private_key(text, None)
    number = loaded.private_numbers().private_value.to_bytes(32, "big")  # type: ignore[union-attr]
    return {f"line {at} of the key": line for at, line in enumerate(lines)} | {
        "key": number,
        "key in hex": number.hex().encode(),
        "key in base64": base64.b64encode(number).rstrip(b"="),
    }


def test_nothing_can_be_read_on_the_clusters_network(
    private: PrivateCluster, capture: Capture
) -> None:
    marker = f"marker-{secrets.token_hex(16)}"

    use_everything(private, marker)

    frames = capture.frames()
    assert capture.lost() == 0
    strangers = {private.host(name).address for name in ("newcomer", "outsider")}
    sent = [
        flow for flow in flows(frames) if not {flow.source.address, flow.target.address} & strangers
    ]
    wanted = secrets_of(private) | {"marker": marker.encode()}
    assert [name for name, secret in wanted.items() if any(secret in f for f in frames)] == []
    assert [name for name, secret in wanted.items() if any(secret in f.data for f in sent)] == []
    assert [f"{flow.source} to {flow.target}" for flow in sent if not flow.is_tls] == []
    # It did look at the network that all of this went over.
    nodes = {private.host(name).address for name in private.nodes}
    assert {flow.source.address for flow in sent} == nodes
    assert sum(len(flow.data) for flow in sent) > 4 * 2**20 * 4


def test_the_capture_does_see_what_is_sent_in_plain_text(
    private: PrivateCluster, capture: Capture
) -> None:
    import subprocess

    marker = f"plain-{secrets.token_hex(16)}"
    sender, receiver = private.host("newcomer"), private.host("outsider")
    with subprocess.Popen(
        [*receiver.prefix, sys.executable, "-c", _RECEIVER, receiver.address],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        text = _TALK.format(marker=marker)
        sender.run(sys.executable, "-c", _SENDER, receiver.address, port, text)

    capture.lost()  # it has written by then all that came before
    seen = [flow for flow in flows(capture.frames()) if flow.target.port == int(port)]
    assert [(flow.data, flow.is_tls) for flow in seen] == [(text.encode(), False)]
    until(lambda: any(marker.encode() in frame for frame in capture.frames()), "a frame with it")

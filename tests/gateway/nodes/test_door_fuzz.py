"""Whatever is sent to the door, it answers or cuts the connection; it never breaks or hangs."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure_ray.gateway.nodes.door import ROUTES
from secure_ray.node.door_client import context_for, node_context
from secure_ray.node.messages import (
    Application,
    Challenge,
    ClusterToken,
    Heartbeat,
    Leaf,
    NodeList,
    Nonce,
    Orders,
    Problem,
    RenewalRequest,
    Welcome,
    decode,
)
from secure_ray.pki.enrolment import pending_key
from secure_ray.pki.proof import Claim, sign_claim
from support.doors import LOOPBACK, VERSIONS, Head, Worker, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PATHS = [route.path for route in ROUTES]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
_SKEWED = ["2030-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00", "0001-01-01T00:00Z"]
TIMES = st.sampled_from(_SKEWED)
APPLICATIONS = st.fixed_dictionaries(
    {
        "token": st.text(min_size=8, max_size=8),
        "name": st.text(min_size=1, max_size=63),
        "request": st.text(max_size=300)
        | st.text(max_size=99).map(lambda one: f"-----BEGIN CERTIFICATE REQUEST-----\n{one}"),
        "nonce": st.just("FRESH") | st.text(max_size=64),
        "proof": st.text(max_size=128),
        "clock": TIMES | st.text(max_size=30),
        "ray": st.text(max_size=64),
        "python": st.text(max_size=64),
        "secure_ray": st.text(max_size=64),
    }
)
# What a holder of a token, whose proof is right, may say besides.
PROVEN = st.fixed_dictionaries(
    {
        "name": st.just("w1") | st.text(min_size=1, max_size=63),
        "clock": st.just("NOW") | TIMES,
        "ray": st.just(VERSIONS["ray"]) | st.text(max_size=64),
        "python": st.just(VERSIONS["python"]) | st.text(max_size=64),
        "secure_ray": st.just(VERSIONS["secure-ray"]) | st.text(max_size=64),
    }
)
BEATS = st.fixed_dictionaries(
    {
        "phase": st.text(max_size=64),
        "reason": st.text(max_size=512),
        "sound": st.booleans(),
        "serial": st.text(max_size=64),
        "expires": TIMES,
        "clock": TIMES,
    }
)


class Door:
    """An open door, and one connection to it as a stranger and one as a node."""

    def __init__(self, head: Head, worker: Worker) -> None:
        self.head = head
        self.worker = worker
        self.token = head.invite(uses=1000)
        self._contexts = {
            False: context_for(head.pki.leaf.authority.read_text()),
            True: node_context(worker.pki.leaf),
        }
        self._connections: dict[bool, http.client.HTTPSConnection] = {}

    def status(self, method: str, path: str, body: bytes, *, node: bool) -> int:
        """The status of the answer, after whatever was sent before on the same connection."""
        for _ in range(2):
            connection = self._connections.get(node) or http.client.HTTPSConnection(
                LOOPBACK, self.head.port, context=self._contexts[node], timeout=20
            )
            self._connections[node] = connection
            try:
                connection.request(method, path, body)
                response = connection.getresponse()
                json.loads(response.read())
            except (http.client.HTTPException, OSError):
                self._connections.pop(node).close()  # closed as idle, or after a bad request
                continue
            return response.status
        pytest.fail("the door does not answer")

    def fresh_nonce(self) -> str:
        connection = http.client.HTTPSConnection(
            LOOPBACK, self.head.port, context=self._contexts[False], timeout=20
        )
        connection.request("POST", "/v1/challenge", b"{}")
        nonce = json.loads(connection.getresponse().read())["nonce"]
        connection.close()
        return str(nonce)

    def proven(self, fields: dict[str, Any]) -> dict[str, Any]:
        """An application of `w1`'s key with these fields, signed with a token."""
        nonce = self.fresh_nonce()
        request, key = pending_key(self.worker.pki)
        token = self.token
        claim = Claim(token.id, token.cluster_id, nonce.encode(), key, fields["name"])
        proof = base64.b64encode(sign_claim(token.secret, claim)).decode()
        rest = {"token": token.id, "request": request.decode(), "nonce": nonce, "proof": proof}
        return {**fields, **rest}

    def raw(self, content: bytes) -> bytes:
        plain = socket.create_connection((LOOPBACK, self.head.port), timeout=20)
        with self._contexts[False].wrap_socket(plain, server_hostname=LOOPBACK) as tls:
            try:
                tls.sendall(content)
                tls.unwrap()  # says that nothing more will come
                return tls.recv(65536)
            except OSError:
                return b""

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    directory = tmp_path_factory.mktemp("fuzz")
    head, worker = Head(directory / "head"), Worker(directory / "w1")
    # No lock-out: what is looked for lies behind it.
    from dataclasses import replace

    head.limits = replace(head.limits, bad_proofs=10**9)
    with head.open():
        worker.join(head.invite())
        door = Door(head, worker)
        yield door
        door.close()
    bugs = [line for line in head.records if "a bug" in line]
    assert bugs == []


@MANY
@given(
    path=st.sampled_from(PATHS),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS"]),
    body=st.binary(max_size=2000) | JSON.map(lambda value: json.dumps(value).encode()),
    node=st.booleans(),
)
def test_any_body_on_any_route(door: Door, path: str, method: str, body: bytes, node: bool) -> None:  # noqa: FBT001
    assert door.status(method, path, body, node=node) < 500


@MANY
@given(application=APPLICATIONS)
def test_any_application(door: Door, application: dict[str, Any]) -> None:
    if application["nonce"] == "FRESH":
        application = {**application, "nonce": door.fresh_nonce()}
    status = door.status("POST", "/v1/join", json.dumps(application).encode(), node=False)

    assert 400 <= status < 500


@MANY
@given(fields=PROVEN)
def test_anything_that_is_proven(door: Door, fields: dict[str, Any]) -> None:
    """Behind the proof: names, clocks and versions are judged, and a right one joins."""
    if fields["clock"] == "NOW":
        fields = {**fields, "clock": utc_now().isoformat()}
    application = door.proven(fields)
    status = door.status("POST", "/v1/join", json.dumps(application).encode(), node=False)

    good = fields["name"] == "w1" and all(
        fields[field] == VERSIONS[package]
        for field, package in (("ray", "ray"), ("python", "python"), ("secure_ray", "secure-ray"))
    )
    assert status in {200, 400, 403}
    assert status == 200 or not good or fields["clock"] in {"", *_SKEWED}


@MANY
@given(beat=BEATS)
def test_any_heartbeat(door: Door, beat: dict[str, Any]) -> None:
    assert door.status("POST", "/v1/heartbeat", json.dumps(beat).encode(), node=True) in {200, 400}


@MANY
@given(
    request=st.text(max_size=300)
    | st.text(max_size=99).map(lambda one: f"-----BEGIN CERTIFICATE REQUEST-----\n{one}")
    | st.binary(max_size=99).map(
        lambda one: (
            "-----BEGIN CERTIFICATE REQUEST-----\n"
            f"{base64.b64encode(one).decode()}\n-----END CERTIFICATE REQUEST-----\n"
        )
    ),
    more=st.dictionaries(st.text(max_size=9), JSON, max_size=1),
)
def test_any_renewal(door: Door, request: str, more: dict[str, Any]) -> None:
    body = json.dumps({**more, "request": request}).encode()

    assert door.status("POST", "/v1/renew", body, node=True) == 400


@MANY
@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_any_path(door: Door, path: str) -> None:
    assert door.status("GET", f"/{path}", b"", node=True) < 500


@MANY
@given(
    content=st.binary(max_size=400)
    | st.builds(
        lambda head, body: b"POST /v1/join HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + body,
        st.sampled_from(
            [
                b"Content-Length: 5",
                b"Content-Length: -1",
                b"Content-Length: 99999999999999999999",
                b"Content-Length: 5\r\nContent-Length: 6",
                b"Transfer-Encoding: chunked",
                b"Transfer-Encoding: chunked\r\nContent-Length: 5",
                b"Content-Encoding: gzip\r\nContent-Length: 5",
                b"Content-Encoding: br\r\nContent-Length: 5",
                b"Expect: 100-continue\r\nContent-Length: 5",
                b"Expect: x",
                b"Upgrade: websocket\r\nConnection: upgrade",
                b"X: " + b"y" * 9000,
            ]
        ),
        st.binary(max_size=40),
    )
)
def test_any_bytes(door: Door, content: bytes) -> None:
    assert b" 500 " not in door.raw(content)[:40]


@pytest.mark.parametrize(
    "kind",
    [
        Application,
        Challenge,
        ClusterToken,
        Heartbeat,
        Leaf,
        NodeList,
        Nonce,
        Orders,
        Problem,
        RenewalRequest,
        Welcome,
    ],
)
@given(content=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_message_is_read_or_refused(kind: type, content: bytes) -> None:
    try:
        assert isinstance(decode(content, kind), kind)
    except ValueError as error:
        assert str(error) == f"not a {kind.__name__}"  # noqa: PT017  # and none of its content


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 20_000])
def test_deep_nesting_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a Heartbeat"):
        decode(content, Heartbeat)

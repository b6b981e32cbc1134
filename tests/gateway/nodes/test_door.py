"""The door's routes over real TLS: who gets in, what is refused, what is noted."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.gateway.nodes import answers, transport
from secure_ray.gateway.nodes import door as door_module
from secure_ray.gateway.nodes.door import ROUTES, Caller
from secure_ray.gateway.nodes.members import give_orders, list_members, revoke_member
from secure_ray.gateway.nodes.tokens import Spending, revoke_token, spend
from secure_ray.network.bounded import Bounds
from secure_ray.node.door_client import connected, context_for, node_context
from secure_ray.node.messages import MOST_BYTES, Heartbeat
from secure_ray.pki.credentials import make_foreign_pair
from secure_ray.pki.enrolment import pending_key
from secure_ray.pki.join_string import Endpoint
from secure_ray.pki.proof import Claim, sign_claim
from secure_ray.policy.rate_limit import Limits
from support.doors import CLUSTER_TOKEN, LOOPBACK, Answer, Head, Worker, call, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from secure_ray.node.messages import NodeList, Orders
    from secure_ray.pki.join_string import JoinString

BEAT = {
    "phase": "running",
    "reason": "",
    "sound": True,
    "serial": "ab",
    "expires": "2030-01-01T00:00:00Z",
    "clock": "2030-01-01T00:00:00Z",
}


def stranger(head: Head) -> ssl.SSLContext:
    return context_for(head.pki.leaf.authority.read_text())


def ask(head: Head, path: str, body: Any = b"", method: str = "POST") -> Answer:
    return call(head.port, method, path, body, context=stranger(head))


def application(head: Head, worker: Worker, string: JoinString, **changes: Any) -> dict[str, Any]:
    """A join as the client sends it, with some fields replaced."""
    import base64

    nonce = ask(head, "/v1/challenge", {}).said["nonce"]
    request, key = pending_key(worker.pki)
    claim = Claim(string.id, string.cluster_id, nonce.encode(), key, worker.name)
    return {
        "token": string.id,
        "name": worker.name,
        "request": request.decode(),
        "nonce": nonce,
        "proof": base64.b64encode(sign_claim(string.secret, claim)).decode(),
        "clock": utc_now().isoformat(),
        "ray": worker.versions["ray"],
        "python": worker.versions["python"],
        "secure_ray": worker.versions["secure-ray"],
        **changes,
    }


def beat(head: Head, worker: Worker, **changes: Any) -> Answer:
    context = node_context(worker.pki.leaf)
    return call(head.port, "POST", "/v1/heartbeat", {**BEAT, **changes}, context=context)


def test_every_route_says_who_may_call_it() -> None:
    assert {(route.path, route.caller) for route in ROUTES} == {
        ("/v1/challenge", Caller.ANYBODY),
        ("/v1/join", Caller.ANYBODY),
        ("/v1/heartbeat", Caller.NODE),
        ("/v1/renew", Caller.NODE),
        ("/v1/token", Caller.NODE),
        ("/v1/nodes", Caller.NODE),
    }


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_a_stranger_gets_no_further_than_joining(head: Head, route: door_module.Route) -> None:
    with head.open():
        answer = ask(head, route.path, BEAT, route.method)

    if route.caller is Caller.NODE:
        assert (answer.status, answer.said["code"]) == (403, "SR-JOIN-022")
    else:
        assert answer.status == 400
    assert CLUSTER_TOKEN not in str(answer)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/v1/join", 405), ("POST", "/v1/../v1/users", 404)],
)
def test_what_is_not_declared_is_not_there(head: Head, method: str, path: str, status: int) -> None:
    with head.open():
        answer = ask(head, path, method=method)

    assert answer.status == status
    assert answer.said["code"] == "SR-JOIN-021"


def test_the_head_itself_is_no_node_that_joined(head: Head) -> None:
    with head.open():
        context = node_context(head.pki.leaf)
        answer = call(head.port, "GET", "/v1/nodes", context=context)

    assert answer.said["code"] == "SR-JOIN-022"


def test_a_certificate_of_another_ca_ends_the_handshake(head: Head) -> None:
    context = stranger(head)
    context.load_cert_chain(*make_foreign_pair(head.directory / "foreign", now=utc_now()))
    with head.open(), pytest.raises((ssl.SSLError, ConnectionError)):
        call(head.port, "POST", "/v1/challenge", {}, context=context)


def test_older_tls_is_not_spoken(head: Head) -> None:
    context = stranger(head)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with head.open(), pytest.raises((ssl.SSLError, ConnectionError)):
        call(head.port, "POST", "/v1/challenge", {}, context=context)


def test_a_node_reports_and_is_told(head: Head, worker: Worker) -> None:
    with head.open() as running:
        joined = worker.join(head.invite())
        with head.register.changing() as database:
            give_orders(database, joined.node, ["drain"])
        told = beat(head, worker)
        running.run(running.door._keep_register())
        with head.register.reading() as database:
            (member,) = list_members(database)

    assert told.status == 200
    assert told.said["orders"] == ["drain"]
    assert told.said["nodes"] == [
        {"name": "head", "address": "10.0.0.5", "role": "head"},
        {"name": "w1", "address": LOOPBACK, "role": "worker"},
    ]
    assert member.seen is not None
    assert member.state["phase"] == "running"


def test_heartbeats_are_not_limited(head: Head, worker: Worker) -> None:
    head.limits = Limits()
    with head.open():
        worker.join(head.invite())
        assert {beat(head, worker).status for _ in range(20)} == {200}


def test_the_client_for_nodes(head: Head, worker: Worker) -> None:
    async def talk() -> tuple[Orders, NodeList]:
        endpoint = Endpoint(LOOPBACK, head.port)
        async with connected(endpoint, node_context(worker.pki.leaf)) as client:
            report = Heartbeat("running", "", True, "ab", utc_now(), utc_now())  # noqa: FBT003
            return await client.heartbeat(report), await client.nodes()

    with head.open() as running:
        worker.join(head.invite())
        orders, nodes = running.run(talk())

    assert [node.name for node in nodes.nodes] == ["head", "w1"]
    assert orders.nodes == nodes.nodes


def test_a_revoked_node_is_refused(
    head: Head, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_ray.gateway.nodes.presence._FRESH", 0.0)
    with head.open():
        worker.join(head.invite())
        assert beat(head, worker).status == 200
        with head.register.changing() as database:
            revoke_member(database, "w1", utc_now())
        answer = beat(head, worker)

    assert (answer.status, answer.said["code"]) == (403, "SR-JOIN-023")


def test_a_node_is_still_one_after_the_door_was_opened_again(head: Head, worker: Worker) -> None:
    with head.open():
        worker.join(head.invite())
    with head.open():
        assert beat(head, worker).status == 200


# Proofs.


def test_a_proof_is_good_once(head: Head, worker: Worker) -> None:
    with head.open():
        sent = application(head, worker, head.invite())
        first, again = (ask(head, "/v1/join", sent) for _ in range(2))

    assert first.status == 200
    assert again.said["code"] == "SR-JOIN-020"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "w2"}, "SR-JOIN-013"),
        ({"token": "zzzzzzzz"}, "SR-JOIN-013"),
        ({"proof": "AAAA"}, "SR-JOIN-013"),
        ({"proof": "é"}, "SR-JOIN-013"),
        ({"nonce": "A" * 64}, "SR-JOIN-020"),
        ({"nonce": ""}, "SR-JOIN-020"),
        ({"request": "hello"}, "SR-JOIN-021"),
        ({"more": 1}, "SR-JOIN-021"),
        ({"clock": "2030-01-01T00:00:00"}, "SR-JOIN-021"),
        ({"ray": "x" * 65}, "SR-JOIN-021"),
    ],
    ids=str,
)
def test_what_was_changed_on_the_way_joins_nobody(
    head: Head, worker: Worker, changes: dict[str, Any], code: str
) -> None:
    with head.open():
        answer = ask(head, "/v1/join", application(head, worker, head.invite(), **changes))
        with head.register.reading() as database:
            assert list_members(database) == ()

    assert answer.said["code"] == code


def test_a_request_for_another_key_is_not_what_the_token_signed(
    head: Head, worker: Worker, another: Callable[[str], Worker]
) -> None:
    request, _ = pending_key(another("thief").pki)
    with head.open():
        sent = application(head, worker, head.invite(), request=request.decode())
        answer = ask(head, "/v1/join", sent)

    assert answer.said["code"] == "SR-JOIN-013"


def test_nobody_without_the_token_learns_its_state(head: Head, worker: Worker) -> None:
    with head.open():
        used = head.invite()
        worker.join(used)
        answers = [
            ask(head, "/v1/join", application(head, worker, used, token=token, proof="AAAA")).said
            for token in (used.id, "zzzzzzzz")
        ]

    assert answers[0] == answers[1]


def test_five_wrong_proofs_lock_the_address_out_of_that_token_alone(
    head: Head, worker: Worker, another: Callable[[str], Worker]
) -> None:
    with head.open():
        string = head.invite()
        sent = [application(head, worker, string, proof="AAAA") for _ in range(5)]
        codes = [ask(head, "/v1/join", one).said["code"] for one in sent]
        locked = ask(head, "/v1/join", application(head, worker, string))
        # Whoever shares the address with a guesser still gets in with a token of its own.
        assert another("w2").join(head.invite()).name == "w2"
    with head.open():  # from another address, so to say: the door has forgotten ours
        with head.register.changing() as database:
            revoke_member(database, "w2", utc_now())
        assert worker.join(string).name == "w1"

    assert codes == ["SR-JOIN-013"] * 5
    assert (locked.status, locked.said["code"]) == (429, "SR-JOIN-019")
    assert "again in 30 min" in locked.said["cause"]
    assert int(locked.headers["Retry-After"]) > 1790


def test_a_locked_out_node_of_the_cluster_still_reports(head: Head, worker: Worker) -> None:
    with head.open():
        worker.join(head.invite())
        string = head.invite()
        for _ in range(5):
            ask(head, "/v1/join", application(head, worker, string, proof="AAAA"))
        assert ask(head, "/v1/join", application(head, worker, string)).status == 429
        assert beat(head, worker).status == 200


def test_joins_are_limited_for_all_together(head: Head, worker: Worker) -> None:
    head.limits = Limits(per_source=1e6, burst=10**6, joins=20, joins_burst=0)
    with head.open():
        string = head.invite()
        answer = ask(head, "/v1/join", application(head, worker, string))

    assert answer.said["code"] == "SR-JOIN-018"
    assert answer.said["retry_after"] == 3


@pytest.mark.parametrize("how", ["spent", "expired", "revoked"])
def test_dead_token_uses_up_no_joins(
    head: Head, worker: Worker, another: Callable[[str], Worker], how: str
) -> None:
    head.limits = Limits(per_source=1e6, burst=10**6, joins=0.001, joins_burst=1)
    string = head.invite(uses=1)
    with head.register.changing() as database:
        if how == "spent":
            key = pending_key(another("w9").pki)[1]
            spend(database, string.id, key, Spending("n", "w9", "10.0.0.9", "", ""), utc_now())
        elif how == "revoked":
            revoke_token(database, string.id, utc_now())
        else:
            database.execute("UPDATE tokens SET expires = 1 WHERE id = ?", (string.id,))
    with head.open():
        codes = {
            ask(head, "/v1/join", application(head, worker, string)).said["code"] for _ in range(3)
        }
        assert worker.join(head.invite()).name == "w1"

    assert len(codes) == 1
    assert codes <= {"SR-JOIN-010", "SR-JOIN-011", "SR-JOIN-012"}


def test_address_of_the_head_or_of_another_node_gets_no_leaf(
    head: Head, worker: Worker, another: Callable[[str], Worker]
) -> None:
    elsewhere = head.facts
    head.facts = replace(elsewhere, address="::ffff:127.0.0.1")
    with head.open():
        answer = ask(head, "/v1/join", application(head, worker, head.invite()))
    assert (answer.status, answer.said["code"]) == (403, "SR-JOIN-024")

    head.facts = elsewhere
    with head.open():
        worker.join(head.invite())
        second, string = another("w2"), head.invite()
        answer = ask(head, "/v1/join", application(head, second, string))
        assert (answer.status, answer.said["code"]) == (403, "SR-JOIN-024")
        assert "node w1 (127.0.0.1)" in answer.said["cause"]
        worker.join(head.invite())  # the node itself may come again
        with head.register.changing() as database:
            assert [member.name for member in list_members(database)] == ["w1"]
            revoke_member(database, "w1", utc_now())
        assert second.join(string).name == "w2"


def test_neither_a_refusal_nor_a_repetition_uses_up_joins(
    head: Head, worker: Worker, another: Callable[[str], Worker]
) -> None:
    head.limits = Limits(per_source=1e6, burst=10**6, joins=0.001, joins_burst=2)
    with head.open():
        first, second = head.invite(uses=9), another("w2")
        for _ in range(3):
            refused = application(head, worker, first, ray="1.0")
            assert ask(head, "/v1/join", refused).said["code"] == "SR-JOIN-017"
        for _ in range(3):
            assert ask(head, "/v1/join", application(head, worker, first)).status == 200
        with head.register.changing() as database:
            revoke_member(database, "w1", utc_now())
        assert second.join(head.invite()).name == "w2"


@pytest.mark.parametrize("fresh_key", [False, True])
def test_a_revoked_node_does_not_come_back_with_the_token_that_it_used(
    head: Head,
    worker: Worker,
    another: Callable[[str], Worker],
    fresh_key: bool,  # noqa: FBT001
) -> None:
    with head.open():
        used, new = head.invite(uses=3), head.invite()
        worker.join(used)
        with head.register.changing() as database:
            revoke_member(database, "w1", utc_now())
        again = another("w1-again") if fresh_key else worker
        code = ask(head, "/v1/join", application(head, again, used)).said["code"]
        assert code == ("SR-JOIN-012" if fresh_key else "SR-JOIN-023")
        if not fresh_key:  # nor with another one, before it was reset
            answer = ask(head, "/v1/join", application(head, worker, new))
            assert answer.said["code"] == "SR-JOIN-023"


def test_one_key_is_one_node_and_all_of_it_is_revoked(
    head: Head, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_ray.gateway.nodes.presence._FRESH", 0.0)
    with head.open():
        worker.join(head.invite())
        under_another = replace(worker, name="w9")
        answer = ask(head, "/v1/join", application(head, under_another, head.invite()))
        assert (answer.status, answer.said["code"]) == (403, "SR-JOIN-051")
        assert "node w1 already" in answer.said["cause"]
        with head.register.changing() as database:  # as an earlier version let it
            database.execute(
                "INSERT INTO nodes (id, name, address, key, joined)"
                " SELECT 'x', 'w9', address, key, joined FROM nodes"
            )
            revoke_member(database, "w9", utc_now())
        assert beat(head, worker).said["code"] == "SR-JOIN-023"


# Bounds.


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/heartbeat"), ("GET", "/v1/nodes"), ("GET", "/x")]
)
def test_a_stranger_knocks_wherever_it_comes(head: Head, method: str, path: str) -> None:
    head.limits = Limits()
    with head.open():
        statuses = [ask(head, path, BEAT, method).status for _ in range(8)]
        own = call(head.port, method, path, BEAT, context=node_context(head.pki.leaf)).status

    assert 429 not in statuses[:5]
    assert {*statuses[6:], own} == {429}  # nor is the head's own leaf that of a node that joined


def test_refusals_do_not_fill_the_log(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    with head.open():
        for _ in range(20):
            ask(head, "/v1/nodes", method="GET")
        assert len(head.records) == 1
        monkeypatch.setattr("secure_ray.gateway.nodes.strangers._LINE_SECONDS", 0.0)
        ask(head, "/v1/nodes", method="GET")

    assert head.records[1].endswith("(and 19 more since the last such line)")


def test_nodes_are_not_counted_among_the_strangers_of_their_network(
    head: Head, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_MOST_OF_A_SOURCE", 1)
    with head.open():
        worker.join(head.invite())
        plain = [socket.create_connection((LOOPBACK, head.port), timeout=10) for _ in range(3)]
        context = node_context(worker.pki.leaf)
        held = [context.wrap_socket(one, server_hostname=LOOPBACK) for one in plain]
        assert ask(head, "/v1/challenge", {}).status == 200
        for connection in held:
            connection.close()


def test_strangers_leave_room_for_nodes_before_any_handshake(
    head: Head, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Bounds
    monkeypatch.setattr(Bounds, "by_descriptors", lambda *given: real(9, 5, 4, *given))
    with head.open():
        worker.join(head.invite())
    with head.open():  # it knows its nodes from the start
        held = [
            socket.create_connection((LOOPBACK, head.port), 5, (f"127.0.0.{last}", 0))
            for last in range(2, 8)
        ]
        assert beat(head, worker).status == 200
        for connection in held:
            connection.close()


def test_a_body_that_is_too_large(head: Head) -> None:
    with head.open():
        answer = ask(head, "/v1/join", b"x" * (MOST_BYTES + 1))

    assert (answer.status, answer.said["code"]) == (413, "SR-JOIN-021")


def test_a_body_that_does_not_come(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_BODY_SECONDS", 0.2)
    start = b"POST /v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
    with head.open():
        assert b" 408 " in until_cut(head, start)


@pytest.mark.parametrize("start", [b"", b"POST /v1/join HTT", b"\x00\xff", b"GET / HTTP/1.1\r\nx"])
def test_a_slow_stranger_is_cut(head: Head, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(transport, "STRANGER_SECONDS", 0.2)
    with head.open():
        until_cut(head, start)


def test_a_client_that_never_shakes_hands_is_cut(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "HANDSHAKE_SECONDS", 0.2)
    with head.open(), socket.create_connection((LOOPBACK, head.port), timeout=10) as client:
        assert client.recv(1) == b""


def test_one_source_cannot_hold_all_connections(
    head: Head, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_MOST_OF_A_SOURCE", 3)
    with head.open():
        worker.join(head.invite())
        held = [shaken(head) for _ in range(3)]
        with shaken(head) as one_too_many, pytest.raises(ConnectionError):
            read_or_fail(one_too_many)
        assert beat(head, worker).status == 200  # a node is not kept out
        for connection in held:
            connection.close()


def test_one_source_cannot_hold_all_descriptors_before_it_shakes_hands(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bounds, "by_descriptors", lambda *_: Bounds(9, 2, 7))
    with head.open():
        held = [socket.create_connection((LOOPBACK, head.port), timeout=5) for _ in range(2)]
        with (
            socket.create_connection((LOOPBACK, head.port), timeout=5) as one_too_many,
            suppress(ConnectionError),
        ):
            assert one_too_many.recv(1) == b""
        for connection in held:
            connection.close()


def read_or_fail(connection: ssl.SSLSocket) -> None:
    if connection.recv(1) == b"":
        raise ConnectionError


def shaken(head: Head) -> ssl.SSLSocket:
    plain = socket.create_connection((LOOPBACK, head.port), timeout=10)
    return stranger(head).wrap_socket(plain, server_hostname=LOOPBACK)


def until_cut(head: Head, start: bytes) -> bytes:
    """All that the door sends until it ends the connection."""
    received = b""
    with shaken(head) as client:
        client.sendall(start)
        try:
            while content := client.recv(4096):
                received += content
        except (ConnectionError, ssl.SSLError):
            pass
    return received


@pytest.mark.parametrize("remote", [None, "", "/run/socket"])
def test_a_request_without_a_sender_is_a_bad_one(remote: str | None) -> None:
    request: Any = SimpleNamespace(remote=remote)

    with pytest.raises(answers.RefusalError) as caught:
        answers.address_of(request)

    assert caught.value.status == 400


def test_a_bug_is_answered_and_logged_without_its_values(head: Head, worker: Worker) -> None:
    with head.open() as running:

        def fail(*_: object) -> None:
            raise RuntimeError(CLUSTER_TOKEN)

        running.door._strangers._enrolment.prove = fail  # type: ignore[assignment,method-assign]
        answer = ask(head, "/v1/join", application(head, worker, head.invite()))

    assert (answer.status, answer.said["code"]) == (500, "SR-JOIN-027")
    assert CLUSTER_TOKEN not in str(answer)
    assert "a bug of secure-ray: RuntimeError" in head.records[0]
    assert CLUSTER_TOKEN not in head.records[0]


def test_a_full_disk_is_said_and_spends_nothing(head: Head, worker: Worker) -> None:
    with head.open():
        string = head.invite()
        issuing = head.pki.authority.issuing_key.read_bytes()
        head.pki.authority.issuing_key.unlink()
        answer = ask(head, "/v1/join", application(head, worker, string))
        head.pki.authority.issuing_key.write_bytes(issuing)
        head.pki.authority.issuing_key.chmod(0o600)
        assert worker.join(string).name == "w1"

    assert answer.status == 503
    assert "SR-JOIN-025" in answer.said["cause"]


def test_the_log_names_who_joined_and_who_did_not(head: Head, worker: Worker) -> None:
    with head.open():
        string = head.invite()
        worker.join(string)
        ask(head, "/v1/heartbeat", {})

    log = "\n".join(head.records)
    assert f"node w1 (127.0.0.1) joined with token {string.id}" in log
    assert "refused 127.0.0.1 SR-JOIN-022" in log
    assert string.secret.reveal() not in log


def test_a_renewed_certificate_is_shown_without_a_restart(head: Head) -> None:
    from secure_ray.pki.credentials import ensure_credentials

    def shown() -> str:
        with shaken(head) as connection:
            return str((connection.getpeercert() or {})["serialNumber"])

    with head.open():
        before = shown()
        ensure_credentials(
            head.pki,
            cluster="default",
            cluster_id=head.facts.cluster_id,
            sans=head.names,
            now=utc_now() + timedelta(days=46),
        )
        # The new leaf is not valid yet by the real clock: only its number is looked at.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection((LOOPBACK, head.port), timeout=10)
        with context.wrap_socket(plain) as connection:
            after = connection.getpeercert(binary_form=True)

    assert after is not None
    assert bytes.fromhex(before) not in after


@pytest.mark.parametrize("other", [False, True])
def test_half_a_renewal_leaves_the_old_certificate(head: Head, tmp_path: Path, other: bool) -> None:  # noqa: FBT001
    """The new certificate is there, its key is not: no pair; or it is damaged."""
    new = Head(tmp_path / "other").pki.leaf.certificate.read_text() if other else "nothing"
    with head.open():
        head.pki.leaf.certificate.write_text(new)
        assert ask(head, "/v1/challenge", {}).status == 200


def test_a_head_on_ipv6(head: Head, worker: Worker) -> None:
    head.host = "::1"
    with head.open():
        joined = worker.join(head.invite())

    assert joined.address == "::1"
    assert str(joined.door) == f"[::1]:{head.port}"


def test_a_thousand_heartbeats_do_not_keep_a_join_waiting(head: Head, worker: Worker) -> None:
    """What blocks runs elsewhere: the loop answers while the register is locked by another."""
    with head.open() as running:
        string = head.invite()
        with head.register.changing():
            started = time.monotonic()
            assert ask(head, "/v1/challenge", {}).status == 200
            assert time.monotonic() - started < 5
        assert worker.join(string).name == "w1"
        assert running.door is not None

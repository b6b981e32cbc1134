"""A node that joined gets new leaves and the token over the real door; nobody else does."""

from __future__ import annotations

import base64
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.secrets import Secret
from secure_ray.gateway.nodes.members import list_members, revoke_member, serials
from secure_ray.gateway.nodes.renewal import Renewal
from secure_ray.network.served import served_chain
from secure_ray.node.door_client import context_for, node_context
from secure_ray.node.messages import MOST_BYTES
from secure_ray.pki.credentials import LeafWish, ensure_credentials
from secure_ray.pki.dress import read_worn
from secure_ray.pki.enrolment import keep_renewal, pending_key, renewal_request
from secure_ray.policy.admission import Rejection
from support.doors import CLUSTER_ID, CLUSTER_TOKEN, LOOPBACK, Answer, Head, Worker, call, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable


def ask(
    head: Head, worker: Worker, path: str, body: Any = b"", *, context: ssl.SSLContext | None = None
) -> Answer:
    method = "GET" if path == "/v1/token" else "POST"
    shown = context or node_context(worker.pki.leaf)
    return call(head.port, method, path, body, context=shown)


def renew(head: Head, worker: Worker, *, context: ssl.SSLContext | None = None) -> Answer:
    """Asks for a leaf, and does not keep it."""
    request, _ = renewal_request(worker.pki)
    return ask(head, worker, "/v1/renew", {"request": request.decode()}, context=context)


def keep(worker: Worker, answer: Answer) -> str:
    """Keeps the leaf that came; its serial number."""
    said = answer.said
    return keep_renewal(worker.pki, chain=said["chain"], roots=said["roots"], now=utc_now()).serial


def test_node_renews_with_a_new_key_and_the_same_names(head: Head, worker: Worker) -> None:
    with head.open():
        worker.join(head.invite())
        before, key = read_worn(worker.pki.leaf).shown.leaf, worker.pki.leaf.key.read_bytes()
        answer = renew(head, worker)
        serial = keep(worker, answer)
        after = read_worn(worker.pki.leaf).shown.leaf
        # The new one is let in at once, not when the register is read the next time.
        assert ask(head, worker, "/v1/token").status == 200

    assert answer.status == 200
    assert after.serial == serial != before.serial
    assert set(after.sans) == set(before.sans)
    assert worker.pki.leaf.key.read_bytes() != key


def test_leaf_is_for_the_address_and_name_that_the_node_joined_with(
    head: Head, worker: Worker
) -> None:
    with head.open():
        worker.join(head.invite())
        keep(worker, renew(head, worker))

    assert {"w1", LOOPBACK} <= set(read_worn(worker.pki.leaf).shown.leaf.sans)


def test_newest_leaves_and_the_shown_one_are_known(head: Head, worker: Worker) -> None:
    """A node that can keep nothing (a full disk) asks again and again, and stays known."""
    with head.open():
        worker.join(head.invite())
        shown = read_worn(worker.pki.leaf).shown.leaf.serial
        assert {renew(head, worker).status for _ in range(7)} == {200}
        with head.register.reading() as database:
            assert len(serials(database)) == 5
            assert shown in serials(database)
        last = keep(worker, renew(head, worker))
        assert renew(head, worker).status == 200
        with head.register.reading() as database:
            assert last in serials(database)
            assert shown not in serials(database)
            assert len(serials(database)) == 4


def test_older_leaves_than_those_are_of_a_stranger(
    head: Head, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_ray.gateway.nodes.presence._FRESH", 0.0)
    with head.open():
        worker.join(head.invite())
        oldest = node_context(worker.pki.leaf)
        for _ in range(5):
            keep(worker, renew(head, worker))
        answer = ask(head, worker, "/v1/token", context=oldest)

    assert (answer.status, answer.said["code"]) == (403, "SR-JOIN-022")


@pytest.mark.parametrize("path", ["/v1/renew", "/v1/token"])
@pytest.mark.parametrize("who", ["stranger", "head"])
def test_nobody_but_a_node_that_joined(head: Head, worker: Worker, path: str, who: str) -> None:
    with head.open():
        worker.join(head.invite())
        request, _ = renewal_request(worker.pki)
        context = (
            context_for(head.pki.leaf.authority.read_text())
            if who == "stranger"
            else node_context(head.pki.leaf)
        )
        answer = ask(head, worker, path, {"request": request.decode()}, context=context)

    assert (answer.status, answer.said["code"]) == (403, "SR-JOIN-022")
    assert CLUSTER_TOKEN not in str(answer)


@pytest.mark.parametrize("path", ["/v1/renew", "/v1/token"])
def test_node_that_was_revoked(
    head: Head, worker: Worker, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_ray.gateway.nodes.presence._FRESH", 0.0)
    with head.open():
        worker.join(head.invite())
        request, _ = renewal_request(worker.pki)
        with head.register.changing() as database:
            revoke_member(database, "w1", utc_now())
            known = len(serials(database))
        answer = ask(head, worker, path, {"request": request.decode()})
        with head.register.reading() as database:
            assert len(serials(database)) == known

    assert (answer.status, answer.said["code"]) == (403, "SR-JOIN-023")
    assert CLUSTER_TOKEN not in str(answer)


def test_node_that_was_revoked_since_it_was_let_in(head: Head, worker: Worker) -> None:
    """The list of nodes may be a second old; the register decides."""
    with head.open():
        worker.join(head.invite())
    with head.register.changing() as database:
        (member,) = list_members(database)
        revoke_member(database, "w1", utc_now())
    request, _ = renewal_request(worker.pki)

    outcome = Renewal(head.facts, head.register).issue(member, "", request.decode(), utc_now())

    assert isinstance(outcome, Rejection)
    assert outcome.code == "SR-JOIN-023"
    with head.register.reading() as database:
        assert len(serials(database)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        {},
        {"request": 1},
        {"request": ""},
        {"request": "hello"},
        {"request": "\u00e9" * 9},
        {"request": "x" * 8193},
        {"request": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"},
        {"request": "hello", "names": ["w9"]},
    ],
    ids=lambda body: str(body)[:24],
)
def test_bad_request_is_refused_and_changes_nothing(head: Head, worker: Worker, body: Any) -> None:
    with head.open():
        worker.join(head.invite())
        answer = ask(head, worker, "/v1/renew", body)
        with head.register.reading() as database:
            assert len(serials(database)) == 1

    assert (answer.status, answer.said["code"]) == (400, "SR-JOIN-021")
    assert not [line for line in head.records if "a bug" in line]


def test_request_that_its_key_did_not_sign(
    head: Head, worker: Worker, another: Callable[[str], Worker]
) -> None:
    """Nobody gets a leaf for a key that it does not hold."""
    request, _ = pending_key(another("w2").pki)
    lines = request.decode().strip().splitlines()
    content = bytearray(base64.b64decode("".join(lines[1:-1])))
    content[-1] ^= 1  # in the signature
    forged = "\n".join([lines[0], base64.b64encode(content).decode(), lines[-1]])
    with head.open():
        worker.join(head.invite())
        answer = ask(head, worker, "/v1/renew", {"request": forged})

    assert (answer.status, answer.said["code"]) == (400, "SR-JOIN-021")


def test_body_that_is_too_large(head: Head, worker: Worker) -> None:
    with head.open():
        worker.join(head.invite())
        assert ask(head, worker, "/v1/renew", b"x" * (MOST_BYTES + 1)).status == 413


def test_head_that_cannot_issue_says_so_and_no_more(head: Head, worker: Worker) -> None:
    with head.open():
        worker.join(head.invite())
        head.pki.authority.issuing_key.unlink()
        answer = renew(head, worker)
        with head.register.reading() as database:
            assert len(serials(database)) == 1

    assert answer.status == 503
    assert "SR-JOIN-025" in answer.said["cause"]
    assert str(head.directory) not in str(answer)


def test_token_is_for_nodes_and_is_never_logged(head: Head, worker: Worker) -> None:
    with head.open():
        worker.join(head.invite())
        answer = ask(head, worker, "/v1/token")
        keep(worker, renew(head, worker))

    assert answer.said == {"token": CLUSTER_TOKEN}
    lines = "\n".join(head.records)
    assert "node w1 has a new certificate" in lines
    assert CLUSTER_TOKEN not in lines
    assert "BEGIN" not in lines


def test_token_is_read_anew_each_time(head: Head, worker: Worker) -> None:
    tokens = iter(["1" * 64, "2" * 64])
    head.facts = replace(head.facts, token=lambda: Secret(next(tokens)))
    with head.open():
        # A join hands one over as well.
        head.facts = replace(head.facts, token=lambda: Secret(CLUSTER_TOKEN))
        worker.join(head.invite())
        assert ask(head, worker, "/v1/token").said == {"token": "2" * 64}


def test_token_that_cannot_be_read_is_no_bug(head: Head, worker: Worker) -> None:
    with head.open():
        worker.join(head.invite())

    def fail() -> Secret:
        raise FailedError("SR-FS-009", "gone", fix="-")

    head.facts = replace(head.facts, token=fail)
    with head.open():
        answer = ask(head, worker, "/v1/token")

    assert (answer.status, answer.said["code"]) == (503, "SR-JOIN-027")


def test_door_shows_the_heads_new_leaf_and_follows_its_trust(head: Head, worker: Worker) -> None:
    """The head's own leaf is renewed while the door is open; nobody restarts it."""
    with head.open():
        worker.join(head.invite())
        before = served_chain(LOOPBACK, head.port).chain[0]
        ensure_credentials(
            head.pki,
            cluster="default",
            cluster_id=CLUSTER_ID,
            sans=head.names,
            now=utc_now(),
            wish=LeafWish(fresh=True),
        )
        after = served_chain(LOOPBACK, head.port).chain[0]
        assert ask(head, worker, "/v1/token").status == 200
        head.pki.leaf.authority.chmod(0o666)  # what others can change is not used
        head.pki.leaf.certificate.touch()
        assert ask(head, worker, "/v1/token").status == 200

    assert before != after
    on_disk = head.pki.leaf.certificate.read_text().split("-----END CERTIFICATE-----")[0]
    assert after == ssl.PEM_cert_to_DER_cert(f"{on_disk}-----END CERTIFICATE-----\n")
    assert any("keeps its old certificate" in line for line in head.records)

"""A node joins over real TLS; and each way in which it fails is named and leaves nothing."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError, RejectedError, SecureRayError
from secure_ray.gateway.nodes.members import list_members, revoke_member
from secure_ray.gateway.nodes.tokens import revoke_token
from secure_ray.node import joining
from secure_ray.node.door_client import DoorClient, LostReplyError, node_context
from secure_ray.pki.join_string import Endpoint, JoinString, parse_join_string
from secure_ray.pki.trust import chain_with_root
from secure_ray.policy.rate_limit import Limits
from support.doors import CLUSTER_TOKEN, LOOPBACK, Head, Impostor, Worker

if TYPE_CHECKING:
    from pathlib import Path

KEY = {"pki/join.key"}


@pytest.fixture
def head(tmp_path: Path) -> Head:
    """A head whose door is still closed."""
    return Head(tmp_path / "head")


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "w1")


def rejected(worker: Worker, string: JoinString, code: str, **more: Any) -> SecureRayError:
    """The join fails with `code`, and leaves no more than the key."""
    with pytest.raises(SecureRayError) as caught:
        worker.join(string, **more)
    assert caught.value.code == code, caught.value
    assert worker.left() <= KEY
    assert string.secret.reveal() not in f"{caught.value.cause}{caught.value.fix}"
    return caught.value


def closed_port() -> Endpoint:
    with socket.create_server((LOOPBACK, 0)) as listener:
        return Endpoint(LOOPBACK, listener.getsockname()[1])


def test_a_node_joins(head: Head, worker: Worker) -> None:
    with head.open():
        joined = worker.join(parse_join_string(head.invite().text().reveal()))

    assert (joined.name, joined.address, joined.head) == ("w1", LOOPBACK, "10.0.0.5")
    assert joined.token.reveal() == CLUSTER_TOKEN
    assert CLUSTER_TOKEN not in repr(joined)
    assert set(joined.leaf.sans) == {LOOPBACK, "::1", "localhost", "w1"}
    assert worker.left() == {
        f"pki/node/g0001/{name}" for name in ("node.crt", "node.key", "ca.crt")
    }
    node_context(worker.pki.leaf)  # certificate and key are a pair


def test_the_secret_is_nowhere_on_the_head(head: Head, worker: Worker) -> None:
    with head.open():
        string = head.invite()
        worker.join(string)

    secret = bytes.fromhex(string.secret.reveal())
    for file in head.directory.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert secret not in content
            assert secret.hex().encode() not in content
    assert not any(CLUSTER_TOKEN in line for line in head.records)
    assert oct((head.directory / "nodes.db").stat().st_mode)[-3:] == "600"


def test_a_token_is_used_once(head: Head, worker: Worker, tmp_path: Path) -> None:
    with head.open():
        string = head.invite()
        worker.join(string)
        error = rejected(Worker(tmp_path / "w2", "w2"), string, "SR-JOIN-011")

    assert isinstance(error, RejectedError)
    assert "already used by node w1 (127.0.0.1)" in error.cause


def test_of_many_at_once_one_wins(head: Head, tmp_path: Path) -> None:
    def try_it(number: int) -> str:
        try:
            return Worker(tmp_path / f"w{number}", f"w{number}").join(string).name
        except RejectedError as error:
            return error.code

    with head.open(), ThreadPoolExecutor(8) as pool:
        string = head.invite()
        outcomes = sorted(pool.map(try_it, range(8)))

    assert outcomes[:7] == ["SR-JOIN-011"] * 7
    assert outcomes[7].startswith("w")


def test_a_token_with_uses_lets_that_many_in(head: Head, tmp_path: Path) -> None:
    with head.open():
        string = head.invite(uses=2)
        for name in ("w1", "w2"):
            assert Worker(tmp_path / name, name).join(string).name == name
            with head.register.changing() as database:  # the next one has its address
                database.execute("UPDATE nodes SET address = name")
        rejected(Worker(tmp_path / "w3", "w3"), string, "SR-JOIN-011")


def test_a_lost_reply_is_asked_for_again_by_the_next_run(
    head: Head, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_cut(*_: object) -> None:
        raise KeyboardInterrupt

    with head.open():
        string = head.invite()
        with monkeypatch.context() as patch:
            patch.setattr(joining._Attempt, "_keep", power_cut)
            with pytest.raises(KeyboardInterrupt):
                worker.join(string)
        assert worker.left() == KEY
        assert oct((worker.directory / "pki/join.key").stat().st_mode)[-3:] == "600"
    with head.open():  # the head was started again as well
        joined = worker.join(string)

    with head.register.reading() as database:
        (member,) = list_members(database)
        (serial,) = database.execute("SELECT serial FROM leaves").fetchone()
    assert (member.name, serial) == ("w1", joined.leaf.serial)


def test_a_reply_that_is_lost_on_the_way_is_asked_for_in_the_same_run(
    head: Head, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = DoorClient.ask
    lost: list[Any] = []

    async def lose_the_first(self: DoorClient, *arguments: Any) -> object:
        answer = await ask(self, *arguments)
        if arguments[1] == "/v1/join" and not lost:
            lost.append(answer)
            raise LostReplyError("SR-JOIN-034", "lost", fix="again")
        return answer

    monkeypatch.setattr(DoorClient, "ask", lose_the_first)
    with head.open():
        joined = worker.join(head.invite())

    assert joined.node == lost[0].node


def test_the_key_lets_a_node_with_a_lost_reply_join_with_a_new_token(
    head: Head, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with head.open():
        with monkeypatch.context() as patch:
            patch.setattr(joining._Attempt, "_keep", lambda *_: None)
            worker.join(head.invite())
        joined = worker.join(head.invite())

    with head.register.reading() as database:
        assert [member.name for member in list_members(database)] == [joined.name]


def test_an_expired_token(head: Head, worker: Worker) -> None:
    with head.open():
        string = head.invite(ttl=timedelta(minutes=1))
        head.clock.ahead = worker.clock.ahead = timedelta(minutes=13, seconds=30)
        error = rejected(worker, string, "SR-JOIN-010")

    assert "expired 12 min ago" in error.cause


def test_a_revoked_token(head: Head, worker: Worker) -> None:
    with head.open():
        string = head.invite()
        with head.register.changing() as database:
            assert revoke_token(database, string.id, head.clock())
        rejected(worker, string, "SR-JOIN-012")


@pytest.mark.parametrize("minutes", [7, -7])
def test_a_clock_that_is_off_is_shown_with_the_head_s(
    head: Head, worker: Worker, minutes: int
) -> None:
    # The head's leaf is older than its clock's error here, as it is on a head that runs.
    worker.clock.ahead = timedelta(minutes=max(0, minutes))
    head.clock.ahead = timedelta(minutes=max(0, -minutes))
    with head.open():
        error = rejected(worker, head.invite(), "SR-JOIN-016")

    assert f"7 min {'ahead of' if minutes > 0 else 'behind'}" in error.cause
    assert error.cause.count("UTC") == 2


def test_a_clock_before_the_head_s_certificate(head: Head, worker: Worker) -> None:
    worker.clock.ahead = timedelta(days=-1)
    with head.open():
        rejected(worker, head.invite(), "SR-JOIN-028")


def test_a_name_that_is_taken(head: Head, worker: Worker, tmp_path: Path) -> None:
    with head.open():
        worker.join(head.invite())
        error = rejected(Worker(tmp_path / "other", "w1"), head.invite(), "SR-JOIN-014")
        assert "127.0.0.1" in error.cause
        with head.register.changing() as database:
            revoke_member(database, "w1", head.clock())
        assert Worker(tmp_path / "other", "w1").join(head.invite()).name == "w1"


def test_a_name_that_the_token_is_not_for(head: Head, worker: Worker, tmp_path: Path) -> None:
    with head.open():
        string = head.invite(node="gpu-1")
        rejected(worker, string, "SR-JOIN-015")
        assert Worker(tmp_path / "gpu", "gpu-1").join(string).name == "gpu-1"


def test_another_ray(head: Head, worker: Worker) -> None:
    worker.versions["ray"] = "2.59.0"
    with head.open():
        error = rejected(worker, head.invite(), "SR-JOIN-017")

    assert "2.59.0" in error.cause
    assert "2.60.0" in error.cause


def test_a_rejected_join_spends_nothing(head: Head, worker: Worker) -> None:
    worker.versions["ray"] = "2.59.0"
    with head.open():
        string = head.invite()
        rejected(worker, string, "SR-JOIN-017")
        worker.versions["ray"] = "2.60.0"
        assert worker.join(string).name == "w1"


def test_a_token_of_another_cluster(head: Head, worker: Worker, tmp_path: Path) -> None:
    """The pin is this head's, as if somebody had put together a string."""
    other = Head(tmp_path / "other")
    with head.open(), other.open():
        theirs, ours = other.invite(), head.invite()
        mixed = JoinString(
            theirs.id, ours.cluster_id, ours.pins, theirs.secret, ours.expires, ours.heads
        )
        rejected(worker, mixed, "SR-JOIN-013")


def test_a_revoked_node_is_not_given_its_leaf_again(
    head: Head, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with head.open():
        string = head.invite()
        with monkeypatch.context() as patch:
            patch.setattr(joining._Attempt, "_keep", lambda *_: None)
            worker.join(string)
        with head.register.changing() as database:
            revoke_member(database, "w1", head.clock())
        rejected(worker, string, "SR-JOIN-023")


def test_waits_when_told_to_and_there_is_time(head: Head, worker: Worker) -> None:
    head.limits = Limits(burst=1, per_source=2.0)
    with head.open():
        assert worker.join(head.invite()).name == "w1"


def test_says_when_to_come_back_when_there_is_no_time(head: Head, worker: Worker) -> None:
    head.limits = Limits(burst=1, per_source=1 / 60)
    with head.open():
        string = head.invite()
        before = time.monotonic()
        error = rejected(worker, string, "SR-JOIN-018")

    assert "again in 60 s" in error.cause
    assert time.monotonic() - before < 30


# Somebody else at the head's address.


def test_a_foreign_ca_is_sent_nothing(head: Head, worker: Worker, tmp_path: Path) -> None:
    other = Head(tmp_path / "other")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(chain_with_root(other.pki.leaf))
    impostor = Impostor(chain, other.pki.leaf.key)
    with impostor.open() as endpoint:
        string = head.invite(heads=(endpoint,))
        error = rejected(worker, string, "SR-JOIN-030")

    assert isinstance(error, RejectedError)
    assert string.pins[0].hex()[:16] in error.cause
    assert impostor.received == b""


def test_our_root_without_a_leaf_of_it_is_sent_nothing(
    head: Head, worker: Worker, tmp_path: Path
) -> None:
    """The root's certificate is public: showing it proves nothing."""
    other = Head(tmp_path / "other")
    chain = tmp_path / "chain.pem"
    ours = head.pki.authority.root_certificate.read_bytes()
    chain.write_bytes(other.pki.leaf.certificate.read_bytes() + ours)
    impostor = Impostor(chain, other.pki.leaf.key)
    with impostor.open() as endpoint:
        error = rejected(worker, head.invite(heads=(endpoint,)), "SR-JOIN-033")

    assert "cannot prove" in error.cause
    assert impostor.received == b""


def test_another_node_of_the_cluster_is_not_the_head(worker: Worker, tmp_path: Path) -> None:
    """Its leaf is as good as the head's, but for another address."""
    node = Head(tmp_path / "node", names=("10.0.0.7", "w7"))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(chain_with_root(node.pki.leaf))
    impostor = Impostor(chain, node.pki.leaf.key)
    with impostor.open() as endpoint:
        string = node.invite(heads=(endpoint,))
        rejected(worker, string, "SR-JOIN-033")

    assert impostor.received == b""


def test_a_server_of_the_cluster_that_is_no_door(
    head: Head, worker: Worker, tmp_path: Path
) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(chain_with_root(head.pki.leaf))
    for answer in (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"SSH-2.0-x\r\n"):
        impostor = Impostor(chain, head.pki.leaf.key, answer=answer)
        with impostor.open() as endpoint:
            rejected(worker, head.invite(heads=(endpoint,)), "SR-JOIN-032")


def test_a_server_that_speaks_no_tls(head: Head, worker: Worker) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener, ThreadPoolExecutor(1) as pool:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-x\r\n")

        pool.submit(greet)
        string = head.invite(heads=(Endpoint(LOOPBACK, listener.getsockname()[1]),))
        rejected(worker, string, "SR-JOIN-032")


# Nobody at the head's address.


def test_nobody_there(head: Head, worker: Worker) -> None:
    endpoint = closed_port()
    error = rejected(worker, head.invite(heads=(endpoint,)), "SR-JOIN-031")

    assert isinstance(error, FailedError)
    assert f"{endpoint}: connection refused" in error.cause


def test_somebody_who_never_answers(
    head: Head, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "_LOOK_SECONDS", 0.3)
    with socket.create_server((LOOPBACK, 0)) as listener:
        string = head.invite(heads=(Endpoint(LOOPBACK, listener.getsockname()[1]),))
        error = rejected(worker, string, "SR-JOIN-031")

    assert "no answer in 0.3 s" in error.cause


def test_never_longer_than_the_limit(head: Head, worker: Worker) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        string = head.invite(heads=(Endpoint(LOOPBACK, listener.getsockname()[1]),))
        error = rejected(worker, string, "SR-JOIN-034", limit=0.3)

    assert "longer than 0.3 s" in error.cause


def test_addresses_are_tried_in_order(head: Head, worker: Worker, tmp_path: Path) -> None:
    other = Head(tmp_path / "other")  # such as a container network's address, which every host has
    with other.open(), head.open():
        heads = (
            closed_port(),
            Endpoint(LOOPBACK, other.port),
            Endpoint(LOOPBACK, head.port),
        )
        joined = worker.join(head.invite(heads=heads))

    assert joined.door == heads[2]


def test_what_was_found_tells_more_than_what_was_not(
    head: Head, worker: Worker, tmp_path: Path
) -> None:
    other = Head(tmp_path / "other")
    with other.open():
        heads = (closed_port(), Endpoint(LOOPBACK, other.port), closed_port())
        rejected(worker, head.invite(heads=heads), "SR-JOIN-030")


def test_all_that_do_not_answer_are_named(head: Head, worker: Worker) -> None:
    heads = (closed_port(), closed_port())
    error = rejected(worker, head.invite(heads=heads), "SR-JOIN-031")

    assert all(str(one) in error.cause for one in heads)


def test_a_proxy_in_the_environment_is_not_asked(
    head: Head, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{closed_port()}")
    with head.open():
        assert worker.join(head.invite()).name == "w1"

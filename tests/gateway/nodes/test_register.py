"""The register: private, all or nothing, and honest when it is damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError, UsageError
from secure_ray.gateway.nodes.members import (
    add_leaf,
    add_member,
    find_member,
    give_orders,
    holder_of,
    list_members,
    revoke_member,
    serials,
)
from secure_ray.gateway.nodes.register import Register, find_register, open_register
from secure_ray.gateway.nodes.tokens import (
    Spending,
    TokenOrder,
    find_spending,
    find_token,
    list_tokens,
    make_token,
    revoke_token,
    spend,
)
from secure_ray.pki.join_string import Endpoint

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.pki.join_string import JoinString

NOW = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
ORDER = TokenOrder(ttl=timedelta(minutes=30), uses=1, node="", maker="alice")
GIVEN = Spending("id1", "w1", "10.0.0.7", "chain", "roots")


@pytest.fixture
def register(tmp_path: Path) -> Register:
    tmp_path.chmod(0o700)
    return open_register(tmp_path)


def make(database: sqlite3.Connection, now: datetime = NOW) -> JoinString:
    return make_token(
        database,
        ORDER,
        cluster_id="c1d2e3f4a5b60718",
        pins=(bytes(32),),
        heads=(Endpoint("10.0.0.5", 1),),
        now=now,
    )


def add(database: sqlite3.Connection, id_: str = "id1", name: str = "w1") -> None:
    add_member(database, id_=id_, name=name, address="10.0.0.7", key=b"k", now=NOW)


def test_it_is_private(register: Register, tmp_path: Path) -> None:
    assert isinstance(register, Register)
    assert oct((tmp_path / "nodes.db").stat().st_mode)[-3:] == "600"


def test_there_is_none_before_it_is_made(tmp_path: Path) -> None:
    assert find_register(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o644, 0o660])
def test_one_that_others_can_open_is_refused(register: Register, tmp_path: Path, mode: int) -> None:
    (tmp_path / "nodes.db").chmod(mode)

    with pytest.raises(FailedError, match="SR-FILE-002"), register.reading():
        pass
    with pytest.raises(FailedError, match="SR-FILE-002"):
        open_register(tmp_path)


def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nodes.db").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FailedError, match="SR-FILE-001"):
        open_register(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_damaged_one_is_named(register: Register, tmp_path: Path) -> None:
    (tmp_path / "nodes.db").write_bytes(b"x" * 5000)

    with pytest.raises(FailedError, match="SR-JOIN-026"), register.reading() as database:
        list_tokens(database)


def test_one_of_another_version_is_left_alone(register: Register, tmp_path: Path) -> None:
    with register.changing() as database:
        database.execute("PRAGMA user_version = 9")

    with pytest.raises(FailedError, match="version 9"):
        open_register(tmp_path)


def test_a_change_that_fails_changes_nothing(register: Register) -> None:
    def change_and_fail() -> None:
        with register.changing() as database:
            make(database)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_and_fail()
    with register.reading() as database:
        assert list_tokens(database) == ()


def test_reading_does_not_wait_for_a_change_and_sees_nothing_of_it(register: Register) -> None:
    with register.changing() as database:
        make(database)
        with register.reading() as other:
            assert list_tokens(other) == ()
    with register.reading() as other:
        assert len(list_tokens(other)) == 1


def test_two_changes_do_not_overlap(register: Register, tmp_path: Path) -> None:
    """From its start, not from its first write: what it reads must still hold when it writes."""
    with (
        closing(sqlite3.connect(tmp_path / "nodes.db", timeout=0)) as other,
        register.changing(),
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("BEGIN IMMEDIATE")


def test_of_a_token_only_a_public_key_is_kept(register: Register, tmp_path: Path) -> None:
    with register.changing() as database:
        string = make(database)
        record = find_token(database, string.id)

    assert record is not None
    assert record.state.expires == string.expires == NOW + timedelta(minutes=30)
    content = (tmp_path / "nodes.db").read_bytes()
    assert bytes.fromhex(string.secret.reveal()) not in content
    assert string.secret.reveal().encode() not in content
    assert record.public_key in content


def test_a_token_is_spent_by_a_key(register: Register) -> None:
    with register.changing() as database:
        string = make(database)
        spend(database, string.id, b"key", GIVEN, NOW) if _with_node(database) else None
    with register.reading() as database:
        record = find_token(database, string.id)
        assert record is not None
        assert record.state.spent_by == (("w1", "10.0.0.7"),)
        assert find_spending(database, string.id, b"key") == GIVEN
        assert find_spending(database, string.id, b"other") is None


def _with_node(database: sqlite3.Connection) -> bool:
    add(database)
    return True


def test_revoking_a_token_keeps_the_first_time(register: Register) -> None:
    with register.changing() as database:
        token = make(database).id
        assert revoke_token(database, token, NOW)
        assert revoke_token(database, token, NOW + timedelta(hours=1))
        assert not revoke_token(database, "zzzzzzzz", NOW)
        record = find_token(database, token)

    assert record is not None
    assert record.state.revoked == NOW


def test_old_tokens_are_forgotten_when_a_new_one_is_made(register: Register) -> None:
    with register.changing() as database:
        old = make(database).id
        make(database, NOW + timedelta(days=7))
        assert find_token(database, old) is not None
        make(database, NOW + timedelta(days=7, minutes=31))
        assert find_token(database, old) is None


@pytest.mark.parametrize(
    "change",
    [
        {"ttl": timedelta(0)},
        {"ttl": timedelta(hours=24, seconds=1)},
        {"uses": 0},
        {"uses": 1001},
        {"node": "W 1"},
        {"node": "w1", "uses": 2},
    ],
    ids=str,
)
def test_tokens_out_of_bounds_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="SR-JOIN-041"):
        replace(ORDER, **change)  # type: ignore[arg-type]


def test_a_name_is_one_node_s_until_it_is_revoked(register: Register) -> None:
    with register.changing() as database:
        add(database)
        assert holder_of(database, "w1") == ("id1", "10.0.0.7", b"k")
        with pytest.raises(sqlite3.IntegrityError):
            add(database, "id2")
        revoked = revoke_member(database, "w1", NOW)
        assert revoke_member(database, "w1", NOW) is None
        add(database, "id2")
        listed = list_members(database)

    assert revoked is not None
    assert [(member.id, member.revoked) for member in listed] == [("id1", NOW), ("id2", None)]


def test_a_node_s_leaves_and_orders(register: Register) -> None:
    with register.changing() as database:
        add(database)
        add_leaf(database, serial="aa", node="id1", expires=NOW)
        add_leaf(database, serial="bb", node="id1", expires=NOW + timedelta(days=1))
        give_orders(database, "id1", ["drain"])
        member = find_member(database, "id1")
        assert serials(database) == {"aa": "id1", "bb": "id1"}

    assert member is not None
    assert member.orders == ("drain",)
    assert member.certificate_expires == NOW + timedelta(days=1)


def test_it_is_not_kept_open(register: Register, tmp_path: Path) -> None:
    with register.changing():
        pass
    with closing(sqlite3.connect(tmp_path / "nodes.db", timeout=0)) as other:
        other.execute("BEGIN EXCLUSIVE")

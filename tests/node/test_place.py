"""A node's place, and how an address is written with a port."""

from __future__ import annotations

import socket

import pytest

from secure_ray.node.place import (
    DRAIN,
    HALT,
    HOLD,
    LOCAL,
    Place,
    head_at,
    is_held_back,
    is_of_rotation,
    renew_order,
)
from secure_ray.policy.addresses import host_port


@pytest.mark.parametrize(
    ("place", "head", "private"),
    [
        (LOCAL, True, False),
        (head_at("10.77.0.1"), True, True),
        (head_at("fd00::1"), True, True),
        (Place("w1", "10.77.0.2", "10.77.0.1"), False, True),
    ],
    ids=str,
)
def test_head_or_worker_local_or_private(place: Place, *, head: bool, private: bool) -> None:
    assert (place.is_head, place.is_private) == (head, private)


def test_head_of_a_head_is_itself() -> None:
    assert head_at("10.77.0.1") == Place("head", "10.77.0.1", "10.77.0.1")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", "127.0.0.1:6379"),
        ("10.77.0.1", "10.77.0.1:6379"),
        ("fd00::1", "[fd00::1]:6379"),
        ("::1", "[::1]:6379"),
        ("fe80::1%eth0", "[fe80::1%eth0]:6379"),
    ],
)
def test_address_of_either_version_with_a_port(address: str, expected: str) -> None:
    assert host_port(address, 6379) == expected


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_what_is_written_leads_back(address: str) -> None:
    host, _, port = host_port(address, 6379).rpartition(":")
    ((*_, sockaddr),) = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)

    assert sockaddr[:2] == (address, 6379)


@pytest.mark.parametrize(
    ("place", "words", "told"),
    [
        (LOCAL, "up --head", "127.0.0.1"),
        (head_at("10.77.0.1"), "up --head --bind 10.77.0.1", "head at 10.77.0.1"),
        (
            Place("w1", "10.77.0.2", "10.77.0.1"),
            "up",
            "worker w1 at 10.77.0.2, of the head at 10.77.0.1",
        ),
    ],
    ids=["local", "head", "worker"],
)
def test_place_in_words(place: Place, words: str, told: str) -> None:
    assert (place.start, str(place)) == (words, told)


@pytest.mark.parametrize(
    ("orders", "held"),
    [
        ((), False),
        ((renew_order("ab"),), False),
        (("something newer",), False),
        ((DRAIN,), True),
        ((HOLD,), True),
        ((HALT,), True),
        ((renew_order("ab"), HOLD), True),
    ],
    ids=str,
)
def test_orders_that_hold_a_node_back(orders: tuple[str, ...], *, held: bool) -> None:
    assert is_held_back(orders) == held
    assert is_held_back(iter(orders)) == held


@pytest.mark.parametrize(
    ("order", "ours"),
    [(HOLD, True), (HALT, True), (renew_order("ab"), True), (DRAIN, False), ("renewal", False)],
)
def test_orders_of_a_rotation_are_told_from_those_of_a_person(order: str, *, ours: bool) -> None:
    assert is_of_rotation(order) == ours


def test_order_to_renew_is_for_one_leaf() -> None:
    assert renew_order("ab") != renew_order("ac")

"""Listening sockets that count what they accept."""

from __future__ import annotations

import socket

import pytest

from secure_ray.network.bounded import BoundedSocket, Bounds, listen

HERE = "127.0.0.1"


def connect(listener: BoundedSocket, source: str) -> socket.socket:
    return socket.create_connection(listener.getsockname(), source_address=(source, 0), timeout=5)


def test_source_and_total_are_bounded_and_a_closed_one_counts_no_more() -> None:
    bounds = Bounds(total=3, source=2, strangers=3, know=lambda _: True)
    with listen(HERE, 0, bounds) as listener:
        clients = [connect(listener, "127.0.0.1") for _ in range(3)]
        first, _ = listener.accept()
        second, _ = listener.accept()
        with pytest.raises(ConnectionAbortedError):
            listener.accept()
        assert clients[2].recv(1) == b""  # closed at once

        clients += [connect(listener, f"127.0.0.{last}") for last in (2, 3)]
        third, _ = listener.accept()
        with pytest.raises(ConnectionAbortedError):
            listener.accept()

        first.close()
        first.close()
        assert bounds.open == {
            ("all", ""): 2,
            ("source", "127.0.0.1"): 1,
            ("source", "127.0.0.2"): 1,
        }
        clients.append(connect(listener, "127.0.0.1"))
        fourth, _ = listener.accept()
        for one in (second, third, fourth, *clients):
            one.close()
        assert not bounds.open
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_strangers_leave_room_for_those_who_are_known() -> None:
    bounds = Bounds(total=8, source=2, strangers=6, know=lambda address: address == "10.0.0.1")
    strangers = [bounds.admit(f"10.0.1.{last}") for last in range(8)]

    assert sum(counted is not None for counted in strangers) == 6
    assert bounds.admit("10.0.0.1") is not None


def test_one_network_of_ipv6_leaves_room_for_others() -> None:
    """Each of its hosts can have any number of addresses, and each of these is a source."""
    bounds = Bounds(total=8, source=2, strangers=6, near="fd00::5", know=lambda a: a == "fd00::1")
    neighbours = [bounds.admit(f"fd00::9:{last}") for last in range(8)]

    assert sum(counted is not None for counted in neighbours) == 3
    assert bounds.admit("fd00:0:0:1::1") is not None
    assert bounds.admit("fd00::1") is not None


def test_a_source_is_well_below_the_total() -> None:
    bounds = Bounds.by_descriptors()

    assert bounds.source * 2 <= bounds.total <= 4096


def test_port_in_use_is_said() -> None:
    with listen(HERE, 0) as first, pytest.raises(OSError, match="in use"):
        listen(HERE, first.getsockname()[1])

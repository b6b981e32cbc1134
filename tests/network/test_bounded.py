"""Listening sockets that count what they accept."""

from __future__ import annotations

import socket

import pytest

from secure_ray.network.bounded import BoundedSocket, Bounds, listen

HERE = "127.0.0.1"


def connect(listener: BoundedSocket, source: str) -> socket.socket:
    return socket.create_connection(listener.getsockname(), source_address=(source, 0), timeout=5)


def test_source_and_total_are_bounded_and_a_closed_one_counts_no_more() -> None:
    bounds = Bounds(total=3, source=2)
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
        assert bounds.open == {"127.0.0.1": 1, "127.0.0.2": 1}
        clients.append(connect(listener, "127.0.0.1"))
        fourth, _ = listener.accept()
        for one in (second, third, fourth, *clients):
            one.close()
        assert not bounds.open
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_source_is_well_below_the_total() -> None:
    bounds = Bounds.by_descriptors()

    assert bounds.source * 2 <= bounds.total <= 4096


def test_port_in_use_is_said() -> None:
    with listen(HERE, 0) as first, pytest.raises(OSError, match="in use"):
        listen(HERE, first.getsockname()[1])

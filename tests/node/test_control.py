"""The supervisor's socket: who may speak, and what a dead or confused one is."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest

from secure_ray.base.errors import IncompleteError
from secure_ray.node.control import is_same_user, request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def supervisor(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """Takes one request, gives `answer`, closes."""
    asked: list[bytes] = []

    def serve() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            asked.append(lines.readline())
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            thread.join()


def test_each_line_of_the_answer_comes_as_it_is_told(home: Path) -> None:
    path = home / "control.sock"
    lines = [{"phase": "stopping", "done": False}, {"phase": "stopped", "done": True}]
    answer = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    with supervisor(path, answer) as asked:
        assert list(request(path, {"do": "stop"}, timeout=10)) == lines

    assert asked == [b'{"do": "stop"}\n']


@pytest.mark.parametrize(
    "answer",
    [b"garbage\n", b"\xff\xfe\n", b'{"phase": "stop'],
    ids=["garbage", "no text", "half"],
)
def test_garbage_is_no_answer(home: Path, answer: bytes) -> None:
    path = home / "control.sock"

    with supervisor(path, answer), pytest.raises(IncompleteError) as caught:
        list(request(path, {"do": "status"}, timeout=10))

    assert caught.value.code == "SR-STATE-005"


def test_endless_line_is_cut(home: Path) -> None:
    path = home / "control.sock"
    answer = b'"' + b"x" * (1 << 20) + b'"\n'

    with supervisor(path, answer), pytest.raises(IncompleteError):
        list(request(path, {"do": "status"}, timeout=10))


@pytest.mark.parametrize("left", ["nothing", "a dead socket", "a file"])
def test_supervisor_that_is_gone_is_told(home: Path, left: str) -> None:
    path = home / "control.sock"
    if left == "a dead socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif left == "a file":
        path.touch()

    with pytest.raises(IncompleteError) as caught:
        list(request(path, {"do": "stop"}, timeout=10))

    assert caught.value.code == "SR-STATE-005"
    assert str(path) in caught.value.cause


def test_supervisor_that_is_stuck_is_told(home: Path) -> None:
    path = home / "control.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(IncompleteError):
            list(request(path, {"do": "stop"}, timeout=0.05))


class Connection:
    """A connection from a process of user `uid`."""

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def getsockopt(self, _level: int, option: int, size: int) -> bytes:
        assert option == socket.SO_PEERCRED
        return struct.pack("3i", 1, self._uid, 0)[:size]


@pytest.mark.skipif(sys.platform != "linux", reason="SO_PEERCRED is Linux")
@pytest.mark.parametrize(
    ("uid", "same"), [(0, True), (1000, True), (1001, False), (65534, False), (-1, False)]
)
def test_only_the_same_user_and_root_may_speak(
    monkeypatch: pytest.MonkeyPatch, uid: int, *, same: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert is_same_user(cast("socket.socket", Connection(uid))) == same


def test_kernel_says_that_we_are_ourselves() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert is_same_user(ours)

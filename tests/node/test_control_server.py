"""Who is answered on the supervisor's socket, and what is left when it is closed."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from secure_ray.node import control_server as module
from secure_ray.node.control_server import ControlServer, Standing, Wishes
from secure_ray.node.instance import Phase

if TYPE_CHECKING:
    from pathlib import Path

RUNNING = {"phase": "running", "reason": "all is well", "done": False}


async def ask(path: Path, *, what: str) -> tuple[dict[str, object] | None, bool]:
    """The answer to a wish, and whether it set a stop in motion."""
    wishes = Wishes()
    server = ControlServer(lambda: Standing(Phase.RUNNING, "all is well"), wishes)
    async with server.serving(path):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(json.dumps({"do": what}).encode() + b"\n")
        try:
            line = await reader.readline()
        except ConnectionResetError:  # closed with our wish unread
            line = b""
        writer.close()
    return json.loads(line or "null"), wishes.stop.is_set()


@pytest.mark.parametrize("what", ["status", "stop"])
def test_same_user_is_answered(home: Path, what: str) -> None:
    assert asyncio.run(ask(home / "s", what=what)) == (RUNNING, what == "stop")


@pytest.mark.parametrize("what", ["status", "stop"])
def test_another_user_gets_no_answer_and_stops_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(module, "is_same_user", lambda _: False)

    assert asyncio.run(ask(home / "s", what=what)) == (None, False)


def test_leftover_socket_is_replaced_and_none_is_left(home: Path) -> None:
    (home / "s").touch()

    assert asyncio.run(ask(home / "s", what="status"))[0] == RUNNING

    assert not (home / "s").exists()


@pytest.mark.parametrize(
    ("phase", "life", "settled"),
    [
        (Phase.RUNNING, 1, False),
        (Phase.STOPPING, 1, False),
        (Phase.STARTING, 2, False),
        (Phase.PROVING, 2, False),
        (Phase.RUNNING, 2, True),
        (Phase.DEGRADED, 2, True),
        (Phase.WAITING, 1, True),
        (Phase.FAILED, 2, True),
        (Phase.STOPPED, 1, True),
    ],
)
def test_restart_is_over_when_another_life_runs_or_none_comes(
    phase: Phase, life: int, *, settled: bool
) -> None:
    assert Standing(phase, "", life).is_settled_after(1) is settled


@pytest.mark.parametrize("what", ["restart", "finish"])
def test_another_user_changes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(module, "is_same_user", lambda _: False)

    assert asyncio.run(ask(home / "s", what=what))[0] is None

"""What a restart says, and what it waits for; the supervisor's side is in test_supervisor."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError, IncompleteError
from secure_ray.base.locks import lock
from secure_ray.node.instance import write_instance
from secure_ray.node.restarting import restart
from support.plans import instance_of, make_directories, plan_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan


def line(phase: str, *, done: bool = False) -> dict[str, Any]:
    return {"phase": phase, "reason": f"why {phase}", "done": done}


@contextmanager
def answering(plan: LaunchPlan, *lines: dict[str, Any]) -> Iterator[list[bytes]]:
    """A supervisor that answers with `lines`; what it was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server, lock(plan.paths.supervisor_lock, wait=1):
        server.bind(str(plan.run.control))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as stream:
                asked.append(stream.readline())
                for entry in lines:
                    stream.write(json.dumps(entry).encode() + b"\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield asked
        thread.join()


@pytest.fixture
def plan(home: Path) -> LaunchPlan:
    plan = make_directories(plan_of(home))
    write_instance(instance_of(plan))
    return plan


def test_restart_follows_the_phases_to_the_proof(plan: LaunchPlan) -> None:
    events: list[dict[str, Any]] = []
    lines = [line(phase) for phase in ("running", "stopping", "starting", "proving")]

    with answering(plan, *lines, line("running", done=True)) as asked:
        instance = restart(plan.paths, events.append)

    assert asked == [b'{"do": "restart"}\n']
    assert instance.plan == plan
    assert events == [
        {"event": name, "reason": f"why {name}"}
        for name in ("running", "stopping", "starting", "proving", "running")
    ]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((line("stopping"), line("failed", done=True)), "is failed: why failed"),
        ((line("waiting", done=True),), "is waiting: why waiting"),
        ((), "is gone: the supervisor ended without a word"),
        # It was killed before it came to that.
        ((line("running"),), "is running: why running"),
    ],
    ids=["failed", "waiting", "silent", "killed"],
)
def test_ray_that_does_not_come_back_is_told(
    plan: LaunchPlan, lines: tuple[dict[str, Any], ...], told: str
) -> None:
    with answering(plan, *lines), pytest.raises(IncompleteError) as caught:
        restart(plan.paths)

    assert caught.value.code == "SR-STATE-012"
    assert told in caught.value.cause
    assert "secure-ray up --head" in caught.value.fix


def test_node_that_does_not_run_is_not_restarted(plan: LaunchPlan) -> None:
    with pytest.raises(FailedError) as caught:
        restart(plan.paths)

    assert caught.value.code == "SR-STATE-004"

"""Starting the supervisor: what it is given, and what its words become."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from secure_ray.base.errors import (
    FailedError,
    IncompleteError,
    InconclusiveError,
    RejectedError,
    SecureRayError,
    UsageError,
)
from secure_ray.node import bring_up as module
from secure_ray.node.bring_up import bring_up
from secure_ray.node.plan import LaunchPlan
from secure_ray.node.prepare import Prepared
from support.plans import EXPIRES, SOURCE, make_directories, plan_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Up = Callable[..., list[dict[str, Any]]]

# A supervisor that says what it was given, then what the test wants.
SUPERVISOR = """
import json, os, signal, sys
order = json.loads(sys.stdin.readline())
given = {"argv": sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ),
         "leads": os.getsid(0) == os.getpid(), "order": order, "pid": os.getpid()}
os.fstat(int(sys.argv[-1]))
print(json.dumps({"event": "given", **given}), flush=True)
"""
RUNNING = SUPERVISOR + 'print(\'{"event": "running"}\', flush=True); signal.pause()'
BECOME = """
import json, os, socket, sys
from secure_ray.node import bring_up
from secure_ray.node.plan import LaunchPlan
from secure_ray.node.prepare import Prepared
plan = LaunchPlan.from_json(sys.stdin.read())
reservation = socket.socket()
script = "import os, sys; order = sys.stdin.readline(); " \\
    "os.fstat(int(sys.argv[1])); print(len(order), os.getcwd(), sys.argv[2])"
bring_up._command = lambda prepared: [
    sys.executable, "-S", "-c", script, str(prepared.reservation.fileno())]
bring_up.become_supervisor(
    Prepared(plan, reservation, (), (), "2027"), os.open(os.devnull, os.O_RDONLY)
)
"""


@pytest.fixture
def plan(home: Path) -> LaunchPlan:
    caller = {"HOME": "/home/u", "LANG": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "0"}
    return make_directories(plan_of(home, caller=caller))


@pytest.fixture
def up(plan: LaunchPlan, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """`bring_up` with a script in the place of the supervisor; its events."""
    pids: list[int] = []

    def up(script: str, on_event: Callable[[dict[str, Any]], None] | None = None) -> Any:
        def command(prepared: Prepared) -> list[str]:
            reservation = str(prepared.reservation.fileno())
            return [sys.executable, "-S", "-c", script, "--reservation", reservation]

        events: list[dict[str, Any]] = []

        def take(event: dict[str, Any]) -> None:
            events.append(event)
            pids.extend([event["pid"]] if "pid" in event else [])
            if on_event is not None:
                on_event(event)

        monkeypatch.setattr(module, "_command", command)
        reservation = socket.socket()
        bring_up(Prepared(plan, reservation, (), (), EXPIRES), take)
        assert reservation.fileno() == -1
        return events

    yield up
    for pid in pids:
        if psutil.pid_exists(pid):
            psutil.Process(pid).kill()
            psutil.Process(pid).wait()


def test_supervisor_gets_the_order_and_little_else(
    up: Up, plan: LaunchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")

    given, running = up(RUNNING)

    assert running == {"event": "running"}
    environment = given["environment"]
    environment.pop("LC_CTYPE", None)  # Python's own, PEP 538
    assert environment == {
        "HOME": "/home/u",
        "LANG": "C.UTF-8",
        "PATH": plan.environment["PATH"],
        "SECURE_RAY_INSTANCE": plan.cluster_id,
        "TMPDIR": str(plan.run.temporary),
    }
    assert given["cwd"] == str(plan.paths.directory)
    assert given["leads"]
    assert given["argv"][0] == "--reservation"
    order = given["order"]
    assert LaunchPlan.from_json(order.pop("plan")) == plan
    assert order == {"expires": EXPIRES, "parent": os.getpid()}


def test_supervisor_is_the_one_of_the_command_line(plan: LaunchPlan) -> None:
    with socket.socket() as reservation:
        command = module._command(Prepared(plan, reservation, (), (), EXPIRES))

        assert command == [
            sys.executable,
            "-m",
            "secure_ray.cli.supervise",
            "--reservation",
            str(reservation.fileno()),
        ]


def says(event: dict[str, Any], *, code: int) -> str:
    return SUPERVISOR + f"print({json.dumps(json.dumps(event))}, flush=True); sys.exit({code})"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, SecureRayError),
        (2, UsageError),
        (4, FailedError),
        (5, IncompleteError),
        (6, InconclusiveError),
        (7, RejectedError),
    ],
)
def test_error_of_the_supervisor_is_raised_as_it_was(
    up: Up, code: int, kind: type[SecureRayError]
) -> None:
    error = {"event": "error", "code": "SR-X-001", "cause": "c", "fix": "f", "exit_code": code}

    with pytest.raises(SecureRayError) as caught:
        up(says(error, code=code))

    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.cause, caught.value.fix) == ("SR-X-001", "c", "f")
    assert caught.value.exit_code == code


@pytest.mark.parametrize(
    "script",
    [SUPERVISOR + "sys.exit(7)", "import sys; sys.exit(7)", "import os; os.close(0); os._exit(7)"],
    ids=["after the order", "before it", "without taking it"],
)
def test_supervisor_that_ends_without_a_word_is_told(up: Up, script: str) -> None:
    with pytest.raises(FailedError) as caught:
        up(script)

    assert caught.value.code == "SR-STATE-007"
    assert "exit code 7" in caught.value.cause


def test_start_that_somebody_else_stopped_is_told_as_that(up: Up) -> None:
    stopped = {"event": "stopped", "reason": "asked to stop"}

    with pytest.raises(FailedError, match="SR-STATE-013: the start was stopped by somebody else"):
        up(says(stopped, code=0))


def test_interrupted_start_ends_the_supervisor(up: Up) -> None:
    pids: list[int] = []

    def interrupt(event: dict[str, Any]) -> None:
        pids.append(event["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        up(RUNNING, interrupt)

    assert not psutil.pid_exists(pids[0])


@pytest.mark.parametrize("size", [1, 1 << 20], ids=["small", "larger than a pipe"])
def test_process_becomes_the_supervisor(home: Path, size: int) -> None:
    plan = make_directories(plan_of(home, variables={"X": "x" * size}))

    done = subprocess.run(
        [sys.executable, "-c", BECOME],
        input=plan.to_json(),
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    length, directory, option = done.stdout.split()
    assert int(length) > size
    assert directory == str(plan.paths.directory)
    assert option == "--foreground"


def test_worker_that_waits_to_be_wanted_is_let_go(up: Up) -> None:
    waits = RUNNING.replace("running", "waiting")

    assert up(waits)[-1] == {"event": "waiting"}

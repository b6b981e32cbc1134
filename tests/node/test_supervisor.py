"""The supervisor from start to end, with a script in the place of `ray start`.

It runs in a process of its own: it takes signals, adopts orphans and stops all its descendants.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from secure_ray.base.processes import marked
from secure_ray.node.control import request
from secure_ray.node.environment import INSTANCE_VARIABLE
from secure_ray.node.instance import Instance, Phase, read_instance
from support.plans import READY, SOURCE, WAITS, make_directories, plan_of, with_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan

SUPERVISE = """
import asyncio, json, logging, sys
from secure_ray.base.clock import utc_now
from secure_ray.base.errors import SecureRayError
from secure_ray.node import start_ray, supervisor
from secure_ray.node.plan import LaunchPlan

supervisor._WATCH_SECONDS = supervisor._LOCK_WAIT = 0.05
supervisor._LAST_WORDS_SECONDS = 0.2
proof, parent, plan = sys.argv[1], int(sys.argv[2]), LaunchPlan.from_json(sys.stdin.read())

def prove(instance):
    if proof == "raises":
        raise KeyError("a secret")
    return supervisor.Proven(ok=proof == "passes", reason="the reason")

def emit(event):
    print(json.dumps(event), flush=True)

logging.basicConfig(filename=plan.paths.log, level=logging.DEBUG)
try:
    asyncio.run(supervisor.Supervisor(
        plan, prove=prove, emit=emit, log=logging.getLogger("test"), clock=utc_now,
        certificate_expires="2027-02-20T12:00:00+00:00", parent=parent,
    ).run())
except SecureRayError as error:
    emit({"event": "error", "code": error.code, "reason": error.cause})
    sys.exit(error.exit_code)
"""
CHILD = (
    "import subprocess, sys; child = subprocess.Popen("
    "[sys.executable, '-S', '-c', 'import signal; signal.pause()'], start_new_session=True);"
)


@dataclass
class Supervised:
    """A supervisor that runs, and what it says."""

    plan: LaunchPlan
    process: subprocess.Popen[str]

    def event(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"event": "end"}
        return found

    def until(self, name: str) -> dict[str, Any]:
        seen: list[dict[str, Any]] = []
        while (event := self.event())["event"] != name:
            assert event["event"] != "end", seen
            seen.append(event)
        return event

    def rest(self) -> list[dict[str, Any]]:
        """The events up to the end; the process is waited for."""
        events = list(iter(self.event, {"event": "end"}))
        self.process.wait(30)
        return events

    def terminate(self) -> list[dict[str, Any]]:
        self.process.terminate()
        return self.rest()

    def record(self) -> Instance:
        instance = read_instance(self.plan.paths)
        assert instance is not None
        return instance

    def processes(self) -> list[psutil.Process]:
        return marked(INSTANCE_VARIABLE, self.plan.cluster_id)


Start = Callable[..., Supervised]


@pytest.fixture
def plan(home: Path) -> LaunchPlan:
    plan = make_directories(plan_of(home, cluster_id=secrets.token_hex(8)))
    return with_command(plan, f"{READY}; {WAITS}")


@pytest.fixture
def start(plan: LaunchPlan) -> Iterator[Start]:
    """Starts a supervisor of `plan`, with a script in the place of Ray."""
    with ExitStack() as stack:

        def start(
            script: str = f"{READY}; {WAITS}",
            *,
            proof: str = "passes",
            parent: int = 0,
            **changes: Any,
        ) -> Supervised:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", SUPERVISE, proof, str(parent)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={"PYTHONPATH": str(SOURCE)},
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdin is not None
            process.stdin.write(replace(with_command(plan, script), **changes).to_json())
            process.stdin.close()
            return Supervised(plan, process)

        yield start
        for left in marked(INSTANCE_VARIABLE, plan.cluster_id):
            left.kill()


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


def test_from_start_to_sigterm(start: Start) -> None:
    supervised = start()

    assert [supervised.event() for _ in range(3)] == [
        {"event": "starting", "reason": ""},
        {"event": "proving", "reason": ""},
        {"event": "running", "reason": "the reason"},
    ]
    record = supervised.record()
    assert (record.phase, record.reason) == (Phase.RUNNING, "the reason")
    assert record.supervisor.pid == supervised.process.pid
    assert record.ray is not None
    assert [process.pid for process in supervised.processes()] == [record.ray.pid]
    control = supervised.plan.run.control
    assert stat.S_IMODE(control.stat().st_mode) & 0o077 == 0

    assert names(supervised.terminate()) == ["stopping", "stopped"]

    assert supervised.process.returncode == 0
    assert supervised.record().phase is Phase.STOPPED
    assert supervised.processes() == []
    assert not control.exists()


def test_socket_answers_status_and_stop_and_survives_garbage(start: Start) -> None:
    supervised = start()
    supervised.until("running")
    control = supervised.plan.run.control

    for garbage in (b"", b"garbage\n", b"[]\n", b"\xff\n", b'{"do": ["stop"]}\n', b"x" * 100_000):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(control))
            connection.sendall(garbage)
    running = {"phase": "running", "reason": "the reason", "done": False}
    assert list(request(control, {"do": "status"}, timeout=30)) == [running]

    told = list(request(control, {"do": "stop"}, timeout=30))

    assert [line["phase"] for line in told] == ["running", "stopping", "stopped"]
    assert [line["done"] for line in told] == [False, False, True]
    assert names(supervised.rest()) == ["stopping", "stopped"]
    assert "Unhandled" not in supervised.plan.paths.log.read_text()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "print('a'); print('ValueError: no good'); print('b'); raise SystemExit(3)",
            "3: ValueError: no good",
        ),
        ("print('a'); print('b'); raise SystemExit(1)", "1: b"),
        ("raise SystemExit(1)", "1: it printed nothing"),
        (f"{CHILD} print('ValueError: half'); raise SystemExit(1)", "1: ValueError: half"),
    ],
    ids=["an error", "words", "silent", "half of it stays"],
)
def test_ray_that_ends_at_once_is_told_with_its_last_words(
    start: Start, script: str, reason: str
) -> None:
    supervised = start(script)

    assert supervised.rest()[1:] == [
        {"event": "failed", "reason": f"ray start ended with {reason}"},
        {"event": "error", "code": "SR-RAY-010", "reason": f"ray start ended with {reason}"},
    ]
    assert supervised.process.returncode == 4
    assert supervised.record().phase is Phase.FAILED
    assert supervised.processes() == []


def test_ray_that_is_never_ready_is_stopped(start: Start) -> None:
    supervised = start(f"print('thinking', flush=True); {WAITS}", timeout=0.3)

    error = supervised.rest()[-1]

    assert error["code"] == "SR-RAY-011"
    assert "not ready after 0.3 s: thinking" in error["reason"]
    assert supervised.process.returncode == 4
    assert supervised.processes() == []


@pytest.mark.parametrize(
    ("proof", "code", "reason"),
    [
        ("fails", 4, "Ray is not as planned, so it was stopped again: the reason"),
        ("raises", 1, "a bug of secure-ray (KeyError)"),
    ],
)
def test_ray_that_is_not_proven_is_stopped_again(
    start: Start, proof: str, code: int, reason: str
) -> None:
    supervised = start(f"{CHILD} {READY}; {WAITS}", proof=proof)

    events = supervised.rest()

    assert names(events)[:3] == ["starting", "proving", "failed"]
    assert events[2]["reason"] == reason
    assert supervised.process.returncode == code
    assert supervised.processes() == []
    assert "a secret" not in supervised.plan.paths.instance.read_text()


def test_sigterm_during_the_start_stops_it_unproven(start: Start) -> None:
    supervised = start(f"print('thinking', flush=True); {WAITS}")
    supervised.until("starting")

    assert names(supervised.terminate()) == ["stopping", "stopped"]

    assert supervised.process.returncode == 0
    assert supervised.processes() == []


def test_ray_that_dies_is_told_and_not_started_again(start: Start) -> None:
    supervised = start(f"{CHILD} {READY}; {WAITS}")
    supervised.until("running")
    ray = supervised.record().ray
    assert ray is not None

    os.kill(ray.pid, signal.SIGKILL)

    assert supervised.rest()[-1]["code"] == "SR-RAY-012"
    assert supervised.process.returncode == 5
    assert supervised.record().phase is Phase.FAILED
    assert "signal 9" in supervised.record().reason
    assert supervised.processes() == []


def test_lost_part_of_ray_degrades_it(start: Start) -> None:
    supervised = start(f"{CHILD} {READY}; {WAITS}")
    supervised.until("running")
    ray = supervised.record().ray
    assert ray is not None
    (child,) = psutil.Process(ray.pid).children()

    child.kill()

    assert f"(pid {child.pid}) ended" in supervised.until("degraded")["reason"]
    assert supervised.record().phase is Phase.DEGRADED
    assert names(supervised.terminate()) == ["stopping", "stopped"]


def test_ephemeral_cluster_ends_with_the_program_that_asked_for_it(start: Start) -> None:
    """Also when that program ended before the supervisor could look: the pid is told."""
    supervised = start(ephemeral=True, parent=_pid_of_nobody())

    assert names(supervised.rest())[2:] == ["running", "stopping", "stopped"]
    assert supervised.processes() == []


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no subreaper")
def test_orphan_without_the_mark_is_stopped_too(start: Start, plan: LaunchPlan) -> None:
    """It was started by a process that has ended, in a session and an environment of its own."""
    sleeps = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
    leaves = (
        "import subprocess; orphan = subprocess.Popen("
        f"{sleeps}, start_new_session=True, env={{}}); open('orphan', 'w').write(str(orphan.pid))"
    )
    supervised = start(
        f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {leaves!r}]);"
        f"{READY}; {WAITS}"
    )
    supervised.until("running")
    orphan = psutil.Process(int((plan.working_directory / "orphan").read_text()))
    assert orphan not in supervised.processes()

    supervised.terminate()

    assert not orphan.is_running()


def test_second_supervisor_is_refused_and_the_first_goes_on(start: Start) -> None:
    first = start()
    first.until("running")

    second = start()

    assert [event["code"] for event in second.rest()] == ["SR-STATE-006"]
    assert second.process.returncode == 5
    assert first.record().supervisor.pid == first.process.pid
    assert list(request(first.plan.run.control, {"do": "status"}, timeout=30))


@pytest.mark.parametrize("directory", ["temporary", "spill"])
def test_planted_directory_is_refused_before_anything_starts(
    start: Start, plan: LaunchPlan, home: Path, directory: str
) -> None:
    place = plan.run.temporary if directory == "temporary" else plan.paths.spill
    place.rmdir()
    target = home / "target"
    target.mkdir(mode=0o700)
    place.symlink_to(target)

    supervised = start()

    assert supervised.rest()[0]["code"] == "SR-FILE-001"
    assert supervised.process.returncode == 4
    assert supervised.processes() == []


def test_line_of_any_length_does_not_block_ray(start: Start) -> None:
    supervised = start(f"print('x' * (1 << 20)); {READY}; {WAITS}")

    supervised.until("running")


def test_record_that_cannot_be_written_keeps_nothing_from_being_stopped(
    start: Start, plan: LaunchPlan
) -> None:
    plan.paths.instance.mkdir()
    supervised = start()
    supervised.until("running")

    assert names(supervised.terminate()) == ["stopping", "stopped"]
    assert supervised.processes() == []
    assert "SR-FILE-004" in plan.paths.log.read_text()


def _pid_of_nobody() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid

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
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from secure_ray.base.processes import marked
from secure_ray.node.control import request
from secure_ray.node.environment import INSTANCE_VARIABLE
from secure_ray.node.instance import Instance, Phase, read_instance
from secure_ray.pki.credentials import make_ephemeral_credentials
from support.plans import (
    NOW,
    READY,
    SOURCE,
    WAITS,
    WORKER,
    make_directories,
    plan_of,
    private_plan,
    with_command,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan

SUPERVISE = """
import asyncio, json, logging, os, sys, time, psutil
from contextlib import asynccontextmanager
from secure_ray.base.clock import utc_now
from secure_ray.base.errors import InconclusiveError, SecureRayError
from secure_ray.node import following, ray_life, supervisor
from secure_ray.node.plan import LaunchPlan

supervisor._WATCH_SECONDS = supervisor._LOCK_WAIT = supervisor._LOOK_SECONDS = 0.05
supervisor._PAUSES = (0.01,)
following._REACH_SECONDS, following._LOOK_SECONDS = 0.01, 0.05
ray_life._LAST_WORDS_SECONDS = 0.2
proof, parent = sys.argv[1], int(sys.argv[2])
plan = LaunchPlan.from_json(json.loads(sys.stdin.buffer.raw.readline()))
proofs, strays = [], []

class OwnDrain:
    def __init__(self, plan, log):
        self.told = False
    def follow(self, orders):
        if "drain" in orders and not self.told:
            self.told = True
            emit({"event": "drains itself"})

supervisor.OwnDrain = OwnDrain

def prove(instance):
    proofs.append(instance)
    if proof == "raises":
        raise KeyError("a secret")
    if proof == "passes late":
        for child in psutil.Process(instance.ray.pid).children():
            child.kill()
        time.sleep(0.2)
        return supervisor.Proven(ok=True, reason="the reason")
    passes = proof == "passes" or proof == "passes once" and len(proofs) == 1
    return supervisor.Proven(ok=passes, reason="the reason")

def find_strays(instance):
    if strays == ["broken"]:
        raise OSError(24, "Too many open files")
    if strays == ["unreadable"]:
        raise InconclusiveError("SR-PROBE-001", "nobody can tell", fix="")
    return tuple(strays)

def emit(event):
    print(json.dumps(event), flush=True)

class Line:
    "A worker's line to its head; the test says what comes over it."

    def __init__(self):
        self.reached, self.revoked, self.orders = asyncio.Event(), asyncio.Event(), ()
        self.answers, self.epoch, self.trouble = False, "first", "nobody is there"
        if proof != "never asked":
            self.reached.set()

    def hurry(self):
        pass

    def ask_again(self):
        self.reached.clear()
        emit({"event": "asked"})
        if self.answers:
            self.reached.set()

    def told(self):
        told = sys.stdin.buffer.raw.readline().decode(errors="surrogateescape").split()
        if not told:
            asyncio.get_running_loop().remove_reader(0)
            return
        if told[0] == "answers":
            self.answers = True
            self.reached.set()
        elif told[0] == "revoke":
            self.revoked.set()
        elif told[0] == "order":
            self.orders = tuple(told[1:])
        elif told[0] == "epoch":
            self.epoch = "".join(told[1:])
        elif told[0] == "strays":
            strays[:] = told[1:]
        emit({"event": "told", "session": self.session()})

@asynccontextmanager
async def fake_beside(plan, *, open_door, members, now, epoch, log):
    line = Line()
    line.session = epoch
    asyncio.get_running_loop().add_reader(0, line.told)
    yield None if plan.place.is_head else line

supervisor.beside = fake_beside

async def no_token(_plan, _line):
    return False

following.fetch_token = no_token

logging.basicConfig(filename=plan.paths.log, level=logging.DEBUG)
try:
    asyncio.run(supervisor.Supervisor(
        plan, given=supervisor.Given(prove, find_strays, None, None), emit=emit,
        log=logging.getLogger("test"), clock=utc_now,
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

    def tell(self, *words: str) -> None:
        """Say it over the line to the head; returns when it was heard."""
        self.say(*words)
        self.until("told")

    def say(self, *words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()

    def kill_ray(self) -> int:
        """Ray's process, killed."""
        ray = self.record().ray
        assert ray is not None
        os.kill(ray.pid, signal.SIGKILL)
        return ray.pid

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
def worker(home: Path) -> LaunchPlan:
    return make_directories(private_plan(home, place=WORKER, cluster_id=secrets.token_hex(8)))


@pytest.fixture
def private_head(home: Path) -> LaunchPlan:
    return make_directories(private_plan(home, cluster_id=secrets.token_hex(8)))


@pytest.fixture
def start(plan: LaunchPlan) -> Iterator[Start]:
    """Starts a supervisor of `plan`, with a script in the place of Ray."""
    marks = {plan.cluster_id}
    with ExitStack() as stack:

        def start(
            script: str = f"{READY}; {WAITS}",
            *,
            proof: str = "passes",
            parent: int = 0,
            of: LaunchPlan = plan,
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
            marks.add(of.cluster_id)
            assert process.stdin is not None
            text = replace(with_command(of, script), **changes).to_json()
            process.stdin.write(json.dumps(text) + "\n")
            process.stdin.flush()
            return Supervised(of, process)

        yield start
        for left in (one for mark in marks for one in marked(INSTANCE_VARIABLE, mark)):
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
        (
            (
                "print('a.cc:1:  A bug? Check failed: Connect() Status not OK: no Redis');"
                "print('*** StackTrace ***\\nSystemError::a()\\n' * 50); raise SystemExit(1)"
            ),
            "1: Check failed: no Redis",
        ),
    ],
    ids=["an error", "words", "silent", "half of it stays", "a check in C++"],
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

    supervised.kill_ray()

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


# A worker's Ray ends when its head's does; the head's comes back.


def test_worker_starts_its_ray_again_once_the_head_is_back(
    start: Start, worker: LaunchPlan
) -> None:
    supervised = start(of=worker)
    supervised.until("running")
    first = supervised.kill_ray()

    waiting = supervised.until("waiting")
    assert "signal 9" in waiting["reason"]
    assert waiting["reason"].endswith("Ray starts again when the head is back")
    supervised.until("asked")
    # Nothing before the head answers.
    supervised.say("answers")
    assert names([supervised.event() for _ in range(4)]) == [
        "told",
        "starting",
        "proving",
        "running",
    ]

    record = supervised.record()
    assert record.ray is not None
    assert record.ray.pid != first
    assert (record.phase, record.sound) == (Phase.RUNNING, True)
    assert names(supervised.terminate()) == ["stopping", "stopped"]
    assert supervised.processes() == []


def test_start_that_fails_while_the_head_comes_back_is_tried_again(
    start: Start, worker: LaunchPlan
) -> None:
    """The first life is well, the second one ends at once, the third is well."""
    lives = worker.working_directory / "lives"
    supervised = start(
        f"lives = open({str(lives)!r}, 'a+'); lives.write('x'); lives.flush();"
        f"assert lives.tell() != 2, 'no head'\n{READY}; {WAITS}",
        of=worker,
    )
    supervised.until("running")
    supervised.tell("answers")
    supervised.kill_ray()

    events = [supervised.event()["event"] for _ in range(8)]

    assert events == ["waiting", "asked", "starting", "waiting", "asked", "starting", "proving", "running"]  # fmt: skip


def test_worker_asks_its_head_before_it_starts_ray(start: Start, worker: LaunchPlan) -> None:
    supervised = start(of=worker, proof="never asked")

    told = supervised.rest()

    assert names(told) == ["failed", "error"]
    assert told[-1]["code"] == "SR-JOIN-050"
    assert "nobody is there" in told[-1]["reason"]


def test_worker_that_never_ran_is_not_started_again(start: Start, worker: LaunchPlan) -> None:
    supervised = start("print('ValueError: no good'); raise SystemExit(3)", of=worker)

    assert names(supervised.rest()) == ["starting", "failed", "error"]
    assert supervised.process.returncode == 4


@pytest.mark.parametrize("proof", ["fails", "passes once"])
def test_worker_that_is_not_proven_is_not_started_again(
    start: Start, worker: LaunchPlan, proof: str
) -> None:
    supervised = start(of=worker, proof=proof)
    supervised.say("answers")
    if proof == "passes once":
        supervised.until("running")
        supervised.kill_ray()
        supervised.until("waiting")

    assert supervised.rest()[-1]["code"] == "SR-AUDIT-000"
    assert supervised.process.returncode == 4
    assert supervised.processes() == []


@pytest.mark.parametrize("waits", [False, True])
def test_worker_that_was_revoked_stops(start: Start, worker: LaunchPlan, *, waits: bool) -> None:
    supervised = start(of=worker)
    supervised.until("running")
    if waits:
        supervised.kill_ray()
        supervised.until("asked")

    supervised.say("revoke")

    assert supervised.rest()[-1]["code"] == "SR-JOIN-046"
    assert supervised.process.returncode == 7
    assert supervised.record().phase is Phase.FAILED
    assert supervised.processes() == []


def test_worker_that_is_drained_waits_until_it_is_wanted_again(
    start: Start, worker: LaunchPlan
) -> None:
    supervised = start(of=worker)
    supervised.until("running")
    supervised.tell("answers")
    supervised.tell("order", "drain")
    supervised.kill_ray()

    assert "Ray died" in supervised.until("waiting")["reason"]
    assert supervised.until("waiting")["reason"] == "drained by the head"
    supervised.say("order")

    assert names([supervised.event(), supervised.event()]) == ["told", "starting"]


def test_worker_that_was_drained_before_its_host_started_again_does_not_start(
    start: Start, worker: LaunchPlan
) -> None:
    supervised = start(proof="never asked", of=worker)
    supervised.tell("order", "drain")
    supervised.tell("answers")

    assert supervised.until("waiting")["reason"] == "drained by the head"
    assert supervised.record().ray is None
    supervised.say("order")
    assert names([supervised.event(), supervised.event()]) == ["told", "starting"]


def test_worker_that_is_ordered_to_drain_asks_its_ray(start: Start, worker: LaunchPlan) -> None:
    supervised = start(of=worker)
    supervised.until("running")
    supervised.tell("order", "drain")

    supervised.until("drains itself")


def test_worker_without_a_raylet_has_left_the_cluster(
    start: Start, worker: LaunchPlan, home: Path
) -> None:
    """`ray start` goes on without it."""
    (home / "raylet").symlink_to("/bin/sleep")
    supervised = start(
        f"import subprocess; child = subprocess.Popen([{str(home / 'raylet')!r}, '1000'])\n"
        f"{READY}; {WAITS}",
        of=worker,
    )
    supervised.until("running")
    ray = supervised.record().ray
    assert ray is not None
    (raylet,) = psutil.Process(ray.pid).children()

    raylet.kill()

    assert f"raylet (pid {raylet.pid}) ended" in supervised.until("waiting")["reason"]


@pytest.mark.parametrize("waits", [False, True])
def test_worker_stops_when_it_is_told_to(start: Start, worker: LaunchPlan, *, waits: bool) -> None:
    supervised = start(of=worker)
    supervised.until("running")
    if waits:
        supervised.kill_ray()
        supervised.until("asked")

    assert names(supervised.terminate())[-1] == "stopped"
    assert supervised.process.returncode == 0
    assert supervised.processes() == []


def test_worker_whose_work_is_to_end_is_not_started_again(start: Start, worker: LaunchPlan) -> None:
    supervised = start(of=worker)
    supervised.until("running")
    supervised.tell("answers")
    assert list(request(worker.run.control, {"do": "finish"}, timeout=30))

    supervised.kill_ray()

    assert names(supervised.rest()) == ["stopped"]
    assert supervised.process.returncode == 0


def test_worker_starts_anew_with_its_head(start: Start, worker: LaunchPlan) -> None:
    """Ray itself would look for the old head for a minute."""
    supervised = start(of=worker)
    supervised.until("running")
    supervised.tell("answers")

    supervised.say("epoch", "second")

    assert "its head has started anew" in supervised.until("waiting")["reason"]
    supervised.until("running")
    assert supervised.terminate()[-1]["event"] == "stopped"


def test_worker_goes_on_while_its_head_restarts_with_what_it_knew(
    start: Start, worker: LaunchPlan
) -> None:
    supervised = start(of=worker)
    supervised.until("running")
    ray = supervised.record().ray

    supervised.tell("epoch")  # the head's Ray does not run just now
    time.sleep(0.3)
    supervised.tell("epoch", "first")
    time.sleep(0.3)

    assert names(supervised.terminate()) == ["stopping", "stopped"]
    assert supervised.record().ray == ray


def test_worker_waits_until_the_heads_ray_runs(start: Start, worker: LaunchPlan) -> None:
    """Its own would look for it for two minutes, and take the old session for the new one."""
    supervised = start(of=worker)
    supervised.until("running")
    supervised.tell("epoch")
    supervised.kill_ray()
    supervised.until("asked")
    supervised.tell("answers")
    time.sleep(0.3)

    supervised.say("epoch", "second")

    assert names([supervised.event(), supervised.event()]) == ["told", "starting"]
    supervised.until("running")


# Asked to, a node ends its Ray and starts it again.


def ask_restart(supervised: Supervised) -> list[dict[str, Any]]:
    return list(request(supervised.plan.run.control, {"do": "restart"}, timeout=30))


@pytest.mark.parametrize("role", ["head", "private head", "worker"])
def test_restart_ends_ray_and_proves_the_next_one(
    start: Start, plan: LaunchPlan, private_head: LaunchPlan, worker: LaunchPlan, role: str
) -> None:
    of = {"head": plan, "private head": private_head, "worker": worker}[role]
    supervised = start(of=of)
    supervised.until("running")
    first = supervised.record()

    told = ask_restart(supervised)

    assert told[-1] == {"phase": "running", "reason": "the reason", "done": True}
    assert not any(line["done"] for line in told[:-1])
    events = [supervised.event() for _ in range(4)]
    assert events[:2] == [
        {"event": "stopping", "reason": "asked to start Ray again"},
        {"event": "starting", "reason": "asked to start Ray again"},
    ]
    assert names(events[2:]) == ["proving", "running"]
    again = supervised.record()
    assert first.ray is not None
    assert again.ray is not None
    assert again.ray != first.ray
    assert again.supervisor == first.supervisor
    assert not psutil.pid_exists(first.ray.pid)
    assert names(supervised.terminate()) == ["stopping", "stopped"]


def test_each_life_finds_the_way_free(start: Start, plan: LaunchPlan) -> None:
    """Ray does not start at an address that this file names."""
    named = plan.run.ray / "ray_current_cluster"
    plan.run.ray.mkdir()
    supervised = start(
        f"import os; assert not os.path.exists({str(named)!r}); open({str(named)!r}, 'w').close()\n"
        f"{READY}; {WAITS}"
    )
    supervised.until("running")

    assert ask_restart(supervised)[-1]["phase"] == "running"


def test_restart_takes_the_leaf_that_is_there_by_then(start: Start, plan: LaunchPlan) -> None:
    supervised = start()
    supervised.until("running")
    for directory in (plan.paths.pki, plan.paths.pki / "node"):
        directory.mkdir(mode=0o700)
    make_ephemeral_credentials(
        plan.certificates, sans=("127.0.0.1",), now=NOW, lifetime=timedelta(days=400)
    )

    ask_restart(supervised)

    expires = datetime.fromisoformat(supervised.record().certificate_expires)
    assert expires - NOW > timedelta(days=399)


def test_restart_that_fails_is_told_and_ends_a_head(start: Start, plan: LaunchPlan) -> None:
    supervised = start(
        f"lives = open({str(plan.working_directory / 'lives')!r}, 'a+'); lives.write('x');"
        f"lives.flush(); assert lives.tell() != 2, 'no second'\n{READY}; {WAITS}"
    )
    supervised.until("running")

    last = ask_restart(supervised)[-1]

    assert (last["phase"], last["done"]) == ("failed", True)
    assert "no second" in last["reason"]
    assert supervised.rest()[-1]["code"] == "SR-RAY-010"
    assert supervised.processes() == []


def test_stop_during_a_restart_wins(start: Start, plan: LaunchPlan) -> None:
    lives = plan.working_directory / "lives"
    supervised = start(
        f"lives = open({str(lives)!r}, 'a+'); lives.write('x'); lives.flush()\n"
        f"if lives.tell() < 2: {READY}\n{WAITS}"
    )
    supervised.until("running")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(plan.run.control))
        connection.sendall(b'{"do": "restart"}\n')
        supervised.until("starting")

        assert names(supervised.terminate()) == ["stopping", "stopped"]


def test_head_tells_its_session_only_while_its_ray_runs(
    start: Start, private_head: LaunchPlan
) -> None:
    """What a worker hears meanwhile must not look like another cluster, or like the old one."""
    ray = private_head.run.ray
    ray.mkdir()
    (ray / "session_latest").symlink_to(ray / "session_2026-11-22_10-00-00_000000_1")
    supervised = start(of=private_head)
    supervised.until("running")

    supervised.say("order")
    running = supervised.until("told")["session"]
    restarting = start_slowly(supervised)

    assert (running, restarting) == ("session_2026-11-22_10-00-00_000000_1", "")


def start_slowly(supervised: Supervised) -> str:
    """The session that is told while Ray's end takes its time."""
    ray = supervised.record().ray
    assert ray is not None
    os.kill(ray.pid, signal.SIGSTOP)  # does not end on SIGTERM
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(supervised.plan.run.control))
            connection.sendall(b'{"do": "restart"}\n')
            supervised.until("stopping")
            supervised.say("order")
            session: str = supervised.until("told")["session"]
            return session
    finally:
        os.kill(ray.pid, signal.SIGCONT)


def test_head_in_private_mode_is_not_started_again(start: Start, private_head: LaunchPlan) -> None:
    supervised = start(of=private_head)
    supervised.until("running")

    supervised.kill_ray()

    assert supervised.rest()[-1]["code"] == "SR-RAY-012"
    assert supervised.process.returncode == 5


@pytest.mark.parametrize(
    ("stray", "reason"),
    [
        ("0.0.0.0:8000", "open where it should not be: 0.0.0.0:8000"),
        ("unreadable", "nobody can tell"),
    ],
)
@pytest.mark.parametrize("private", [True, False], ids=["private", "local"])
def test_what_is_open_where_it_should_not_be_is_told_as_long_as_it_is(
    start: Start, private_head: LaunchPlan, *, private: bool, stray: str, reason: str
) -> None:
    supervised = start(of=private_head) if private else start()
    supervised.until("running")
    assert supervised.record().sound

    supervised.say("strays", stray)

    assert supervised.until("degraded")["reason"] == reason
    assert not supervised.record().sound
    supervised.say("strays")
    assert supervised.until("running")["reason"] == "as planned"
    assert supervised.record().sound
    assert names(supervised.terminate()) == ["stopping", "stopped"]


@pytest.mark.parametrize("strays", ["\udcff\udcfe", "broken"])
def test_look_that_goes_wrong_ends_no_cluster(
    start: Start, private_head: LaunchPlan, strays: str
) -> None:
    supervised = start(of=private_head)
    supervised.until("running")
    assert isinstance(supervised.process.stdin, TextIOWrapper)
    supervised.process.stdin.reconfigure(errors="surrogateescape")
    supervised.say("strays", strays)
    reason = supervised.until("degraded")["reason"]
    supervised.say("strays")

    assert reason.encode()
    supervised.until("running")


def test_lost_part_of_ray_is_not_forgotten_over_a_stray(
    start: Start, private_head: LaunchPlan
) -> None:
    supervised = start(f"{CHILD} {READY}; {WAITS}", of=private_head)
    supervised.until("running")
    ray = supervised.record().ray
    assert ray is not None
    (child,) = psutil.Process(ray.pid).children()
    child.kill()
    lost = supervised.until("degraded")["reason"]

    supervised.say("strays", "0.0.0.0:8000")
    assert "0.0.0.0:8000" in supervised.until("degraded")["reason"]
    supervised.say("strays")

    assert supervised.until("degraded")["reason"] == lost
    assert supervised.record().sound


def test_what_ends_during_a_proof_that_passes_is_told(start: Start) -> None:
    reaps = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
    supervised = start(f"{reaps} {CHILD} {READY}; {WAITS}", proof="passes late")

    supervised.until("running")

    assert "ended" in supervised.until("degraded")["reason"]


def _pid_of_nobody() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid

"""The supervisor's process: its order, its log without the token, its last words."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import socket
import stat
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.audit.findings import Report, Rule, Severity
from secure_ray.base.errors import IncompleteError
from secure_ray.cli import supervise as module
from secure_ray.node.supervisor import Proven
from support.plans import EXPIRES, NOW, instance_of, make_directories, plan_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan

TOKEN = "ab" * 32
RULE = Rule("SR-AUDIT-001", "a title", Severity.LOW, "none", "mend it")


@pytest.fixture
def plan(home: Path) -> LaunchPlan:
    return planned(home)


def planned(home: Path, toml: str = "") -> LaunchPlan:
    plan = make_directories(plan_of(home, toml))
    plan.paths.token.write_text(TOKEN)
    plan.paths.token.chmod(0o600)
    return plan


@pytest.fixture(autouse=True)
def clean_logging() -> Iterator[None]:
    old = os.umask(0o077)
    yield
    os.umask(old)
    log = logging.getLogger("secure_ray.supervisor")
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()


@pytest.fixture
def supervise(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The process's `main`, with something else in the place of the supervisor."""

    def supervise(plan: LaunchPlan, act: Callable[..., Any], *options: str) -> int:
        class Supervisor:
            def __init__(self, *arguments: Any, **named: Any) -> None:
                self._given = (*arguments, named)

            async def run(self) -> None:
                act(*self._given)

        order = {"plan": plan.to_json(), "expires": EXPIRES, "parent": 7}
        reservation = socket.socket()
        monkeypatch.setattr(module, "Supervisor", Supervisor)
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(order) + "\n"))
        words = ["supervise", "--reservation", str(reservation.detach()), *options]
        monkeypatch.setattr(sys, "argv", words)
        return module.main()

    return supervise


def test_order_reaches_the_supervisor(plan: LaunchPlan, supervise: Callable[..., int]) -> None:
    given: list[Any] = []

    assert supervise(plan, lambda *arguments: given.extend(arguments)) == 0

    assert given[0] == plan
    assert given[1]["certificate_expires"] == EXPIRES
    assert given[1]["parent"] == 7


def test_reservation_is_held_to_the_end(plan: LaunchPlan, supervise: Callable[..., int]) -> None:
    held: list[int] = []

    def look(*_: Any) -> None:
        held.append(int(sys.argv[2]))
        os.fstat(held[0])

    assert supervise(plan, look) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(held[0])


def test_error_is_the_last_event_and_the_exit_code(
    plan: LaunchPlan, supervise: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise IncompleteError("SR-RAY-012", "Ray died", fix="up again")

    assert supervise(plan, fail) == 5

    assert json.loads(capfd.readouterr().out) == {
        "event": "error",
        "code": "SR-RAY-012",
        "cause": "Ray died",
        "fix": "up again",
        "exit_code": 5,
    }
    assert "SR-RAY-012: Ray died; fix: up again" in plan.paths.log.read_text()


def test_bug_is_told_without_its_text(
    plan: LaunchPlan, supervise: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError(TOKEN)

    assert supervise(plan, fail) == 1

    said = capfd.readouterr().out
    assert json.loads(said)["code"] == "SR-STATE-008"
    assert "KeyError" in said
    assert TOKEN not in said
    log = plan.paths.log.read_text()
    assert "Traceback" in log
    assert TOKEN not in log


@pytest.mark.parametrize("toml", ["", '[logging]\nformat = "json"'], ids=["text", "json"])
def test_log_is_private_and_without_the_token(
    home: Path, supervise: Callable[..., int], toml: str
) -> None:
    plan = planned(home, toml)

    def write(_plan: LaunchPlan, named: dict[str, Any]) -> None:
        named["log"].info("ray: %s and %s", f"Bearer {TOKEN}", TOKEN)

    assert supervise(plan, write) == 0

    assert stat.S_IMODE(plan.paths.log.stat().st_mode) == 0o600
    text = plan.paths.log.read_text()
    assert TOKEN not in text
    assert "Bearer ********" in text
    if toml:
        entry = json.loads(text.splitlines()[0])
        assert entry["level"] == "INFO"
        assert set(entry) == {"time", "level", "message"}


@pytest.mark.parametrize("options", [(), ("--foreground",)], ids=["background", "foreground"])
def test_events_go_to_whoever_waits_and_the_log_to_a_terminal(
    plan: LaunchPlan,
    supervise: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
    options: tuple[str, ...],
) -> None:
    def act(_plan: LaunchPlan, named: dict[str, Any]) -> None:
        named["emit"]({"event": "running"})
        named["log"].info("running %s", TOKEN)
        named["log"].debug("a detail")

    assert supervise(plan, act, *options) == 0

    out, err = capfd.readouterr()
    if options:
        assert out == ""
        assert "INFO running ********" in err
        assert "a detail" not in err
    else:
        assert json.loads(out) == {"event": "running"}
        assert err == ""


def test_cluster_lock_is_held_until_the_first_event(
    plan: LaunchPlan, supervise: Callable[..., int]
) -> None:
    """It comes when the supervisor holds its own lock, so that one of the two is always held."""
    cluster_lock = os.open(os.devnull, os.O_RDONLY)

    def act(_plan: LaunchPlan, named: dict[str, Any]) -> None:
        os.fstat(cluster_lock)
        named["emit"]({"event": "starting"})
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(cluster_lock)
        named["emit"]({"event": "running"})

    assert supervise(plan, act, "--foreground", "--cluster-lock", str(cluster_lock)) == 0


@pytest.mark.parametrize("options", [(), ("--foreground",)], ids=["background", "foreground"])
@pytest.mark.parametrize("broken", ["token", "log", "disk"])
def test_what_goes_wrong_before_there_is_a_log_is_told(
    plan: LaunchPlan,
    supervise: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    options: tuple[str, ...],
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if broken == "token":
        plan.paths.token.unlink()
    elif broken == "log":
        plan.paths.log.mkdir()
    else:
        monkeypatch.setattr(module, "RotatingFileHandler", full)

    assert supervise(plan, lambda *_: pytest.fail("it ran"), *options) == 4

    code = "SR-FILE-006" if broken == "disk" else "SR-FILE-004"
    out, err = capfd.readouterr()
    if options:
        assert err.count(code) == 1
        assert "Traceback" not in err
    else:
        assert json.loads(out)["code"] == code


@pytest.mark.parametrize("options", [(), ("--foreground",)], ids=["background", "foreground"])
@pytest.mark.parametrize("order", ["", "{", "[]", "{}", '{"plan": "{\\"secret\\": 1}"}'])
def test_order_that_cannot_be_read_is_told_without_its_text(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    order: str,
    options: tuple[str, ...],
) -> None:
    reservation = socket.socket()
    words = ["supervise", "--reservation", str(reservation.detach()), *options]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(sys, "stdin", io.StringIO(order))

    assert module.main() == 1

    out, err = capfd.readouterr()
    assert "SR-STATE-008" in (err if options else out)
    assert "secret" not in out + err
    assert "Traceback" not in out + err


def test_nobody_who_waits_changes_nothing() -> None:
    reading, writing = os.pipe()
    saved = os.dup(1)
    os.close(reading)
    try:
        os.dup2(writing, 1)
        module._emit_line({"event": "running"})
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(writing)


@pytest.mark.parametrize(
    ("findings", "proven"),
    [
        ([RULE.judge("x", holds=True, actual="none")], Proven(ok=True, reason="1 checks passed")),
        (
            [
                RULE.judge("x", holds=True, actual="none"),
                RULE.judge("127.0.0.1:1", holds=False, actual="open"),
                RULE.unproven("y", "no answer"),
            ],
            Proven(
                ok=False,
                reason="SR-AUDIT-001 at 127.0.0.1:1: open (should be: none); "
                "SR-AUDIT-001 at y: no answer (should be: none)",
            ),
        ),
        ([], Proven(ok=False, reason="nothing was checked")),
    ],
    ids=["fine", "off", "nothing"],
)
def test_proof_is_what_the_audit_says(
    plan: LaunchPlan, monkeypatch: pytest.MonkeyPatch, findings: list[Any], proven: Proven
) -> None:
    asked: list[Any] = []

    def prove_instance(*_: Any, **options: Any) -> Report:
        asked.append(options)
        return Report(tuple(findings), NOW, 0.1)

    monkeypatch.setattr("secure_ray.audit.live.prove_instance", prove_instance)

    assert module._prove(instance_of(plan)) == proven
    assert [options["starts"] for options in asked] == [True]


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_settings_bring_in_is_not_logged(
    supervise: Callable[..., int], home: Path, form: str
) -> None:
    value = 'pass"word\\1'
    plan = planned(home, f'[logging]\nformat = "{form}"')
    plan = replace(
        plan, environment=plan.environment | {"KEY": value, "N": "1"}, private=("KEY", "N")
    )

    supervise(plan, lambda _plan, named: named["log"].info("1 %s", value))

    line = plan.paths.log.read_text()
    assert "1 ********" in line
    assert "word" not in line


def test_level_and_rotation_are_those_of_the_settings(
    supervise: Callable[..., int], home: Path
) -> None:
    plan = planned(home, '[logging]\nlevel = "warning"\nrotate_bytes = "1MiB"\nrotate_count = 2')

    def act(_plan: object, named: dict[str, Any]) -> None:
        named["log"].info("quiet")
        for _ in range(40):
            named["log"].warning("x" * (100 << 10))

    supervise(plan, act)

    logs = sorted(path.name for path in plan.paths.log.parent.glob("supervisor.log*"))
    assert logs == ["supervisor.log", "supervisor.log.1", "supervisor.log.2"]
    assert "quiet" not in "".join(
        path.read_text() for path in plan.paths.log.parent.glob("supervisor.log*")
    )

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from secure_ray.audit.checks import secrets
from secure_ray.audit.checks.secrets import CHECK, KEY, RULES, TOKEN, VARIABLE, Sought
from secure_ray.audit.findings import Status
from support.servers import CLUSTER_TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secure_ray.audit.findings import Rule
    from secure_ray.audit.target import Target


@contextmanager
def _child(
    *arguments: str, code: str = "print(flush=True); input()", **environment: str
) -> Iterator[int]:
    """A process that waits, with these arguments and this environment."""
    command = [sys.executable, "-S", "-c", code, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child.pid
        child.communicate(b"\n")


def _broken(target: Target, pid: int) -> set[str]:
    findings = CHECK.run(replace(target, pids=(*target.pids, pid)))
    return {finding.id for finding in findings if finding.status is not Status.PASS}


def _codes(*rules: Rule) -> set[str]:
    return {rule.code for rule in rules}


def test_clean_process(target: Target) -> None:
    with _child("--head", RAY_AUTH_TOKEN_PATH=str(target.token_path)) as pid:
        assert _broken(target, pid) == set()


def test_token_in_the_arguments(target: Target) -> None:
    with _child(f"--token={CLUSTER_TOKEN}") as pid:
        assert _broken(target, pid) == _codes(TOKEN)


def test_token_in_the_environment(target: Target) -> None:
    with _child(ANYTHING=f"Bearer {CLUSTER_TOKEN}") as pid:
        assert _broken(target, pid) == _codes(TOKEN)


@pytest.mark.parametrize("value", ["", "another"])
def test_token_variable(target: Target, value: str) -> None:
    with _child(RAY_AUTH_TOKEN=value) as pid:
        assert _broken(target, pid) == _codes(VARIABLE)


@pytest.mark.parametrize("joint", ["\n", "\\n", ""], ids=["as it is", "escaped", "on one line"])
def test_private_key_in_the_environment(target: Target, joint: str) -> None:
    key = joint.join(target.key.read_text().splitlines())
    with _child(TLS_KEY=key) as pid:
        assert _broken(target, pid) == _codes(KEY)


_EMPTY_STRING_FIRST = """
import ctypes
libc = ctypes.CDLL(None)
strings = lambda *texts: (ctypes.c_char_p * (len(texts) + 1))(*texts, None)
libc.execve(
    b"/bin/sh", strings(b"ray::IDLE", b"-c", b"echo; read line"), strings(b"", b"RAY_AUTH_TOKEN=x")
)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel shows the memory as it is")
def test_environment_behind_a_title_written_over_the_arguments(target: Target) -> None:
    """Psutil ends at the empty strings that such a title leaves before the environment."""
    with _child(code=_EMPTY_STRING_FIRST) as pid:
        assert "RAY_AUTH_TOKEN" not in psutil.Process(pid).environ()
        assert _broken(target, pid) == _codes(VARIABLE)


def test_ended_process_is_fine(target: Target) -> None:
    with _child() as pid:
        pass
    assert _broken(target, pid) == set()


def test_nothing_is_said_when_all_have_ended(target: Target) -> None:
    with _child() as pid:
        pass
    assert list(CHECK.run(replace(target, pids=(pid,)))) == []


def test_unreadable_process_is_an_error(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: psutil.Process) -> tuple[bytes, ...]:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(secrets, "_started_with", refuse)
    findings = list(CHECK.run(target))
    assert {(f.id, f.status) for f in findings} == {(rule.code, Status.ERROR) for rule in RULES}


def test_findings_do_not_hold_the_secret(target: Target) -> None:
    with _child(CLUSTER_TOKEN, TLS_KEY=target.key.read_text()) as pid:
        findings = list(CHECK.run(replace(target, pids=(pid,))))
    assert {finding.id for finding in findings if finding.status is Status.FAIL}
    assert CLUSTER_TOKEN not in str(findings)
    assert target.key.read_text().splitlines()[1] not in str(findings)


def test_what_is_sought_does_not_print() -> None:
    assert "abc" not in repr(Sought(b"abc", (b"abc",)))

"""`run`: the command gets the driver's environment and takes this process's place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from secure_ray.base.locks import lock
from secure_ray.cli.main import main
from secure_ray.node.instance import write_instance
from support.plans import BASE, instance_of, make_directories, plan_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class ReplacedError(Exception):
    """This process would be the command now."""


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []

    def execvpe(file: str, arguments: list[str], environment: dict[str, str]) -> NoReturn:
        calls.append((file, arguments, environment))
        raise ReplacedError

    monkeypatch.setattr(os, "execvpe", execvpe)
    return calls


@pytest.fixture
def cluster(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("RAY_", "SECURE_RAY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    plan = make_directories(plan_of(home))
    write_instance(instance_of(plan))
    with lock(plan.paths.supervisor_lock, wait=0):
        yield


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["--", "python", "x.py", "--json", "-h"], ["python", "x.py", "--json", "-h"]),
        (["ray", "status"], ["ray", "status"]),
        (["--cluster", "default", "--", "ray", "--help"], ["ray", "--help"]),
        (["--", "x", "--", "y"], ["x", "--", "y"]),
        # Options behind the command are the command's, whatever they are called.
        (["python", "x.py", "--config", "a", "--cluster", "b"],) * 2,
    ],
)
def test_command_is_run_as_it_stands(
    executed: list[Any], arguments: list[str], command: list[str]
) -> None:
    main(["run", *arguments])

    ((file, given, environment),) = executed
    assert (file, given) == (command[0], command)
    assert environment["RAY_ADDRESS"] == f"127.0.0.1:{BASE}"
    assert environment["RAY_AUTH_MODE"] == "token"


@pytest.mark.usefixtures("cluster")
def test_what_is_not_passed_on_is_named(
    executed: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_BRAND_NEW", "1")

    main(["run", "--", "true"])

    assert "RAY_BRAND_NEW" not in executed[0][2]
    assert "not passed on to Ray: RAY_BRAND_NEW" in capsys.readouterr().err


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("arguments", [[], ["--"], ["--", ""], [""], ["--", "", "x"]], ids=str)
def test_no_command_is_a_usage_error(
    executed: list[Any], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["run", *arguments]) == 2

    assert capsys.readouterr().err.splitlines() == [
        "error SR-CFG-015: no command was given",
        "  fix: secure-ray run -- python script.py",
    ]
    assert executed == []


@pytest.mark.usefixtures("cluster")
def test_dotenv_that_contradicts_a_protection_is_refused(
    executed: list[Any], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".env").write_text("RAY_AUTH_MODE=disabled\n")

    assert main(["run", "--", "true"]) == 3

    assert "RAY_AUTH_MODE" in capsys.readouterr().err
    assert executed == []


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("command", ["/no/such/command", "/etc/hostname"])
def test_command_that_cannot_run_is_told(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main(["run", "--", command]) == 2

    assert f"SR-CFG-016: cannot run {command}" in capsys.readouterr().err


@pytest.mark.usefixtures("cluster")
def test_what_contradicts_a_protection_is_refused(
    executed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")

    assert main(["run", "--", "true"]) == 3
    assert executed == []


def test_no_cluster_is_told(
    executed: list[Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))

    assert main(["run", "--", "true"]) == 4
    assert executed == []


@pytest.mark.usefixtures("cluster")
def test_settings_that_were_named_are_read(
    executed: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--config", "none.toml", "--", "ray", "status"]) == 2

    assert "SR-CFG-004" in capsys.readouterr().err
    assert executed == []

"""State that an earlier run left: expired, from the future, or half-written."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.clock import utc_now
from secure_ray.base.errors import FailedError, RefusedError
from support.states import decision_for, prepare_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.clusters import Machine

CHANGES = (
    (os, "fsync"),
    (os, "unlink"),
    (os, "rmdir"),
    (Path, "mkdir"),
    (Path, "replace"),
    (Path, "symlink_to"),
    (Path, "unlink"),
)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.ray
def test_up_renews_an_expired_leaf(machine: Machine) -> None:
    prepare_state(machine, now=utc_now() - timedelta(days=100))
    token = (machine.cluster_directory() / "token").read_bytes()

    result = machine.run("up", "--head", "--num-cpus", "1")

    assert result.returncode == 0, result.stderr
    assert "leaf renewed: it had expired 10 days ago" in result.stderr
    assert machine.status()["certificate"]["days_left"] >= 88
    assert (machine.cluster_directory() / "token").read_bytes() == token


def test_expired_issuing_authority_is_renewed_too(machine: Machine) -> None:
    then = utc_now() - timedelta(days=400)
    prepare_state(machine, now=then)

    changes = prepare_state(machine)

    assert [change.split(" ")[0] for change in changes] == ["issuing", "leaf"]


def test_nothing_is_renewed_before_its_time(machine: Machine) -> None:
    prepare_state(machine)
    before = contents(machine.cluster_directory() / "pki")

    assert prepare_state(machine, now=utc_now() + timedelta(days=30)) == ()
    assert contents(machine.cluster_directory() / "pki") == before


def test_clock_set_back(machine: Machine) -> None:
    """Keys are not made again for it: the clock is what is wrong."""
    prepare_state(machine)
    before = contents(machine.state)

    with pytest.raises(FailedError) as error:
        prepare_state(machine, now=utc_now() - timedelta(days=365))

    assert error.value.code == "SR-PKI-001"
    assert "the clock says" in error.value.cause
    assert "set the clock" in error.value.fix
    assert contents(machine.state) == before
    assert prepare_state(machine) == ()


class Killed(BaseException):
    """Not an `Exception`: nothing may catch it."""


def _kill_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """Let `steps` changes of the disk happen, and none after: as after SIGKILL."""
    left = iter(range(steps))

    def guarded(act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if next(left, None) is None:
            raise Killed
        return act(*arguments, **options)

    for owner, name in CHANGES:
        # A function is bound to the path that it is called on, a partial is not.
        guard = partial(guarded, getattr(owner, name))
        bound = guard if owner is os else lambda *a, guard=guard, **o: guard(*a, **o)
        patch.setattr(owner, name, bound)


# More changes than a first run makes, which the test of the last one checks.
STEPS = (*range(0, 36, 2), *range(36, 100, 8), 100)


@pytest.mark.parametrize("steps", STEPS)
def test_killed_first_run_is_finished_by_the_next(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Once it has written them, root CA and token stay what they are."""
    monkeypatch.setattr("secure_ray.node.cluster._SHORT_PARENT", machine.home)
    pki, token = machine.cluster_directory() / "pki", machine.cluster_directory() / "token"
    with pytest.MonkeyPatch.context() as patch:
        _kill_after(steps, patch)
        finished = _ends(partial(prepare_state, machine))
    kept = {
        path: path.read_bytes()
        for path in (pki / "authority" / "current" / "root.crt", token)
        if path.exists()
    }

    changes = prepare_state(machine)

    assert {path: path.read_bytes() for path in kept} == kept
    assert prepare_state(machine) == ()
    if finished:
        assert changes == ()
    assert finished or steps != STEPS[-1]


def _ends(act: Callable[[], object]) -> bool:
    try:
        act()
    except Killed:
        return False
    return True


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "pki/authority/current/issuing.crt",
        "pki/authority/current/issuing.key",
        "pki/node/current/node.key",
    ],
)
def test_lost_file_is_made_again(machine: Machine, name: str) -> None:
    prepare_state(machine)
    (machine.cluster_directory() / name).unlink()

    assert prepare_state(machine) != ()
    assert prepare_state(machine) == ()


@pytest.mark.parametrize("name", ["pki/authority/current/root.crt", "cluster.json"])
def test_lost_file_that_no_run_can_make_again(machine: Machine, name: str) -> None:
    """What was issued under the one, or for the other, is still there."""
    prepare_state(machine)
    run = Path(machine.identity()["run"])
    (machine.cluster_directory() / name).unlink()

    with pytest.raises(FailedError) as error:
        prepare_state(machine)

    assert error.value.code in {"SR-PKI-003", "SR-PKI-004"}
    assert "secure-ray reset" in error.value.fix
    run.rmdir()


@pytest.mark.parametrize("version", ["2.51.0", "2.9.3", "2.52.0"])
def test_ray_without_token_authentication(
    machine: Machine, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_ray.node.decide.read_versions", lambda: {"ray": version})

    with pytest.raises(RefusedError) as error:
        decision_for(machine)

    assert error.value.refusals[0].rule == "SR-VER-001"
    assert version in error.value.refusals[0].subject
    assert not machine.state.exists()


def test_no_ray_at_all(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secure_ray.node.decide.read_versions", dict)

    with pytest.raises(FailedError) as error:
        decision_for(machine)

    assert "pip install" in error.value.fix

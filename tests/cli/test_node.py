"""`node`: who joined, how they are; and what revoking does not do."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.clock import utc_now
from secure_ray.cli.main import main
from secure_ray.gateway.nodes.members import (
    add_leaf,
    add_member,
    give_orders,
    list_members,
    record_heartbeats,
)
from secure_ray.gateway.nodes.register import Register, open_register
from secure_ray.node.messages import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EXPIRES = datetime.fromisoformat("2030-06-01T00:00:00+00:00")


@pytest.fixture
def register(home: Path, monkeypatch: pytest.MonkeyPatch) -> Register:
    """The register of a cluster with one node, `w1`."""
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))
    directory = home / "clusters" / "default"
    directory.mkdir(parents=True, mode=0o700)
    made = open_register(directory)
    with made.changing() as database:
        add_member(database, id_="id1", name="w1", address="10.0.0.7", key=b"k", now=utc_now())
        add_leaf(database, serial="aa", node="id1", expires=EXPIRES)
    return made


def beat(
    register: Register,
    *,
    ago: float = 0.0,
    phase: str = "running",
    sound: bool = True,
    orders: Sequence[str] = (),
    clock: timedelta = timedelta(0),
    expires: datetime = EXPIRES,
) -> None:
    seen = utc_now() - timedelta(seconds=ago)
    report = Heartbeat(phase, "", sound, "aa", expires, seen + clock)
    with register.changing() as database:
        record_heartbeats(database, {"id1": (report, seen)})
        give_orders(database, "id1", orders)


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["node", "list", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["nodes"]
    found: dict[str, Any] = entry
    return found


@pytest.mark.parametrize(
    ("report", "state"),
    [
        (None, "joined"),
        ({}, "running"),
        ({"phase": "degraded"}, "degraded"),
        ({"ago": 36.0}, "silent"),
        ({"sound": False}, "not as planned"),
        ({"orders": ["drain"]}, "draining"),
        ({"orders": ["drain"], "phase": "waiting"}, "drained"),
        ({"phase": "waiting"}, "waiting"),
        ({"orders": ["drain"], "sound": False}, "not as planned"),
    ],
)
def test_how_a_node_is(
    register: Register,
    capsys: pytest.CaptureFixture[str],
    report: dict[str, Any] | None,
    state: str,
) -> None:
    if report is not None:
        beat(register, **report)

    assert listed(capsys)["state"] == state
    assert main(["node", "list"]) == 0
    assert f"w1    10.0.0.7  {state}" in capsys.readouterr().out


def test_what_a_node_says_does_not_steer_the_terminal(
    register: Register, capsys: pytest.CaptureFixture[str]
) -> None:
    beat(register, phase="\x1b[2Jgone")

    main(["node", "list"])

    assert "\x1b" not in capsys.readouterr().out


def test_a_revoked_node_is_shown_and_the_limit_is_told(
    register: Register, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["node", "revoke", "w1"]) == 0

    err = capsys.readouterr().err
    assert "node w1 (10.0.0.7) is revoked" in err
    assert "does not lock it out of Ray" in err
    assert "good until 2030-06-01" in err
    assert "knows the cluster token" in err
    assert "secure-ray down, secure-ray reset, then secure-ray up --head" in err
    assert listed(capsys)["state"] == "revoked"
    with register.reading() as database:
        assert list_members(database)[0].revoked is not None


@pytest.mark.usefixtures("register")
def test_a_program_is_told_the_limit_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "revoke", "w1", "--json"]) == 0

    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "secure-ray/node-revoke/1"
    assert "only new keys help" in data["limit"]


@pytest.mark.usefixtures("register")
def test_a_node_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    main(["node", "revoke", "w1"])
    capsys.readouterr()

    for name in ("w1", "w2"):
        assert main(["node", "revoke", name]) == 4
        assert "SR-JOIN-043" in capsys.readouterr().err


def test_nothing_to_list_makes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))

    assert main(["node", "list"]) == 0
    assert "no node has joined" in capsys.readouterr().err
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("minutes", "shown", "warned"), [(0, "+0 s", False), (-4, "-4 min", False), (7, "+7 min", True)]
)
def test_clock_is_compared_at_every_heartbeat(
    register: Register,
    capsys: pytest.CaptureFixture[str],
    minutes: int,
    shown: str,
    warned: bool,  # noqa: FBT001
) -> None:
    beat(register, clock=timedelta(minutes=minutes))
    assert listed(capsys)["clock_ahead_seconds"] == pytest.approx(minutes * 60)

    assert main(["node", "list"]) == 0

    told = capsys.readouterr()
    assert f" {shown} " in told.out
    assert ("the clock of w1 is 7 min off" in told.err) == warned


def test_certificate_is_the_one_in_use(
    register: Register, capsys: pytest.CaptureFixture[str]
) -> None:
    """The head may have issued a later one that the node does not use yet."""
    assert listed(capsys)["certificate_expires"].startswith("2030-06-01")
    beat(register, expires=EXPIRES - timedelta(days=30))

    assert listed(capsys)["certificate_expires"].startswith("2030-05-02")


def test_rules_that_were_loaded_by_hand_are_told_of(
    register: Register, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from secure_ray.node.neighbours import note_printed
    from secure_ray.node.paths import ClusterPaths

    main(["node", "list"])
    assert "let in" not in capsys.readouterr().err
    note_printed(ClusterPaths(home, "default"), ())
    main(["node", "list"])
    err = capsys.readouterr().err
    assert "not let in: 10.0.0.7" in err
    assert "secure-ray firewall show | sudo nft -f -" in err

    note_printed(ClusterPaths(home, "default"), ("10.0.0.7",))
    main(["node", "list"])
    assert "let in" not in capsys.readouterr().err
    main(["node", "revoke", "w1"])
    main(["node", "list"])
    assert "still let in: 10.0.0.7" in capsys.readouterr().err
    assert register is not None

"""`join-token`: made on a head that others can reach, shown once, listed without its secret."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.clock import utc_now
from secure_ray.base.locks import lock
from secure_ray.cli.main import main
from secure_ray.gateway.nodes.register import open_register
from secure_ray.gateway.nodes.tokens import TokenOrder, list_tokens, make_token
from secure_ray.node.instance import Phase, write_instance
from secure_ray.node.neighbours import note_printed
from secure_ray.node.place import Place, head_at
from secure_ray.pki.credentials import PkiPaths, ensure_credentials
from secure_ray.pki.join_string import Endpoint, parse_join_string
from secure_ray.pki.trust import read_pins
from secure_ray.policy.ports import plan_ports
from support.plans import BASE, ID, instance_of, make_directories, plan_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan

PRIVATE = head_at("10.0.0.5")


@pytest.fixture(autouse=True)
def state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))


def up(home: Path, place: Place = PRIVATE) -> tuple[LaunchPlan, AbstractContextManager[int]]:
    """A recorded instance at `place`; it runs as long as the lock is held."""
    plan = make_directories(plan_of(home))
    ports = plan_ports(
        BASE,
        fixed={},
        workers=None,
        metrics=True,
        dashboard=True,
        private=place.is_private,
    )
    plan = replace(plan, place=place, ports=ports)
    ensure_credentials(
        PkiPaths(plan.paths.pki, plan.paths.passphrase),
        cluster="default",
        cluster_id=ID,
        sans=(place.address,),
        now=utc_now(),
    )
    write_instance(instance_of(plan, Phase.RUNNING))
    return plan, lock(plan.paths.supervisor_lock, wait=0)


@pytest.fixture
def head(home: Path) -> Iterator[LaunchPlan]:
    plan, running = up(home)
    with running:
        yield plan


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_string_alone_is_data(head: LaunchPlan, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["join-token", "create"]) == 0

    out, err = capsys.readouterr()
    string = parse_join_string(out)
    assert out.count("\n") == 1
    assert "secure-ray up --join -" in err
    assert out.strip() not in err
    assert string.heads == (Endpoint("10.0.0.5", head.ports.port("nodes")),)
    assert string.cluster_id == head.cluster_id
    assert string.pins == read_pins(head.certificates / "ca.crt")
    left = string.expires - utc_now()
    assert timedelta(minutes=29) < left <= timedelta(minutes=30)


def test_rules_that_nobody_follows_are_told_of(
    head: LaunchPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["join-token", "create"])
    assert "once it is in the rules" not in capsys.readouterr().err
    note_printed(head.paths, ())

    main(["join-token", "create"])

    assert "once it is in the rules" in capsys.readouterr().err


def test_a_program_gets_the_same(head: LaunchPlan, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["join-token", "create", "--json", "--node", "gpu-1", "--ttl", "2h"]) == 0

    data = said(capsys)
    assert data["schema"] == "secure-ray/join-token-create/1"
    assert parse_join_string(data["join_string"]).id == data["id"]
    assert data["command"] == "secure-ray up --join - --name gpu-1"
    assert data["heads"] == [f"10.0.0.5:{head.ports.port('nodes')}"]


@pytest.mark.usefixtures("head")
@pytest.mark.parametrize(
    "options",
    [
        ["--ttl", "0m"],
        ["--ttl", "25h"],
        ["--ttl", "soon"],
        ["--ttl", "1d"],
        ["--ttl", "-5m"],
        ["--ttl", "999999h"],
        ["--uses", "0"],
        ["--node", "W 1"],
        ["--node", "w1", "--uses", "2"],
    ],
    ids=" ".join,
)
def test_options_out_of_bounds(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["join-token", "create", *options]) == 2
    assert "SR-JOIN-041" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "cause"),
    [
        (head_at("127.0.0.1"), "for this host alone"),
        (Place("w1", "10.0.0.7", "10.0.0.5"), "nodes join at the head (10.0.0.5)"),
    ],
)
def test_only_a_head_that_others_reach_lets_them_in(
    home: Path, place: Place, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, running = up(home, place)
    with running:
        assert main(["join-token", "create"]) == 4

    out, err = capsys.readouterr()
    assert "SR-JOIN-040" in err
    assert cause in err
    assert out == ""


def test_a_head_that_does_not_run_lets_nobody_in(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    up(home)

    assert main(["join-token", "create"]) == 4
    assert "SR-STATE-004" in capsys.readouterr().err


@pytest.mark.usefixtures("head")
def test_the_list_has_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    main(["join-token", "create", "--uses", "3"])
    string = parse_join_string(capsys.readouterr().out)

    assert main(["join-token", "list"]) == 0
    text = capsys.readouterr().out
    assert main(["join-token", "list", "--json"]) == 0
    data = capsys.readouterr().out

    for shown in (text, data):
        assert string.id in shown
        assert string.secret.reveal() not in shown
        assert string.text().reveal()[14:40] not in shown
    assert "0/3" in text
    (entry,) = json.loads(data)["tokens"]
    assert (entry["state"], entry["uses"], entry["used_by"]) == ("open", 3, [])


def test_a_revoked_token_is_listed_as_such(
    head: LaunchPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["join-token", "create"])
    token = parse_join_string(capsys.readouterr().out).id

    assert main(["join-token", "revoke", token]) == 0
    capsys.readouterr()
    main(["join-token", "list", "--json"])

    assert said(capsys)["tokens"][0]["state"] == "revoked"
    with open_register(head.paths.directory).reading() as database:
        assert list_tokens(database)[0].state.revoked is not None


def test_an_expired_token_is_listed_as_such(
    head: LaunchPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_register(head.paths.directory).changing() as database:
        make_token(
            database,
            TokenOrder(ttl=timedelta(minutes=1), uses=1, node="", maker="alice"),
            cluster_id=ID,
            pins=(bytes(32),),
            heads=(Endpoint("10.0.0.5", 1),),
            now=utc_now() - timedelta(hours=1),
        )

    main(["join-token", "list"])

    assert "expired" in capsys.readouterr().out


@pytest.mark.parametrize("made", [False, True])
def test_a_token_that_is_not_there(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    made: bool,  # noqa: FBT001
) -> None:
    if made:
        up(home)
        open_register(home / "clusters" / "default")
    assert main(["join-token", "revoke", "zzzzzzzz"]) == 4
    assert "SR-JOIN-042" in capsys.readouterr().err


def test_nothing_to_list_makes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["join-token", "list"]) == 0
    assert "there are no join tokens" in capsys.readouterr().err
    assert list(home.iterdir()) == []

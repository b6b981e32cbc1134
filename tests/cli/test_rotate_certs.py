"""`certs` and `rotate-certs` of a cluster without Ray, whose ports and register are real."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.cli import rotate_certs
from secure_ray.cli.main import main
from secure_ray.gateway.nodes.members import revoke_member
from secure_ray.node.ray_nodes import Work
from secure_ray.pki import rotation as steps
from secure_ray.policy.store import StoreKind
from secure_ray.rotation import risk
from support.fleet import Fleet, utc_now
from support.plans import private_plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Running:
    def __init__(self, fleet: Fleet) -> None:
        self.plan = fleet.plan


@pytest.fixture
def fleet(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    made = Fleet(home)
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))
    monkeypatch.setattr("secure_ray.node.instance.require_running", lambda _paths: Running(made))
    monkeypatch.setattr(risk, "list_work", lambda _environment: ())
    yield made
    made.close()


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    assert main([*words, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# What is shown.


def test_check_tells_each_node_and_what_mends_it(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = fleet.workers[0]
    before = worker.serial()
    worker.renew(fleet)
    fleet.turn()

    data = told(capsys, "certs", "check")

    first, second, head = data["nodes"]
    assert (data["schema"], data["status"]) == ("secure-ray/certs-check/1", "ok")
    assert (first["disk_serial"], [*first["live"]]) == (worker.serial(), [before])
    assert [one["restart_due"] for one in (first, second, head)] == [True, False, False]
    assert first["next"] == "renewed on disk; live with Ray's next start"
    assert set(first) == set(head) == {
        "name", "address", "state", "disk_serial", "disk_expires", "live", "restart_due",
        "status", "next", "fix",
    }  # fmt: skip


@pytest.mark.usefixtures("fleet")
def test_metrics_are_in_the_text_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certs", "check", "--format", "prometheus"]) == 0

    name = "secure_ray_cert_expiry_seconds"
    first, second, *lines = capsys.readouterr().out.splitlines()
    assert first == f"# HELP {name} Seconds until the certificate ends."
    assert second == f"# TYPE {name} gauge"
    assert [line.rsplit(" ", 1)[0] for line in lines] == [
        f'{name}{{node="{node}",cert="ray",where="{where}"}}'
        for node in ("w1", "w2", "head")
        for where in ("disk", "live")
    ]
    assert all(line.rsplit(" ", 1)[1].isdecimal() for line in lines)


def test_show_tells_both_authorities_and_every_port(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    steps.begin_root(fleet.pki, fleet.owner, now=utc_now())

    data = told(capsys, "certs", "show")

    assert data["authority"]["stage"] == "bridged"
    assert data["authority"]["old"]["pin"] == fleet.root != data["authority"]["new"]["pin"]
    assert {name: len(ports) for name, ports in data["ports"].items()} == {
        "w1": 1, "w2": 1, "head": 2,
    }  # fmt: skip
    assert main(["certs", "show"]) == 0
    text = capsys.readouterr().out
    assert "rotation of the root CA: bridged" in text
    assert f"new root CA  SHA256:{data['authority']['new']['pin'][:16]}" in text
    assert fleet.workers[0].serial()[:16] in text
    assert "PRIVATE" not in text + json.dumps(data)


# What would be done.


@pytest.mark.parametrize(
    ("options", "restarts"),
    [
        ([], [1, 1, 1]),
        (["--ca", "issuing"], [1, 1, 1]),
        (["--ca", "root"], [2, 2, 2]),
        (["--ca", "root", "--exclude", "w2"], [2, 0, 2]),
    ],
)
def test_dry_run_tells_order_and_work_and_does_nothing(
    fleet: Fleet,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    restarts: list[int],
) -> None:
    work = (Work(fleet.workers[1].address, "task", "t"), Work(fleet.head.address, "driver", "d"))
    monkeypatch.setattr(risk, "list_work", lambda _environment: work)
    before = {path: path.read_bytes() for path in fleet.pki.directory.rglob("*.*")}

    data = told(capsys, "rotate-certs", "--dry-run", *options)

    assert data["schema"] == "secure-ray/rotate-certs-plan/1"
    assert [(one["node"], one["work"]) for one in data["nodes"]] == [
        ("w1", ""), ("w2", "1 task"), ("head", "1 driver"),
    ]  # fmt: skip
    assert [one["restarts"] for one in data["nodes"]] == restarts
    assert before == {path: path.read_bytes() for path in fleet.pki.directory.rglob("*.*")}
    assert fleet.orders() == [(), ()]
    assert main(["rotate-certs", "--dry-run", *options]) == 0
    assert "in this order; nothing was changed" in capsys.readouterr().out


# What is refused.


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("name", ["w7", "head", ""])
def test_node_that_is_not_there_cannot_be_left_out(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], name: str, *, dry_run: bool
) -> None:
    """A slip of the pen would restart the very node that was to be spared."""
    options = ["--exclude", "w1", "--exclude", name, *(["--dry-run"] if dry_run else [])]

    data = told(capsys, "rotate-certs", *options, code=4)

    assert data["code"] == "SR-JOIN-043"
    assert [node.starts for node in (*fleet.workers, fleet.head)] == [1, 1, 1]


def test_node_that_was_revoked_cannot_be_left_out(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    with fleet.register.changing() as database:
        revoke_member(database, "w2", utc_now())

    assert told(capsys, "rotate-certs", "--exclude", "w2", code=4)["code"] == "SR-JOIN-043"


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    "options",
    [
        ["--drain-timeout", "soon"],
        ["--drain-timeout", "-1s"],
        ["--max-unavailable", "0"],
        ["--max-unavailable", "65"],
        ["--ca", "leaf"],
    ],
)
def test_options_that_mean_nothing(options: list[str]) -> None:
    assert main(["rotate-certs", *options]) == 2


@pytest.mark.usefixtures("fleet")
def test_nothing_to_roll_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "rotate-certs", "--rollback", code=4)["code"] == "SR-ROT-005"


@pytest.mark.usefixtures("fleet")
def test_lock_of_something_else_is_not_taken_for_another_rotation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_given: object, **_more: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(rotate_certs, "_run", fail)

    main(["rotate-certs", "--json"])

    assert "SR-ROT-007" not in capsys.readouterr().out


# What is done.


def test_cluster_is_rotated_and_each_step_is_told(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def restart(*_given: object) -> None:
        fleet.head.end()
        fleet.head.start()

    monkeypatch.setattr("secure_ray.rotation.roll.drain", lambda *_given, **_more: True)
    monkeypatch.setattr("secure_ray.rotation.rotate.restart", restart)
    real = rotate_certs._rotation

    def rotation(*given: Any, **named: Any) -> Any:
        made = real(*given, **named)
        object.__setattr__(made.roller, "sleep", fleet.turn)
        return made

    monkeypatch.setattr(rotate_certs, "_rotation", rotation)

    data = told(capsys, "rotate-certs", "--ca", "root", "--accept-head-restart")

    assert data["steps"][0] == "a new root CA, vouched for by the old one"
    assert data["steps"].count("head: done") == 2
    assert "every node of cluster" not in json.dumps(data)


@pytest.mark.parametrize(
    ("store", "at_head", "elsewhere", "idle"),
    [
        (StoreKind.MEMORY, False, False, True),
        (StoreKind.MEMORY, True, False, False),
        (StoreKind.MEMORY, False, True, False),  # every actor ends with a head without a store
        (StoreKind.ROCKSDB, False, True, True),
        (StoreKind.ROCKSDB, True, False, False),
        (StoreKind.REDIS, False, True, True),
    ],
)
def test_head_restarts_unasked_only_where_no_work_ends_with_it(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: StoreKind,
    *,
    at_head: bool,
    elsewhere: bool,
    idle: bool,
) -> None:
    plan = replace(private_plan(home), store=store)
    work = [Work(plan.place.address, "actor", "a")] * at_head
    work += [Work("10.77.0.9", "actor", "a")] * elsewhere
    monkeypatch.setattr(risk, "list_work", lambda _environment: tuple(work))

    assert rotate_certs._is_idle(plan) == idle


def test_head_that_cannot_tell_its_work_is_not_idle(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_environment: object) -> None:
        raise FailedError("SR-RAY-030", "no answer", fix="-")

    monkeypatch.setattr(risk, "list_work", fail)

    assert not rotate_certs._is_idle(private_plan(home))

"""What `firewall` prints, to whom, and that it asks for root."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from secure_ray.cli.main import main
from secure_ray.node.instance import write_instance
from secure_ray.node.neighbours import printed_rules
from secure_ray.node.place import Place, head_at
from secure_ray.policy.ports import plan_ports
from support.plans import instance_of, make_directories, plan_of

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan


@pytest.fixture(autouse=True)
def state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))


def record(home: Path, *, worker: bool = False) -> LaunchPlan:
    """A private cluster that runs here; loopback stands in for its network."""
    ports = plan_ports(20480, fixed={}, workers=None, metrics=False, dashboard=True, private=True)
    place = Place("w1", "127.0.0.1", "10.0.0.5") if worker else head_at("127.0.0.1")
    plan = replace(
        make_directories(plan_of(home)),
        ports=ports.for_worker() if worker else ports,
        place=place,
    )
    write_instance(instance_of(plan))
    return plan


@pytest.mark.parametrize("started", [True, False])
def test_local_mode_has_nothing_to_open(
    home: Path, capsys: pytest.CaptureFixture[str], *, started: bool
) -> None:
    if started:
        write_instance(instance_of(make_directories(plan_of(home))))

    assert main(["firewall", "show", "--user", "1234"]) == 0

    out, err = capsys.readouterr()
    assert "nothing to open" in err
    assert "meta skuid 1234 ip daddr" in out
    assert "chain input" not in out
    assert "\\t" not in out


def test_rules_that_nobody_follows_are_remembered(home: Path) -> None:
    plan = record(home)
    assert printed_rules(plan.paths) is None

    assert main(["firewall", "show", "--peer", "10.0.0.7"]) == 0

    assert printed_rules(plan.paths) == ("10.0.0.7",)


def test_private_cluster(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(home)
    given = ["--peer", "10.0.0.6", "--peer", "fd00::6", "--join-from", "10.0.0.0/24"]

    assert main(["firewall", "show", "--user", "1234", *given]) == 0
    rules, err = capsys.readouterr()
    assert main(["firewall", "apply", "--dry-run", "--user", "1234", *given]) == 0
    assert capsys.readouterr().out == rules
    assert main(["firewall", "show", "--json", "--user", "1234", *given]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert main(["firewall", "show", "--iptables", "--user", "1234", *given]) == 0
    script = capsys.readouterr().out
    assert main(["firewall", "remove", "--iptables", "--user", "1234"]) == 0
    chain = re.search(r"SECURE-RAY-\w+-INPUT", script)

    assert chain is not None
    assert f"iptables -X {chain.group()};" in capsys.readouterr().out
    assert err == ""
    assert "ip saddr { 10.0.0.6 } tcp dport { 20480," in rules
    assert facts["schema"] == "secure-ray/firewall/1"
    assert facts["nft"] == rules
    assert facts["iptables"] == script
    assert facts["table"] == "secure_ray_default_1234"
    assert (facts["peers"], facts["joining"]) == (["10.0.0.6", "fd00::6"], ["10.0.0.0/24"])


def test_worker_knows_its_head(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(home, worker=True)

    assert main(["firewall", "show", "--join-from", "10.0.0.0/24"]) == 0

    assert "ip saddr { 10.0.0.5 } tcp dport" in capsys.readouterr().out


def test_head_without_peers_is_warned(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(home)

    assert main(["firewall", "show", "--join-from", "10.0.0.0/24"]) == 0

    assert "--peer" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["apply", "check", "remove"])
def test_only_root_touches_the_kernel(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("secure_ray.network.nft.os.geteuid", lambda: 1000)

    assert main(["firewall", command, "--json", "--user", "1234"]) == 4

    error = json.loads(capsys.readouterr().out)
    assert error["code"] == "SR-FW-001"
    assert "sudo" in error["fix"]


def test_without_root_the_rules_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_ray.network.nft.os.geteuid", lambda: 1000)

    assert main(["firewall", "show"]) == 0
    assert main(["firewall", "apply", "--dry-run"]) == 0
    assert main(["firewall", "remove", "--dry-run", "--user", "1234"]) == 0

    assert "delete table inet secure_ray_default_1234" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "--user", "no-such-user"], "SR-FW-006"),
        (["show", "--user", "4294967295"], "SR-FW-006"),
        (["check", "--rules", "no-such-file"], "SR-FW-007"),
        (["check", "--rules", "-"], "SR-FW-007"),
    ],
)
def test_what_is_wrong_is_told(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("flush ruleset\n"))

    assert main(["firewall", *arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["code"] == code

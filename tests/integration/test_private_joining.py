"""Each way in which joining goes wrong: named, with a way out, and nothing lost by it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.clock import utc_now
from secure_ray.gateway.nodes.register import open_register
from secure_ray.gateway.nodes.tokens import TokenOrder, make_token
from secure_ray.pki.join_string import Endpoint, parse_join_string
from support.fabric import fabric
from support.private import PrivateCluster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.ray, pytest.mark.root]

LIMIT = 30.0  # seconds in which whatever goes wrong is told
# The command line on a host whose clock is wrong.
_SKEWED = """
import sys
from datetime import timedelta
from secure_ray.base import clock
now, ahead = clock.utc_now, timedelta(seconds=int(sys.argv.pop(1)))
clock.utc_now = lambda: now() + ahead
from secure_ray.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def home(request: pytest.FixtureRequest) -> str:
    """The name of a home that no test had before, for the host that has not joined."""
    return f"n{abs(hash(request.node.name)) % 10**8}"


def of_before(private: PrivateCluster) -> str:
    """A string whose token has expired."""
    known = parse_join_string(private.invite())
    order = TokenOrder(ttl=timedelta(minutes=30), uses=1, node="", maker="test")
    with open_register(private.head.cluster_directory()).changing() as database:
        return (
            make_token(
                database,
                order,
                cluster_id=known.cluster_id,
                pins=known.pins,
                heads=known.heads,
                now=utc_now() - timedelta(hours=1),
            )
            .text()
            .reveal()
        )


def revoked(private: PrivateCluster) -> str:
    text = private.invite()
    result = private.head.run("join-token", "revoke", parse_join_string(text).id)
    assert result.returncode == 0, result.stderr
    return text


def a_letter_lost(private: PrivateCluster) -> str:
    text = private.invite()
    return text[:40] + text[41:]


def at_closed_port(private: PrivateCluster) -> str:
    return private.invite_altered(heads=(Endpoint(private.host("head").address, 9),))


def with_other_pin(private: PrivateCluster) -> str:
    return private.invite_altered(pins=(secrets.token_bytes(32),))


FAILURES: dict[str, tuple[Callable[[PrivateCluster], str], str, int]] = {
    "nothing": (lambda _: "", "SR-JOIN-001", 2),
    "cut short": (lambda private: private.invite()[:12], "SR-JOIN-002", 2),
    "a letter lost": (a_letter_lost, "SR-JOIN-003", 2),
    "a user's token": (lambda _: "SRU1-abcdefgh-x-000000", "SR-JOIN-004", 2),
    "used": (lambda private: private.strings["w1"], "SR-JOIN-011", 7),
    "expired": (of_before, "SR-JOIN-010", 7),
    "revoked": (revoked, "SR-JOIN-012", 7),
    "unknown": (
        lambda private: private.invite_altered(id="aaaaaaaa"),
        "SR-JOIN-013",
        7,
    ),
    "for another node": (lambda private: private.invite("--node", "other"), "SR-JOIN-015", 7),
    "head down": (at_closed_port, "SR-JOIN-031", 4),
    "another cluster's": (with_other_pin, "SR-JOIN-030", 7),
}


def require_told(result: subprocess.CompletedProcess[str], code: str, exit_code: int) -> None:
    """One error with a way out, in words and nothing else; and no secret in it."""
    assert result.returncode == exit_code, result.stderr
    error = json.loads(result.stdout)
    assert (error["code"], error["exit_code"]) == (code, exit_code), result.stderr
    assert error["cause"]
    assert error["fix"]
    assert result.stderr.count("error ") == 1, result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("failure", FAILURES)
def test_failure_is_named_and_leaves_nothing(
    private: PrivateCluster, home: str, failure: str
) -> None:
    make, code, exit_code = FAILURES[failure]
    string = make(private)
    began = time.monotonic()

    result = private.join_with("newcomer", string, "--json", home=home)

    assert time.monotonic() - began < LIMIT
    require_told(result, code, exit_code)
    assert private.machine("newcomer", home).status()["state"] == "none"
    assert left(private, home) <= {"pki/join.key", "cluster.json"}
    if string.startswith("SRJ1") and code not in {"SR-JOIN-002", "SR-JOIN-003"}:
        secret = parse_join_string(string).secret.reveal()
        assert secret not in result.stdout + result.stderr


def left(private: PrivateCluster, home: str) -> set[str]:
    """Files of the cluster that are there, locks left out."""
    directory = private.machine("newcomer", home).cluster_directory()
    return {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and not path.name.endswith("lock")
    }


def test_taken_name_is_refused(private: PrivateCluster, home: str) -> None:
    machine = private.machine("newcomer", home)

    result = machine.run(*("up", "--join", "-", "--name", "w1", "--json"), text=private.invite())

    require_told(result, "SR-JOIN-014", 7)


def test_silent_head_is_given_up_in_time(private: PrivateCluster, home: str) -> None:
    string = private.invite()
    began = time.monotonic()

    with private.swallowing("newcomer"):
        result = private.join_with("newcomer", string, "--json", home=home)

    assert time.monotonic() - began < LIMIT
    require_told(result, "SR-JOIN-031", 4)
    assert private.join_with("newcomer", string[:-9], home=home).returncode == 2


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_wrong_clock_is_named(private: PrivateCluster, home: str, seconds: int) -> None:
    machine = private.machine("newcomer", home)
    arguments = ["up", "--join", "-", "--name", "newcomer", "--json"]
    result = subprocess.run(
        [*machine.prefix, sys.executable, "-c", _SKEWED, str(seconds), *arguments],
        env=machine.environment(),
        cwd=machine.home,
        input=private.invite(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert json.loads(result.stdout)["code"] in {"SR-JOIN-016", "SR-JOIN-028"}, result.stderr
    assert result.returncode in {4, 7}
    assert "timedatectl" in json.loads(result.stdout)["fix"]


def test_several_private_addresses_are_not_guessed_between(tmp_path: Path) -> None:
    with fabric(("head",)) as network:
        cluster = PrivateCluster(network, tmp_path)
        host = cluster.host("head")
        ip = ("ip", "link")
        for device, address in (("one", "192.168.7.1/24"), ("two", "172.20.7.2/24")):
            peer = f"{device}-end"
            host.run(*ip, "add", device, "type", "veth", "peer", "name", peer)
            host.run("ip", "address", "add", address, "dev", device)
            host.run(*ip, "set", device, "up")
            host.run(*ip, "set", peer, "up")

        result = cluster.head.run("up", "--head", "--bind", "private", "--dry-run")
        chosen = cluster.head.run("up", "--head", "--bind", "172.20.7.2", "--dry-run")

    assert result.returncode == 2, result.stderr
    assert "SR-BIND-004" in result.stderr
    for address in ("10.77.0.1", "192.168.7.1", "172.20.7.2"):
        assert address in result.stderr
        assert f"--bind {address}" in result.stderr
    assert chosen.returncode == 0, chosen.stderr
    assert "172.20.7.2" in chosen.stdout

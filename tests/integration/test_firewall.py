"""The firewall's rules in the kernel: who gets through, and that nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.policy.firewall import nft_removal, nft_rules, plan_firewall
from secure_ray.policy.iptables import iptables_removal, iptables_rules
from secure_ray.policy.ports import plan_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.root

NODE, NODE_6 = "10.77.0.1", "fd77::1"
PEER, PEER_6 = "10.77.0.2", "fd77::2"
OUTSIDER, OUTSIDER_6 = "10.77.0.3", "fd77::3"
STRANGER = "10.78.0.3"  # reaches the node, from another network
METADATA = "169.254.169.254"
RAY, OTHER = 20123, 20124
PORTS = plan_ports(20480, fixed={}, workers=None, metrics=True, dashboard=True, private=True)
STORE, DASHBOARD, DOOR = PORTS.port("gcs"), PORTS.port("dashboard"), PORTS.port("nodes")
WORKER, FOREIGN = PORTS.first_worker, 9000
PLAN = plan_firewall(
    "default", PORTS, uid=RAY, peers=(PEER, PEER_6), joining=("10.77.0.0/24", "fd77::/64")
)
RULES = nft_rules(PLAN)
FOREIGN_RULES = """
table inet foreign {
    chain input {
        type filter hook input priority filter; policy accept;
        tcp dport 9001 drop
        counter
    }
}
table ip secure_ray_other_1 {
    set kept {
        type ipv4_addr
        elements = { 192.0.2.1 }
    }
}
"""

# Listens on every address, as Ray does without a guard, until its input ends.
_SERVERS = """
import json, socket, sys
servers = [
    socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    for port in json.loads(sys.argv[1])
]
print("ready", flush=True)
sys.stdin.read()
"""
# Connects as a user, from an address, to places; all at once. Says "open", or the error's name.
_KNOCK = """
import errno, json, os, selectors, socket, sys, time
wish = json.loads(sys.argv[1])
if wish["uid"]:
    os.setuid(wish["uid"])
attempts, answers, waiting = {}, [None] * len(wish["places"]), selectors.DefaultSelector()
for number, (address, port) in enumerate(wish["places"]):
    attempt = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    attempt.setblocking(False)
    if wish["source"]:
        attempt.bind((wish["source"], 0))
    code = attempt.connect_ex((address, port))
    if code == errno.EINPROGRESS:
        waiting.register(attempt, selectors.EVENT_WRITE, number)
    else:
        answers[number] = errno.errorcode[code] if code else "open"
deadline = time.monotonic() + wish["patience"]
while waiting.get_map() and (left := deadline - time.monotonic()) > 0:
    for key, _ in waiting.select(left):
        code = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        answers[key.data] = errno.errorcode[code] if code else "open"
        waiting.unregister(key.fileobj)
print(json.dumps([answer or "silence" for answer in answers]))
"""


@dataclass(frozen=True)
class Host:
    """A network namespace."""

    name: str

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    def run(self, *command: str, text: str = "", check: bool = True) -> str:
        return subprocess.run(
            [*self.prefix, *command],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        ).stdout

    def ip(self, words: str) -> None:
        _run(["ip", "-n", self.name, *words.split()])

    def nft(self, rules: str) -> None:
        self.run("nft", "-f", "-", text=rules)

    def ruleset(self) -> str:
        return self.run("nft", "list", "ruleset")

    def knock(
        self, *places: tuple[str, int], source: str = "", uid: int = 0, patience: float = 1.5
    ) -> list[str]:
        wish = {"places": places, "source": source, "uid": uid, "patience": patience}
        answers: list[str] = json.loads(self.run(sys.executable, "-c", _KNOCK, json.dumps(wish)))
        return answers

    def call(self, function: str, *arguments: str) -> Any:
        """Call a function of `network.nft` on this host, as the command line would."""
        script = (
            "import json, sys; from secure_ray.network import nft; "
            f"print(json.dumps(nft.{function}(*sys.argv[1:])))"
        )
        return json.loads(self.run(sys.executable, "-c", script, *arguments))


@pytest.fixture
def node() -> Iterator[Host]:
    with namespace("n") as host:
        yield host


@pytest.fixture
def wire() -> Iterator[tuple[Host, Host]]:
    """The node with its servers, and a host that is now a peer, now an outsider."""
    with namespace("n") as here, namespace("p") as there:
        pid = os.getpid()
        _run(
            f"ip link add fwa{pid} netns {here.name} type veth"
            f" peer name fwb{pid} netns {there.name}".split()
        )
        configure(here, f"fwa{pid}", f"{NODE}/24", f"{NODE_6}/64")
        theirs = (f"{PEER}/24", f"{PEER_6}/64", f"{OUTSIDER}/24", f"{OUTSIDER_6}/64")
        configure(there, f"fwb{pid}", *theirs)
        there.ip(f"address add {STRANGER}/32 dev fwb{pid}")
        there.ip(f"address add {METADATA}/32 dev fwb{pid}")
        here.ip(f"route add 10.78.0.0/24 dev fwa{pid}")
        here.ip(f"route add {METADATA}/32 dev fwa{pid}")
        with (
            serving(here, STORE, DASHBOARD, DOOR, WORKER, PORTS.last_worker, FOREIGN),
            serving(there, 80, 53),
        ):
            yield here, there


def configure(host: Host, device: str, *addresses: str) -> None:
    for address in addresses:
        host.ip(f"address add {address} dev {device}{' nodad' if ':' in address else ''}")
    host.ip(f"link set {device} up")


@contextmanager
def namespace(letter: str) -> Iterator[Host]:
    host = Host(f"srfw{os.getpid()}{letter}")
    _run(["ip", "netns", "add", host.name])
    try:
        host.ip("link set lo up")
        yield host
    finally:
        _run(["ip", "netns", "delete", host.name])


@contextmanager
def serving(host: Host, *ports: int) -> Iterator[None]:
    with subprocess.Popen(
        [*host.prefix, sys.executable, "-c", _SERVERS, json.dumps(ports)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as servers:
        assert servers.stdout is not None
        assert servers.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            servers.kill()


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, capture_output=True, timeout=60, check=True)


def test_without_rules_everybody_gets_through(wire: tuple[Host, Host]) -> None:
    """The other tests would prove nothing if this did not hold."""
    here, there = wire
    places = [(NODE, STORE), (NODE, DASHBOARD), (NODE, WORKER), (NODE, FOREIGN)]

    assert there.knock(*places, source=OUTSIDER) == ["open"] * 4
    assert there.knock((NODE, DOOR), source=STRANGER) == ["open"]
    assert there.knock((NODE_6, STORE), source=OUTSIDER_6) == ["open"]
    assert here.knock((METADATA, 80), (METADATA, 53), uid=RAY) == ["open"] * 2


def test_peers_reach_the_cluster_and_outsiders_do_not(wire: tuple[Host, Host]) -> None:
    here, there = wire
    here.nft(FOREIGN_RULES)
    here.call("apply_rules", RULES)
    cluster = [STORE, WORKER, PORTS.last_worker]

    assert there.knock(*((NODE, port) for port in cluster), source=PEER) == ["open"] * 3
    assert there.knock(*((NODE_6, port) for port in cluster), source=PEER_6) == ["open"] * 3
    assert there.knock(*((NODE, port) for port in cluster), source=OUTSIDER) == ["silence"] * 3
    assert there.knock(*((NODE_6, port) for port in cluster), source=OUTSIDER_6) == ["silence"] * 3
    # Plain HTTP is closed to peers too: it goes through the relay.
    assert there.knock((NODE, DASHBOARD), source=PEER) == ["silence"]
    # What is not the cluster's is not touched.
    assert there.knock((NODE, FOREIGN), (NODE, 9002), source=OUTSIDER) == ["open", "ECONNREFUSED"]
    # The host itself reaches all of it, by each of its addresses.
    own = [
        (address, port) for address in (NODE, NODE_6, "127.0.0.1") for port in (STORE, DASHBOARD)
    ]
    assert here.knock(*own) == ["open"] * 6


def test_door_is_open_to_the_network_of_the_cluster_for_a_while(wire: tuple[Host, Host]) -> None:
    here, there = wire
    here.call("apply_rules", RULES)

    answers = there.knock(*[(NODE, DOOR)] * 60, source=OUTSIDER, patience=0.5)

    assert "open" in answers
    assert "silence" in answers
    assert there.knock((NODE, DOOR), source=STRANGER) == ["silence"]
    assert there.knock((NODE_6, DOOR), source=OUTSIDER_6) == ["open"]
    # A peer is known, and is not slowed down by others.
    assert there.knock(*[(NODE, DOOR)] * 60, source=PEER) == ["open"] * 60


def test_what_the_node_asks_for_comes_back(wire: tuple[Host, Host]) -> None:
    """Also where its own port happens to be one of the cluster's."""
    here, _ = wire
    here.run("sysctl", "-qw", f"net.ipv4.ip_local_port_range={WORKER} {WORKER + 200}")
    here.call("apply_rules", RULES)

    assert here.knock(*[(OUTSIDER, 80)] * 5) == ["open"] * 5


def test_metadata_is_closed_to_ray_alone(wire: tuple[Host, Host]) -> None:
    here, _ = wire
    here.call("apply_rules", RULES)

    assert here.knock((METADATA, 80), uid=RAY) == ["ECONNREFUSED"]
    assert here.knock((METADATA, 53), (PEER, 80), uid=RAY) == ["open"] * 2
    assert here.knock((METADATA, 80), uid=OTHER) == ["open"]


def test_check_tells_the_plan_from_what_is_there(wire: tuple[Host, Host]) -> None:
    here, there = wire
    assert len(here.call("differences", RULES)) > 10

    here.call("apply_rules", RULES)
    there.knock((NODE, DOOR), source=OUTSIDER)  # what a set has learnt is no difference
    assert "elements" in here.run("nft", "list", "table", "inet", PLAN.table)
    assert here.call("differences", RULES) == []

    here.run("nft", "insert", "rule", "inet", PLAN.table, "input", "tcp", "dport", "1", "accept")
    assert [line.split() for line in here.call("differences", RULES)] == [
        ["+", "tcp", "dport", "1", "accept"]
    ]

    here.call("apply_rules", RULES)
    fewer = nft_rules(plan_firewall("default", PORTS, uid=RAY, peers=(PEER,)))
    assert here.call("differences", fewer) != []
    assert here.call("differences", RULES) == []


def test_removed_without_a_trace(node: Host) -> None:
    node.nft(FOREIGN_RULES)
    before = node.ruleset()

    node.call("apply_rules", RULES)
    node.call("apply_rules", RULES)
    during = node.ruleset()

    assert during.startswith(before)
    assert during.count(f"table inet {PLAN.table}") == 1
    assert node.call("remove_table", PLAN.table, nft_removal(PLAN.table)) is True
    assert node.ruleset() == before
    assert node.call("remove_table", PLAN.table, nft_removal(PLAN.table)) is False


def test_rules_that_are_not_taken_change_nothing(node: Host) -> None:
    node.call("apply_rules", RULES)
    before = node.ruleset()
    broken = RULES.replace("reject with tcp reset", "reject with nonsense")

    failed = subprocess.run(
        [*node.prefix, "nft", "-f", "-"], input=broken, text=True, capture_output=True, check=False
    )

    assert failed.returncode != 0
    assert node.ruleset() == before


def test_killed_half_way_the_table_is_whole_or_as_before(node: Host) -> None:
    many = nft_rules(
        plan_firewall(
            "default", PORTS, uid=RAY, peers=[f"10.1.{n // 250}.{n % 250}" for n in range(5000)]
        )
    )
    node.call("apply_rules", RULES)
    old = node.call("live_rules", PLAN.table)
    for round_ in range(10):
        with subprocess.Popen(
            [*node.prefix, "nft", "-f", "-"], stdin=subprocess.PIPE, text=True
        ) as nft:
            assert nft.stdin is not None
            nft.stdin.write(many)
            nft.stdin.close()
            # No event tells how far it is, so it is met at another place each time.
            with suppress(subprocess.TimeoutExpired):
                nft.wait(round_ / 100)
            nft.kill()
        assert node.call("live_rules", PLAN.table) == old or not node.call("differences", many)
        node.call("apply_rules", RULES)


def test_two_at_once_both_succeed_and_one_of_them_holds(node: Host) -> None:
    node.nft(FOREIGN_RULES)
    other = nft_rules(plan_firewall("default", PORTS, uid=RAY, peers=(OUTSIDER,)))
    elsewhere = nft_rules(plan_firewall("other", PORTS, uid=RAY, peers=(OUTSIDER,)))
    script = "import sys; from secure_ray.network import nft; nft.apply_rules(sys.argv[1])"
    for _ in range(5):
        applying = [
            subprocess.Popen([*node.prefix, sys.executable, "-c", script, rules])
            for rules in (RULES, other, elsewhere)
        ]
        assert [process.wait(60) for process in applying] == [0, 0, 0]
        found = [node.call("differences", rules) for rules in (RULES, other, elsewhere)]
        assert [] in found[:2]
        assert found[2] == []


@pytest.mark.skipif(shutil.which("iptables") is None, reason="no iptables here")
def test_iptables_says_the_same_and_is_removed_without_a_trace(wire: tuple[Host, Host]) -> None:
    here, there = wire
    here.run("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "9001", "-j", "DROP")

    def saved() -> list[str]:
        text = here.run("iptables-save") + here.run("ip6tables-save")
        return [line for line in text.splitlines() if line.startswith("-A")]

    before = saved()
    for _ in range(2):
        here.run("sh", "-e", text=iptables_rules(PLAN))

    places = [(NODE, STORE), (NODE, WORKER), (NODE, DASHBOARD), (NODE, FOREIGN)]
    assert there.knock(*places, source=PEER) == ["open", "open", "silence", "open"]
    assert there.knock(*places, source=OUTSIDER) == [*["silence"] * 3, "open"]
    assert there.knock((NODE_6, STORE), source=PEER_6) == ["open"]
    assert there.knock((NODE_6, STORE), source=OUTSIDER_6) == ["silence"]
    assert there.knock((NODE, DOOR), source=OUTSIDER) == ["open"]
    assert here.knock((METADATA, 80), (METADATA, 53), uid=RAY) == ["ECONNREFUSED", "open"]
    assert here.knock((METADATA, 80), uid=OTHER) == ["open"]

    here.run("sh", "-e", text=iptables_removal(PLAN.table))
    assert saved() == before


def test_command_line(node: Host, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("state")
    program = [sys.executable, "-m", "secure_ray.cli.main"]
    environment = {**os.environ, "SECURE_RAY_HOME": str(home)}

    def firewall(*arguments: str, text: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [*node.prefix, *program, "firewall", *arguments, "--user", str(RAY)],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment,
        )
        return done.returncode, done.stdout

    before = node.ruleset()
    assert firewall("check")[0] == 1
    assert firewall("apply") == (0, "")
    assert firewall("apply") == (0, "")
    assert firewall("check") == (0, "")
    code, rules = firewall("show")
    assert (code, firewall("check", "--rules", "-", text=rules)[0]) == (0, 0)
    assert node.ruleset() != before
    assert firewall("remove", "--dry-run")[0] == 0
    assert firewall("check")[0] == 0
    assert firewall("remove") == (0, "")
    assert node.ruleset() == before

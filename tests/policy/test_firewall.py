"""The rules say what the plan says, and nothing of what a user types gets into them unread."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.errors import UsageError
from secure_ray.policy.firewall import (
    METADATA,
    FirewallPlan,
    join_networks,
    nft_removal,
    nft_rules,
    plan_firewall,
    table_name,
)
from secure_ray.policy.iptables import iptables_removal, iptables_rules
from secure_ray.policy.ports import PortPlan, plan_ports

ALL_OPENED = "{ 20480, 20482, 20483, 20484, 20490, 20491, 20512-21503 }"
NETWORK = "10.0.0.0/24"
KNOCK = "ip saddr { 10.0.0.0/24 } tcp dport 20490 ct state"
METADATA_4 = "{ 169.254.169.254, 169.254.170.2, 169.254.170.23, 100.100.100.200 }"
METADATA_6 = "{ fd00:ec2::254, fd00:ec2::23, fd20:ce::254, fe80::a9fe:a9fe }"


def ports(*, private: bool = True) -> PortPlan:
    return plan_ports(20480, fixed={}, workers=None, metrics=True, dashboard=True, private=private)


def plan(of: PortPlan | None = None, **more: Any) -> FirewallPlan:
    given_: dict[str, Any] = {"uid": 1000, "peers": ("10.0.0.6",), "joining": (NETWORK,)} | more
    return plan_firewall("default", of or ports(), **given_)


def lines(rules: str) -> list[str]:
    return [line.strip() for line in rules.splitlines()]


def test_rules_of_a_head() -> None:
    assert lines(nft_rules(plan(peers=("10.0.0.6", "10.0.0.7", "fd00::6")))) == [
        "add table inet secure_ray_default_1000",
        "delete table inet secure_ray_default_1000",
        "table inet secure_ray_default_1000 {",
        *("set knocks4 {", "type ipv4_addr", "size 65535", "flags dynamic,timeout", "timeout 1m"),
        *("}", "set knocks6 {", "type ipv6_addr", "size 65535", "flags dynamic,timeout"),
        *("timeout 1m", "}", ""),
        "chain input {",
        "type filter hook input priority -10; policy accept;",
        'iif "lo" accept',
        "ct direction reply accept",
        "tcp dport { 20481, 20485, 20486, 20487, 20488, 20489, 20492, 20511 } drop",
        f"ip saddr {{ 10.0.0.6, 10.0.0.7 }} tcp dport {ALL_OPENED} accept",
        f"ip6 saddr {{ fd00::6 }} tcp dport {ALL_OPENED} accept",
        f"{KNOCK} established accept",
        f"{KNOCK} new update @knocks4 {{ ip saddr limit rate 10/second burst 20 packets }} accept",
        f"tcp dport {ALL_OPENED} drop",
        *("}", ""),
        "chain output {",
        "type filter hook output priority -10; policy accept;",
        f"meta skuid 1000 ip daddr {METADATA_4} tcp dport != 53 reject with tcp reset",
        f"meta skuid 1000 ip6 daddr {METADATA_6} tcp dport != 53 reject with tcp reset",
        *("}", "}"),
    ]


def test_worker_has_no_door() -> None:
    rules = nft_rules(plan(ports().for_worker()))

    assert "20490" not in rules
    assert "knocks" not in rules
    assert NETWORK not in rules


def test_without_peers_nobody_is_let_in_but_to_the_door() -> None:
    accepting = [line for line in lines(nft_rules(plan(peers=()))) if line.endswith(" accept")]

    assert [line for line in accepting if "saddr" in line and "dport 20490 ct" not in line] == []


@pytest.mark.parametrize("of", [None, ports(private=False)], ids=["never started", "local"])
def test_local_mode_closes_the_metadata_and_opens_nothing(of: PortPlan | None) -> None:
    made = plan_firewall("default", of, uid=1000, peers=("10.0.0.6",), joining=(NETWORK,))
    rules = nft_rules(made)

    assert "chain input" not in rules
    assert "chain output" in rules
    assert (made.opened, made.peers, made.joining) == ((), (), ())
    assert "INPUT" not in iptables_rules(made)


def test_root_keeps_its_metadata() -> None:
    made = plan(uid=0)

    assert "skuid" not in nft_rules(made)
    assert "--uid-owner" not in iptables_rules(made)
    local = plan_firewall("default", None, uid=0)
    assert local.is_empty
    assert nft_rules(local) == nft_removal(local.table)
    assert iptables_rules(local) == ""


@pytest.mark.parametrize("peer", ["", "peer", "10.0.0.6; flush ruleset", "10.0.0.0/8", "10.0.0"])
def test_peer_must_be_an_address(peer: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(peers=(peer,))
    assert caught.value.code == "SR-FW-005"


@pytest.mark.parametrize(
    "network",
    ["", "x", "0.0.0.0/0", "::/0", "8.8.8.0/24", "10.0.0.0/7", "192.168.0.0/15", "fc00::/6"],
)
def test_nodes_join_from_private_networks_only(network: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(joining=(network,))
    assert caught.value.code == "SR-FW-005"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.5", "10.0.0.0/8"),
        ("172.20.7.2", "172.16.0.0/12"),
        ("192.168.9.5", "192.168.0.0/16"),
        ("100.100.1.2", "100.64.0.0/10"),
        ("169.254.3.4", "169.254.0.0/16"),
        ("fd00:1::5", "fc00::/7"),
        ("fe80::1%eth0", "fe80::/10"),
    ],
)
def test_nodes_join_from_the_whole_private_range(address: str, expected: str) -> None:
    assert join_networks(address, ()) == (expected,)
    assert plan(joining=join_networks(address, ())).joining == (expected,)
    assert join_networks(address, ("10.0.4.0/24",)) == ("10.0.4.0/24",)


@pytest.mark.parametrize("address", ["8.8.8.8", "127.0.0.1", "2606:4700::5", "198.51.100.1", "x"])
def test_nobody_joins_from_what_is_not_private(address: str) -> None:
    assert join_networks(address, ()) == ()


def test_addresses_are_written_in_one_way() -> None:
    made = plan(
        peers=("::ffff:10.0.0.6", "10.0.0.6", "fe80::1%eth0", "FD00:0::6"),
        joining=("10.0.0.5/24", "fd00::1/64", NETWORK),
    )
    assert made.peers == ("10.0.0.6", "fe80::1", "fd00::6")
    assert made.joining == (NETWORK, "fd00::/64")


@pytest.mark.parametrize(
    ("cluster", "uid"), [("", 1), ("a b", 1), ("a\n", 1), ("x{", 1), ("a", -1)]
)
def test_table_is_named_after_a_real_cluster(cluster: str, uid: int) -> None:
    with pytest.raises(ValueError, match="no cluster"):
        table_name(cluster, uid)


def test_clusters_and_users_do_not_share_a_table() -> None:
    names = [table_name(*entry) for entry in (("a", 1), ("a", 2), ("b", 1), ("a-1", 1))]
    assert len(set(names)) == 4


@given(st.lists(st.ip_addresses().map(str), max_size=6))
def test_iptables_lets_the_same_peers_in(peers: list[str]) -> None:
    made = plan(peers=tuple(peers))
    script = iptables_rules(made)
    accepted = re.findall(r"-s (\S+) -p tcp -m multiport", script)

    assert sorted(accepted) == sorted(made.peers)


def test_iptables_script() -> None:
    script = iptables_rules(plan())
    four, six = script.split("ip6tables-restore")

    assert four.startswith("iptables-restore --noflush <<'END'\n*filter\n")
    assert "20480,20482,20483,20484,20490,20491,20512:21503 -j DROP" in four
    assert "-m multiport --dports 20481,20485,20486,20487,20488,20489,20492,20511 -j DROP" in six
    assert script.count("COMMIT\nEND\n") == 2
    for address in METADATA:
        assert f"-d {address} -p tcp ! --dport 53 -m owner --uid-owner 1000" in script
    chains = set(re.findall(r"SECURE-RAY-\w+-\w+", script))
    assert all(len(chain) <= 28 for chain in chains)  # XT_EXTENSION_MAXNAMELEN less one
    assert chains == set(re.findall(r"SECURE-RAY-\w+-\w+", iptables_removal(plan().table)))
    # xt_multiport takes 15 ports, a range counts as two.
    assert all(
        len(re.split("[,:]", found)) <= 15 for found in re.findall(r"--dports (\S+)", script)
    )

"""Which address a cluster takes: one private address, the one that was named, or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.errors import FailedError, RefusedError, SecureRayError, UsageError
from secure_ray.cli.output import render_error
from secure_ray.policy.addresses import AddressKind, classify, kind_of
from secure_ray.policy.bind import (
    Candidate,
    choose_bind,
    choose_towards,
    judge_bind,
    list_candidates,
)

if TYPE_CHECKING:
    import ipaddress

LO = Candidate("lo", "127.0.0.1", "127.0.0.0/8")
ETH0 = Candidate("eth0", "10.0.0.5", "10.0.0.0/24", gateway="10.0.0.1")
ETH0_6 = Candidate("eth0", "fd00:1::5", "fd00:1::/64")
LINK = Candidate("eth0", "fe80::5%eth0", "fe80::/64")
ETH1 = Candidate("eth1", "192.168.7.2", "192.168.7.0/24")
ETH1_LINK = Candidate("eth1", "fe80::5%eth1", "fe80::/64")
DOCKER = Candidate("docker0", "172.17.0.1", "172.17.0.0/16")
DOWN = Candidate("eth2", "10.9.9.9", "10.9.9.0/24", up=False)
PUBLIC = Candidate("eth3", "8.8.4.4", "8.8.4.0/24", gateway="8.8.4.1")
PUBLIC_6 = Candidate("eth0", "2606:4700::5", "2606:4700::/64", gateway="fe80::1")
TAILSCALE = Candidate("tailscale0", "100.101.102.103", "100.101.102.103/32")
DOCUMENT = Candidate("eth0", "192.0.2.2", "192.0.2.0/24")
ALL = (LO, ETH0, ETH0_6, LINK, ETH1, ETH1_LINK, DOCKER, DOWN, PUBLIC, TAILSCALE, DOCUMENT)


@pytest.mark.parametrize("wish", ["local", "127.0.0.1"])
@pytest.mark.parametrize("host", [(), ALL], ids=["nothing", "all"])
def test_local_is_loopback_whatever_the_host_has(wish: str, host: tuple[Candidate, ...]) -> None:
    assert choose_bind(wish, host) == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ((LO, ETH0), "10.0.0.5"),
        ((LO, ETH0, ETH0_6, LINK), "10.0.0.5"),
        ((LO, ETH0_6, LINK, PUBLIC_6), "fd00:1::5"),
        ((LO, PUBLIC, ETH1), "192.168.7.2"),
        ((LO, ETH0, DOCKER, DOWN, TAILSCALE, DOCUMENT), "10.0.0.5"),
    ],
    ids=["one", "both families", "IPv6 only", "beside a public one", "beside what is not meant"],
)
def test_private_is_the_one_private_address(host: tuple[Candidate, ...], expected: str) -> None:
    assert choose_bind("private", host) == expected


@pytest.mark.parametrize("other", [ETH1, Candidate("wg0", "fd00:2::1", "fd00:2::/64")])
def test_of_several_private_addresses_none_is_guessed(other: Candidate) -> None:
    with pytest.raises(UsageError) as caught:
        choose_bind("private", (LO, ETH0, other, DOCKER, PUBLIC))

    error = caught.value
    lines = error.cause.splitlines()
    assert error.code == "SR-BIND-004"
    assert "eth0     10.0.0.5" in lines[1]
    assert lines[1].endswith("RFC 1918  default via 10.0.0.1")
    assert other.address in lines[2]
    assert other.network in lines[2]
    assert lines[3].endswith("only by name")
    assert lines[4].endswith("never")
    assert error.fix == f"secure-ray up --head --bind 10.0.0.5 or --bind {other.address}"


def test_the_documentation_shows_what_is_said() -> None:
    text = (Path(__file__).parents[2] / "docs" / "network.md").read_text(encoding="utf-8")
    other = Candidate("eth1", "172.20.7.2", "172.20.7.0/24")
    with pytest.raises(UsageError) as caught:
        choose_bind("private", (LO, ETH0, other, DOCKER))

    assert f"```\n{render_error(caught.value)}\n```" in text


@pytest.mark.parametrize("entry", [LO, DOCKER, DOWN, PUBLIC, PUBLIC_6, TAILSCALE, DOCUMENT, LINK])
def test_private_takes_nothing_that_was_not_meant(entry: Candidate) -> None:
    with pytest.raises(FailedError) as caught:
        choose_bind("private", (entry,))

    assert caught.value.code == "SR-BIND-005"
    nameable = entry in {DOCKER, TAILSCALE}
    assert (f"--bind {entry.address}" in caught.value.fix) == nameable


def test_host_with_global_ipv6_only_is_told_what_to_do() -> None:
    with pytest.raises(FailedError) as failed:
        choose_bind("private", (LO, PUBLIC_6))
    with pytest.raises(RefusedError) as refused:
        choose_bind(PUBLIC_6.address, (LO, PUBLIC_6))

    assert "RFC 4193" in failed.value.fix
    assert "RFC 4193" in refused.value.fix
    assert refused.value.code == "SR-BIND-001"


@pytest.mark.parametrize(
    "name",
    ["docker0", "br-1f2e3d4c5b6a", "virbr0", "veth12ab", "cni0", "flannel.1", "lxcbr0", "podman1"],
)
def test_inner_networks_are_listed_but_not_taken(name: str) -> None:
    inner = Candidate(name, "172.17.0.1", "172.17.0.0/16")

    assert choose_bind("private", (ETH0, inner)) == "10.0.0.5"
    assert "172.17.0.1" in list_candidates((ETH0, inner))
    assert choose_bind("172.17.0.1", (ETH0, inner)) == "172.17.0.1"


@pytest.mark.parametrize("name", ["br0", "eth0", "wg0", "bond0", "enp3s0"])
def test_other_interfaces_are_taken(name: str) -> None:
    assert choose_bind("private", (Candidate(name, "10.0.0.5"),)) == "10.0.0.5"


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
        ("fd00:1:0::5", "fd00:1::5"),
        ("100.101.102.103", "100.101.102.103"),
        ("172.17.0.1", "172.17.0.1"),
    ],
)
def test_named_address(wish: str, expected: str) -> None:
    assert choose_bind(wish, ALL) == expected


def test_link_local_ipv4_address_can_be_named() -> None:
    assert choose_bind("169.254.3.4", (Candidate("eth0", "169.254.3.4"),)) == "169.254.3.4"


@pytest.mark.parametrize(
    ("wish", "says"),
    [("10.0.0.6", "is not an address of this host"), ("10.9.9.9", "eth2, which is down")],
)
def test_named_address_must_be_here_and_up(wish: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_bind(wish, ALL)

    assert caught.value.code == "SR-BIND-006"
    assert says in caught.value.cause
    assert "--bind 10.0.0.5" in caught.value.fix


@pytest.mark.parametrize(
    ("wish", "rule"),
    [
        ("0.0.0.0", "SR-NET-001"),
        ("::", "SR-NET-001"),
        ("::ffff:0.0.0.0", "SR-NET-001"),
        ("8.8.4.4", "SR-BIND-001"),
        ("2606:4700::5", "SR-BIND-001"),
        ("192.0.2.2", "SR-BIND-002"),
        ("198.18.0.1", "SR-BIND-002"),
        ("224.0.0.1", "SR-BIND-003"),
        ("ff02::1", "SR-BIND-003"),
        ("255.255.255.255", "SR-BIND-003"),
        ("127.0.0.2", "SR-BIND-003"),
        ("::1", "SR-BIND-003"),
        ("fe80::5", "SR-BIND-010"),
        ("fe80::5%eth1", "SR-BIND-010"),
    ],
)
def test_what_no_cluster_listens_on_is_refused_with_its_rule(wish: str, rule: str) -> None:
    with pytest.raises(RefusedError) as caught:
        choose_bind(wish, (*ALL, PUBLIC_6), source="flag --bind")

    (refusal,) = caught.value.refusals
    assert (refusal.rule, refusal.source) == (rule, "flag --bind")
    assert wish in refusal.subject
    assert judge_bind(wish, "flag --bind") == (refusal,)


@pytest.mark.parametrize("wish", ["local", "127.0.0.1", "private", "10.0.0.5", "some-name"])
def test_the_rest_depends_on_the_host(wish: str) -> None:
    assert judge_bind(wish, "flag --bind") == ()


def test_override_reaches_documentation_addresses_and_nothing_worse() -> None:
    permitted = frozenset(
        {"SR-NET-001", "SR-BIND-001", "SR-BIND-002", "SR-BIND-003", "SR-BIND-010"}
    )

    assert choose_bind("192.0.2.2", ALL, permitted=permitted) == "192.0.2.2"
    for wish in ("0.0.0.0", "8.8.4.4", "224.0.0.1", "fe80::5%eth1"):
        with pytest.raises(RefusedError):
            choose_bind(wish, ALL, permitted=permitted)


@pytest.mark.parametrize(
    ("resolved", "expected"),
    [
        (("10.0.0.5",), "10.0.0.5"),
        (("127.0.1.1", "10.0.0.5"), "10.0.0.5"),
        (("8.8.4.4", "10.0.0.5"), "10.0.0.5"),
        (("10.0.0.99", "10.0.0.5"), "10.0.0.5"),
        (("100.101.102.103",), "100.101.102.103"),
    ],
)
def test_name_means_its_one_private_address_here(resolved: tuple[str, ...], expected: str) -> None:
    assert choose_bind("head", ALL, resolved=resolved) == expected


@pytest.mark.parametrize(
    "resolved",
    [
        (),
        ("127.0.1.1",),
        ("8.8.4.4",),
        ("10.0.0.99",),
        ("10.9.9.9",),
        ("192.0.2.2",),
        ("fe80::5",),
        ("0.0.0.0",),
        ("10.0.0.5", "192.168.7.2"),
    ],
)
def test_name_that_means_none_or_several_is_refused(resolved: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        choose_bind("head", ALL, resolved=resolved)

    assert caught.value.code == "SR-BIND-007"
    assert all(address in caught.value.cause for address in resolved)
    assert "--bind 10.0.0.5" in caught.value.fix


def test_worker_takes_the_address_that_leads_to_the_head() -> None:
    assert choose_towards("192.168.7.1", "192.168.7.2", ALL) == "192.168.7.2"
    assert choose_towards("100.64.0.9", "100.101.102.103", ALL) == "100.101.102.103"


@pytest.mark.parametrize(
    ("local", "rule"),
    [
        ("8.8.4.4", "SR-BIND-001"),
        ("fe80::5%eth0", "SR-BIND-010"),
        ("127.0.0.1", "SR-BIND-003"),
        ("192.0.2.2", "SR-BIND-002"),
    ],
)
def test_worker_does_not_join_over_what_a_head_may_not_listen_on(local: str, rule: str) -> None:
    with pytest.raises(RefusedError) as caught:
        choose_towards("10.1.1.1", local, ALL)

    assert caught.value.code == rule
    assert "10.1.1.1" in caught.value.cause


INTERFACES = st.sampled_from(["eth0", "eth1", "docker0", "tailscale0"])
CANDIDATES = st.lists(
    st.builds(Candidate, INTERFACES, st.ip_addresses().map(str), up=st.booleans()), max_size=5
)


@given(wish=st.just("private") | st.ip_addresses().map(str), host=CANDIDATES)
def test_what_is_chosen_is_private_here_and_up_or_there_is_an_error(
    wish: str, host: list[Candidate]
) -> None:
    try:
        chosen = choose_bind(wish, host)
    except SecureRayError:
        return
    kinds = {AddressKind.RFC1918, AddressKind.ULA, AddressKind.CGNAT, AddressKind.LINK_LOCAL}
    assert chosen == "127.0.0.1" or kind_of(chosen) in kinds
    assert chosen == "127.0.0.1" or any(e.address == chosen and e.up for e in host)


@given(st.ip_addresses())
def test_the_internet_never_reaches_a_cluster(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if classify(address) in {AddressKind.PUBLIC, AddressKind.WILDCARD}:
        with pytest.raises(RefusedError):
            choose_bind(str(address), (Candidate("eth0", str(address)),))

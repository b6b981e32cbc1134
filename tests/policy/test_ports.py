"""The port plan: one use for each port, blocks that do not touch, and what may listen."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.policy.addresses import AddressKind, kind_of
from secure_ray.policy.ports import (
    ALL_COMPONENTS,
    BLOCK_COUNT,
    BLOCK_SIZE,
    COMPONENT_NAMES,
    COMPONENTS,
    FIRST_BLOCK,
    RESERVATION_OFFSET,
    WORKER_OFFSET,
    Component,
    PortPlan,
    Protocol,
    Reach,
    block_bases,
    open_to_anybody,
    plan_ports,
)
from secure_ray.settings.resolve import resolve
from secure_ray.settings.sources import from_flags

BASES = st.sampled_from(block_bases())
EPHEMERAL = 32768  # Linux: net.ipv4.ip_local_port_range


def plan(base: int = FIRST_BLOCK, **more: Any) -> PortPlan:
    given_: dict[str, Any] = {"fixed": {}, "workers": None, "metrics": False, "dashboard": True}
    return plan_ports(base, **(given_ | more))


def names(plan: PortPlan) -> set[str]:
    return {entry.component.name for entry in plan.ports}


def test_every_component_is_told_its_port_in_one_way() -> None:
    for component in COMPONENTS:
        assert bool(component.flag) != bool(component.variable), component
    for field in ("name", "offset"):
        assert len({getattr(component, field) for component in COMPONENTS}) == len(COMPONENTS)
    flags = [component.flag for component in COMPONENTS if component.flag]
    assert len(set(flags)) == len(flags)


def test_every_component_has_a_setting() -> None:
    for name in COMPONENT_NAMES:
        chosen = resolve([from_flags({f"ports.{name}": 5000})]).settings.ports
        assert chosen.fixed() == {name: 5000}


def test_exporters_ask_for_no_token_so_they_are_off_by_default() -> None:
    assert {component.name for component in COMPONENTS if component.metrics} == {
        component.name for component in COMPONENTS if component.protocol is Protocol.EXPORTER
    }
    assert not any(entry.component.protocol is Protocol.EXPORTER for entry in plan().ports)
    assert names(plan(metrics=True)) == set(COMPONENT_NAMES)


def test_dashboard_can_be_left_out() -> None:
    assert names(plan()) - names(plan(dashboard=False)) == {"dashboard"}


def test_default_block() -> None:
    found = plan(20480, metrics=True)

    assert [entry.port for entry in found.ports] == list(range(20480, 20490))
    assert found.reservation == 20480 + 31
    assert (found.first_worker, found.last_worker) == (20512, 21503)


def test_chosen_ports_are_taken_as_they_are() -> None:
    found = plan(fixed={"gcs": 6379, "metrics": 7000}, workers=(30000, 30100))

    assert found.port("gcs") == 6379
    assert found.port("dashboard") == FIRST_BLOCK + 1
    assert (found.first_worker, found.last_worker) == (30000, 30100)
    with pytest.raises(KeyError):
        found.port("metrics")


def test_blocks_neither_touch_nor_reach_the_ports_that_the_kernel_hands_out() -> None:
    bases = block_bases()

    assert len(bases) == BLOCK_COUNT
    assert all(later - base == BLOCK_SIZE for base, later in pairwise(bases))
    assert bases[0] >= 1024
    assert bases[-1] + BLOCK_SIZE <= EPHEMERAL


@pytest.mark.parametrize("first", [1024, 40000])
def test_named_block_is_the_only_one(first: int) -> None:
    assert block_bases(first) == (first,)


@given(base=BASES, metrics=st.booleans(), dashboard=st.booleans())
def test_block_is_sound_and_stays_in_itself(base: int, *, metrics: bool, dashboard: bool) -> None:
    found = plan(base, metrics=metrics, dashboard=dashboard)
    block = range(base, base + BLOCK_SIZE)

    assert found.is_sound
    assert all(entry.port in block for entry in found.ports)
    assert found.reservation in block
    assert found.first_worker in block
    assert found.last_worker in block


@given(
    base=BASES,
    fixed=st.dictionaries(
        st.sampled_from(COMPONENT_NAMES), st.integers(FIRST_BLOCK, FIRST_BLOCK + 60), max_size=4
    ),
    first=st.none() | st.integers(FIRST_BLOCK, FIRST_BLOCK + 60),
)
def test_sound_plan_gives_each_port_one_use(
    base: int, fixed: dict[str, int], first: int | None
) -> None:
    found = plan(base, fixed=fixed, workers=None if first is None else (first, first + 5))
    workers = range(found.first_worker, found.last_worker + 1)
    uses = [found.reservation, *(entry.port for entry in found.ports), *workers]

    assert found.is_sound == (len(set(uses)) == len(uses))


@given(base=BASES, port=st.integers(1, 65535))
def test_what_may_listen_is_what_is_planned(base: int, port: int) -> None:
    found = plan(base)
    planned = {entry.port for entry in found.ports}
    workers = range(base + WORKER_OFFSET, base + BLOCK_SIZE)

    assert found.allows(port) == (port in planned or port in workers)
    assert not found.allows(base + RESERVATION_OFFSET)


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2.52.1", {"agent_http"}), ("2.53.0", {"agent_http"}), ("2.54.0", set()), ("2.60.0", set())],
)
def test_what_asks_for_no_token_in_an_older_ray_is_left_out(
    version: str, expected: set[str]
) -> None:
    closed = open_to_anybody(version)

    assert {component.name for component in closed} == expected
    assert names(plan()) - names(plan(closed=closed)) == expected
    assert plan(closed=closed).closed == closed


NODE = "10.0.0.5"
OURS = {component.name for component in ALL_COMPONENTS if component.ours}
PLAIN = {Protocol.HTTP, Protocol.EXPORTER, Protocol.FORWARDER}


def private(base: int = 20480, *, head: bool = True, **more: Any) -> PortPlan:
    made = plan(base, private=True, metrics=True, **more)
    return made if head else made.for_worker()


def test_the_table_gives_each_component_a_place_before_the_reservation() -> None:
    offsets = [component.offset for component in ALL_COMPONENTS]

    assert len(set(offsets)) == len(offsets)
    assert max(offsets) < RESERVATION_OFFSET
    assert not OURS & set(COMPONENT_NAMES)


@pytest.mark.parametrize("component", ALL_COMPONENTS, ids=lambda component: component.name)
def test_nothing_plain_is_reached_from_another_host(component: Component) -> None:
    assert (component.reach is Reach.LOOPBACK) == (component.protocol in PLAIN)


def test_only_private_mode_has_listeners_of_secure_ray() -> None:
    assert names(plan(private=True)) - names(plan()) == OURS
    assert not plan().private
    assert plan(private=True, metrics=True).is_sound


def test_worker_has_the_numbers_of_the_head_and_not_its_services() -> None:
    head, worker = private(), private(head=False)

    assert {entry.component.name for entry in head.ports} - names(worker) == {
        "gcs",
        "nodes",
        "dashboard_metrics",
        "autoscaler_metrics",
    }
    assert all(head.port(entry.component.name) == entry.port for entry in worker.ports)
    assert (head.head, worker.head, worker.private) == (True, False, True)


def test_rules_for_the_guard() -> None:
    head, worker = private(), private(head=False)

    assert head.node_ports == {20480, 20482, 20483, 20484}
    assert worker.node_ports == {20482, 20483, 20484}
    # Among them the reservation: what is kept closed must not find it free on another address.
    assert head.loopback_ports == {20481, 20485, 20486, 20487, 20488, 20489, 20492, 20511}
    assert worker.loopback_ports == {20481, 20485, 20486, 20487, 20492, 20511}
    assert head.relayed == {20485: 20492}
    assert worker.relayed == {20485: 20492, 20481: 20481}


def test_what_does_not_run_is_not_relayed() -> None:
    closed = open_to_anybody("2.52.1")

    assert private(closed=closed).relayed == {}
    assert private(dashboard=False, head=False).relayed == {20485: 20492}


def test_firewall_opens_what_other_nodes_reach() -> None:
    single = [20480, 20482, 20483, 20484, 20490, 20491]

    assert private().opened == (*((port, port) for port in single), (20512, 21503))
    assert (20490, 20490) not in private(head=False).opened


def test_local_mode_has_nothing_for_guard_and_firewall() -> None:
    local = plan(metrics=True)

    assert local.opened == ()
    assert local.relayed == {}
    assert not local.loopback_ports | local.node_ports
    assert {entry.addresses for entry in local.expected("127.0.0.1")} == {("127.0.0.1",)}


def test_what_must_listen_in_private_mode() -> None:
    found = {entry.planned.component.name: entry for entry in private().expected(NODE)}

    assert found.keys() == names(private())
    assert {name for name, entry in found.items() if entry.addresses == (NODE,)} == {
        *("gcs", "node_manager", "object_manager", "agent_grpc", "nodes", "relay")
    }
    assert found["agent_http"].addresses == ("127.0.0.1", "127.0.0.2", "::1")
    assert found["relay_agent"].addresses == ("127.0.0.1",)
    assert found["gcs"].port == 20480


@pytest.mark.parametrize(
    ("address", "port", "allowed"),
    [
        (NODE, 20480, True),
        (f"::ffff:{NODE}", 20480, True),
        ("127.0.0.1", 20480, False),
        (NODE, 20481, False),
        ("127.0.0.1", 20481, True),
        ("127.0.0.2", 20485, True),
        ("::1", 20485, True),
        (NODE, 20485, False),
        (NODE, 20512, True),
        ("127.0.0.1", 20512, True),
        ("10.0.0.6", 20512, False),
        ("0.0.0.0", 20512, False),
        ("::", 20480, False),
        ("8.8.8.8", 20480, False),
        (NODE, 20511, False),
        (NODE, 20493, False),
        ("", 20480, False),
    ],
)
def test_what_may_listen_in_private_mode(address: str, port: int, allowed: bool) -> None:  # noqa: FBT001
    assert private().allows_at(NODE, address, port) == allowed


@given(address=st.ip_addresses().map(str), port=st.integers(1, 65535), head=st.booleans())
def test_nothing_may_listen_beyond_the_node_and_loopback(
    address: str, port: int, *, head: bool
) -> None:
    if private(head=head).allows_at(NODE, address, port):
        assert address == NODE or kind_of(address) is AddressKind.LOOPBACK


@given(port=st.integers(1, 65535), address=st.sampled_from(["127.0.0.1", "::1", NODE]))
def test_local_mode_allows_the_planned_ports_on_loopback(address: str, port: int) -> None:
    local = plan()
    assert local.allows_at("127.0.0.1", address, port) == (local.allows(port) and address != NODE)

"""The port plan: one use for each port, blocks that do not touch, and what may listen."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.policy.ports import (
    BLOCK_COUNT,
    BLOCK_SIZE,
    COMPONENT_NAMES,
    COMPONENTS,
    FIRST_BLOCK,
    RESERVATION_OFFSET,
    WORKER_OFFSET,
    PortPlan,
    Protocol,
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

"""Blocks of ports on real sockets: free ones are found and held, taken ones are passed over."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.network.listeners import can_bind
from secure_ray.node import choose_ports as module
from secure_ray.node.choose_ports import choose_ports, take_ports
from secure_ray.policy.ports import BLOCK_SIZE, RESERVATION_OFFSET, block_bases
from support.plans import ports_of, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secure_ray.policy.ports import PortPlan

HERE = "127.0.0.1"
RAY = "2.60.0"


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """Closes the sockets of a test."""
    with ExitStack() as stack:
        yield stack


def listen(held: ExitStack, port: int = 0) -> int:
    found = held.enter_context(socket.create_server((HERE, port)))
    return int(found.getsockname()[1])


def chosen(held: ExitStack, toml: str = "", preferred: int = 0) -> tuple[int, int]:
    """Base and reservation port."""
    plan, reservation = choose_ports(settings_of(toml), preferred, RAY)
    held.enter_context(closing(reservation))
    return plan.base, int(reservation.getsockname()[1])


def test_block_is_free_and_held(held: ExitStack) -> None:
    base, reserved = chosen(held)

    assert base in block_bases()
    assert reserved == base + RESERVATION_OFFSET
    assert not can_bind(HERE, reserved)


def test_second_cluster_gets_another_block(held: ExitStack) -> None:
    first, _ = chosen(held)
    second, _ = chosen(held)

    assert first != second


def test_block_is_free_again_when_its_holder_is_gone() -> None:
    with ExitStack() as held:
        first, _ = chosen(held)
    with ExitStack() as held:
        assert chosen(held) == (first, first + RESERVATION_OFFSET)


def test_nobody_can_connect_to_the_reservation(held: ExitStack) -> None:
    _, reserved = chosen(held)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HERE, reserved), timeout=5)


def test_preferred_block_comes_first(held: ExitStack) -> None:
    preferred = free_base(held, 7)

    assert chosen(held, preferred=preferred)[0] == preferred


@pytest.mark.parametrize("preferred", [0, 1, 10241, 65000])
def test_preferred_block_that_is_none_is_forgotten(held: ExitStack, preferred: int) -> None:
    assert chosen(held, preferred=preferred)[0] in block_bases()


@pytest.mark.parametrize("offset", [0, 6, RESERVATION_OFFSET])
def test_block_with_a_taken_port_is_skipped(held: ExitStack, offset: int) -> None:
    base = free_base(held, 3)
    listen(held, base + offset)

    found, reserved = chosen(held, preferred=base)

    assert found != base
    assert reserved == found + RESERVATION_OFFSET


def test_skipped_block_is_not_held(held: ExitStack) -> None:
    base = free_base(held, 3)
    with socket.create_server((HERE, base)):
        chosen(held, preferred=base)

    assert can_bind(HERE, base + RESERVATION_OFFSET)


def test_taken_fixed_port_names_its_holder(held: ExitStack) -> None:
    port = listen(held)

    with pytest.raises(FailedError) as caught:
        choose_ports(settings_of(f"[ports]\ngcs = {port}"), 0, RAY)

    assert caught.value.code == "SR-NET-011"
    assert f"port {port} (ports.gcs)" in caught.value.cause
    assert str(os.getpid()) in caught.value.cause


def test_fixed_port_that_is_taken_on_the_nodes_address_names_its_holder() -> None:
    """Not on loopback, so that only the node's own address tells."""
    other = "127.0.0.2"
    with socket.create_server((other, 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(FailedError) as caught:
            choose_ports(settings_of(f"[ports]\ngcs = {port}"), 0, RAY, address=other)

    assert caught.value.code == "SR-NET-011"
    assert f"port {port} (ports.gcs) is taken on {other}" in caught.value.cause
    assert str(os.getpid()) in caught.value.cause


def test_named_block_that_is_taken_is_an_error_and_no_other_is_tried(held: ExitStack) -> None:
    base = free_base(held, 5)
    listen(held, base + 2)

    with pytest.raises(FailedError) as caught:
        choose_ports(settings_of(f"[ports]\nbase = {base}"), 0, RAY)

    assert caught.value.code == "SR-NET-011"
    assert f"{base} to {base + BLOCK_SIZE - 1}" in caught.value.cause


def test_no_free_block_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "can_bind", lambda _address, _port: False)

    with pytest.raises(FailedError) as caught:
        choose_ports(settings_of(), 0, RAY)

    assert caught.value.code == "SR-NET-012"


@pytest.mark.parametrize("offset", [1, RESERVATION_OFFSET, 100])
def test_block_in_which_a_fixed_port_has_another_use_is_skipped(
    held: ExitStack, offset: int
) -> None:
    base = free_base(held, 4)

    assert chosen(held, f"[ports]\ngcs = {base + offset}", preferred=base)[0] != base


def test_block_that_overlaps_fixed_worker_ports_is_skipped(held: ExitStack) -> None:
    base = free_base(held, 4)

    found, _ = chosen(held, f'[ports]\nworkers = "{base}-{base + 50}"', preferred=base)

    assert found != base


def test_what_an_older_ray_leaves_open_gets_the_port_that_is_held(held: ExitStack) -> None:
    plan, reservation = choose_ports(settings_of(), 0, "2.52.1")
    held.enter_context(closing(reservation))

    assert [component.name for component in plan.closed] == ["agent_http"]
    assert not any(planned.component.name == "agent_http" for planned in plan.ports)


def free_base(held: ExitStack, number: int) -> int:
    """A block that is free now."""
    del held
    for base in block_bases()[number:]:
        if all(can_bind(HERE, base + offset) for offset in range(RESERVATION_OFFSET + 1)):
            return base
    raise AssertionError


# Stands for the node's address: another one than loopback's usual, which is here all the same.
NODE = "127.0.0.5"


def test_private_mode_looks_where_each_component_will_listen(held: ExitStack) -> None:
    """What is plain is looked for on loopback, the rest on the node's address."""
    base = free_base(held, 6)
    held.enter_context(socket.create_server((NODE, base + 1)))  # the dashboard is not there
    held.enter_context(socket.create_server((HERE, base + 2)))  # nor the raylet here

    plan, reservation = choose_ports(settings_of(), base, RAY, address=NODE)
    held.enter_context(closing(reservation))

    assert (plan.base, plan.private) == (base, True)
    names = {planned.component.name for planned in plan.ports}
    assert {"nodes", "relay", "relay_agent"} <= names


@pytest.mark.parametrize(("address", "offset"), [(NODE, 2), (NODE, 11), (HERE, 1), (HERE, 12)])
def test_private_block_with_a_taken_port_is_skipped(
    held: ExitStack, address: str, offset: int
) -> None:
    base = free_base(held, 6)
    held.enter_context(socket.create_server((address, base + offset)))

    plan, reservation = choose_ports(settings_of(), base, RAY, address=NODE)
    held.enter_context(closing(reservation))

    assert plan.base != base


def of_worker(held: ExitStack) -> PortPlan:
    return ports_of(settings_of(), base=free_base(held, 8), private=True).for_worker()


def test_worker_takes_the_ports_of_its_head(held: ExitStack) -> None:
    ports = of_worker(held)
    # The control store and the door are the head's.
    for offset in (0, 10):
        held.enter_context(socket.create_server((NODE, ports.base + offset)))

    reservation = held.enter_context(closing(take_ports(ports, NODE)))

    assert reservation.getsockname() == (HERE, ports.reservation)
    assert not can_bind(HERE, ports.reservation)


@pytest.mark.parametrize(
    ("address", "offset", "title"),
    [
        (NODE, 2, "raylet"),
        (NODE, 11, "relay between nodes"),
        (HERE, 1, "dashboard and Jobs API"),
        (HERE, 12, "way to other nodes' agents"),
        (HERE, RESERVATION_OFFSET, "the reservation"),
    ],
)
def test_port_that_is_taken_on_a_worker_is_told_with_its_holder(
    held: ExitStack, address: str, offset: int, title: str
) -> None:
    ports = of_worker(held)
    held.enter_context(socket.create_server((address, ports.base + offset)))

    with pytest.raises(FailedError) as caught:
        take_ports(ports, NODE)

    assert caught.value.code == "SR-NET-013"
    assert f"port {ports.base + offset} ({title})" in caught.value.cause
    assert str(os.getpid()) in caught.value.cause
    if offset != RESERVATION_OFFSET:
        assert can_bind(HERE, ports.reservation)


def test_head_that_nodes_have_joined_keeps_its_block(
    held: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another one nobody would find it again."""
    monkeypatch.setattr(module, "LET_GO_SECONDS", 0.2)
    base = free_base(held, 3)
    listen(held, base + 1)

    with pytest.raises(FailedError) as caught:
        choose_ports(settings_of(), base, RAY, insist=True)

    assert caught.value.code == "SR-NET-013"
    assert f"port {base + 1}" in caught.value.cause


def test_what_a_killed_node_leaves_is_waited_for(held: ExitStack) -> None:
    base = free_base(held, 3)
    leftover = socket.create_server((HERE, base + 1))
    timer = threading.Timer(0.5, leftover.close)
    timer.start()

    plan, reservation = choose_ports(settings_of(), base, RAY, insist=True)

    held.enter_context(closing(reservation))
    timer.join()
    assert plan.base == base


def test_block_that_the_settings_name_wins_over_the_last_one(held: ExitStack) -> None:
    base, other = free_base(held, 3), free_base(held, 5)

    plan, reservation = choose_ports(
        settings_of(f"[ports]\nbase = {other}"), base, RAY, insist=True
    )

    held.enter_context(closing(reservation))
    assert plan.base == other

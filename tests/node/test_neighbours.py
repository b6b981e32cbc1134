"""The firewall follows the list of nodes, whatever else goes wrong."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.node import neighbours as module
from secure_ray.node.neighbours import keeping_neighbours, read_neighbours
from support.plans import make_directories, private_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan

LOG = logging.getLogger("test-neighbours")


@pytest.fixture(autouse=True)
def applied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What nft would get, as root."""
    rules: list[str] = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("secure_ray.network.nft.apply_rules", rules.append)
    monkeypatch.setattr(module, "remove_firewall", lambda _plan: rules.append("removed"))
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    return rules


@pytest.fixture
def plan(home: Path) -> LaunchPlan:
    return make_directories(private_plan(home))


def keep(plan: LaunchPlan, others: Callable[[], tuple[str, ...] | None], *, looks: int = 1) -> None:
    """Keep them until `others` was asked `looks` times, and once more."""
    asked = asyncio.Event()
    left = looks

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def counted() -> tuple[str, ...] | None:
            nonlocal left
            left -= 1
            if left < 0:
                loop.call_soon_threadsafe(asked.set)
            return others()

        async with keeping_neighbours(plan, counted, log=LOG):
            await asyncio.wait_for(asked.wait(), 20)

    asyncio.run(run())


def test_nodes_are_let_in_and_written(plan: LaunchPlan, applied: list[str]) -> None:
    keep(plan, lambda: ("10.77.0.2",), looks=3)

    assert len(applied) == 2
    assert "ip saddr { 10.77.0.2 } tcp dport" in applied[0]
    assert "ip saddr { 10.0.0.0/8 } tcp dport 20490" in applied[0]
    assert applied[1] == "removed"
    assert read_neighbours(plan.paths) == ("10.77.0.2",)


def test_setting_narrows_where_nodes_join_from(home: Path, applied: list[str]) -> None:
    plan = private_plan(home, '[network]\njoin_from = ["10.77.0.0/24"]\n')

    keep(make_directories(plan), lambda: ())

    assert "ip saddr { 10.77.0.0/24 } tcp dport 20490" in applied[0]
    assert "10.0.0.0/8" not in applied[0]


def test_full_disk_does_not_keep_the_firewall_back(
    plan: LaunchPlan, applied: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise FailedError("SR-FILE-001", "no space left on device", fix="make some")

    monkeypatch.setattr(module, "write_private", full)

    keep(plan, lambda: ("10.77.0.2",), looks=3)

    assert "ip saddr { 10.77.0.2 } tcp dport" in applied[0]
    assert applied[1:] == ["removed"]  # applied once, and not with each try to write


def test_host_without_nft_still_keeps_the_list(
    plan: LaunchPlan, applied: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own rules are made of it: `firewall show --iptables`."""

    def no_nft(_rules: str) -> None:
        raise FailedError("SR-FW-001", "there is no nft here", fix="")

    monkeypatch.setattr("secure_ray.network.nft.apply_rules", no_nft)

    keep(plan, lambda: ("10.77.0.2",), looks=3)

    assert read_neighbours(plan.paths) == ("10.77.0.2",)
    assert applied == []


def test_nodes_are_known_to_the_relay(plan: LaunchPlan) -> None:
    async def run() -> frozenset[str]:
        async with keeping_neighbours(plan, lambda: ("fd00:0::2",), log=LOG) as known:
            return known()

    assert asyncio.run(run()) == {plan.place.address, "fd00::2"}


def test_look_that_outlives_its_task_puts_no_table_back(
    plan: LaunchPlan, applied: list[str]
) -> None:
    """A thread cannot be cancelled; a node may have joined just then."""
    keeper = module._Keeper(plan, lambda: ("10.77.0.2",), LOG)
    keeper.look()
    keeper.end()
    keeper._others = lambda: ("10.77.0.2", "10.77.0.3")
    keeper.look()

    assert applied[1:] == ["removed"]


def test_whatever_fails_is_told_once_and_tried_again(
    plan: LaunchPlan, applied: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    tries = iter([KeyError("secret"), KeyError("secret"), OSError("secret")])

    def others() -> tuple[str, ...]:
        if error := next(tries, None):
            raise error
        return ("10.77.0.3",)

    with caplog.at_level(logging.WARNING, LOG.name):
        keep(plan, others, looks=5)

    assert [record.getMessage() for record in caplog.records] == [
        "the list of nodes is not followed: KeyError",
        "the list of nodes is not followed: OSError",
    ]
    assert "ip saddr { 10.77.0.3 } tcp dport" in applied[0]

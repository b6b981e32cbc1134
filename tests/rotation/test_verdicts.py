"""How a certificate stands: a table."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from secure_ray.rotation.nodes import AtPort, NodeFacts, OnDisk
from secure_ray.rotation.verdicts import Status, Verdict, judge, worst

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
LIFE = 90 * DAY


def node(  # a fixture of sorts
    disk: float | None,
    live: float | None = None,
    *,
    state: str = "running",
    head: bool = False,
    told: Mapping[str, datetime] | None = None,
    seen: datetime | None = NOW,
) -> NodeFacts:
    """A node whose leaf ends in so many days, on disk and at a port; the same where not said."""
    on_disk = None if disk is None else OnDisk("dd", NOW + disk * DAY)
    serial = "dd" if live is None else "aa"
    end = disk if live is None else live
    running = state not in {"silent", "waiting"} and end is not None
    port = (
        AtPort("raylet", 1, serial, NOW + (end or 0) * DAY)
        if running
        else AtPort("raylet", 1, why="Connection refused")
    )
    return NodeFacts(
        id="" if head else "id",
        name="head" if head else "w1",
        address="10.0.0.7",
        state=state,
        seen=seen,
        orders=(),
        disk=on_disk,
        ports=(port,),
        told=told or {},
    )


@pytest.mark.parametrize(
    ("facts", "life", "status", "words", "fix"),
    [
        (node(89), LIFE, Status.OK, "renewed from 2030-02-14 12:00 UTC on", ""),
        (node(30.1), LIFE, Status.OK, "renewed from 2029-12-17 14:24 UTC on", ""),
        (
            node(30),
            LIFE,
            Status.WARN,
            "past two thirds of its life on disk",
            "secure-ray status on that node",
        ),
        (
            node(10.1),
            LIFE,
            Status.WARN,
            "past two thirds of its life on disk",
            "secure-ray status on that node",
        ),
        (node(10), LIFE, Status.CRITICAL, "ends soon on disk", "secure-ray status on that node"),
        (node(0.01), LIFE, Status.CRITICAL, "ends soon on disk", "secure-ray status on that node"),
        (node(0), LIFE, Status.CRITICAL, "expired on disk", "secure-ray status on that node"),
        (node(-5), LIFE, Status.CRITICAL, "expired on disk", "secure-ray status on that node"),
        (node(5, head=True), LIFE, Status.CRITICAL, "ends soon on disk", "secure-ray up --head"),
        # A long life: ten days; a short one: its last ninth.
        (
            node(11),
            365 * DAY,
            Status.WARN,
            "past two thirds of its life on disk",
            "secure-ray status on that node",
        ),
        (
            node(10),
            365 * DAY,
            Status.CRITICAL,
            "ends soon on disk",
            "secure-ray status on that node",
        ),
        (node(5), 9 * DAY, Status.OK, "renewed from 2030-01-02 00:00 UTC on", ""),
        (
            node(1.1),
            9 * DAY,
            Status.WARN,
            "past two thirds of its life on disk",
            "secure-ray status on that node",
        ),
        (node(1), 9 * DAY, Status.CRITICAL, "ends soon on disk", "secure-ray status on that node"),
        # What runs is older than what is on disk.
        (node(89, 44), LIFE, Status.OK, "renewed on disk; live with Ray's next start", ""),
        (
            node(89, 30),
            LIFE,
            Status.WARN,
            "past two thirds of its life live",
            "secure-ray rotate-certs",
        ),
        (node(89, 10), LIFE, Status.CRITICAL, "ends soon live", "secure-ray rotate-certs"),
        (node(89, -1), LIFE, Status.CRITICAL, "expired live", "secure-ray rotate-certs"),
        (node(89, -1, head=True), LIFE, Status.CRITICAL, "expired live", "secure-ray rotate-certs"),
        # A worker of Ray on another port, which only the node itself can see.
        (
            node(89, told={"ee": NOW + 9 * DAY}),
            LIFE,
            Status.CRITICAL,
            "ends soon live",
            "secure-ray rotate-certs",
        ),
        (
            node(89, told={"ee": NOW + 60 * DAY}),
            LIFE,
            Status.OK,
            "renewed on disk; live with Ray's next start",
            "",
        ),
        # Nothing runs.
        (node(89, state="waiting"), LIFE, Status.OK, "Ray does not run there (waiting)", ""),
        (
            node(9, state="waiting"),
            LIFE,
            Status.CRITICAL,
            "ends soon on disk",
            "secure-ray status on that node",
        ),
        # Nothing is known.
        (
            node(89, state="silent", seen=NOW - 3 * DAY),
            LIFE,
            Status.UNKNOWN,
            "last seen 3 days ago",
            "secure-ray status on that node",
        ),
        (
            node(-5, state="silent", seen=NOW - timedelta(minutes=2)),
            LIFE,
            Status.UNKNOWN,
            "last seen 2 min ago",
            "secure-ray status on that node",
        ),
        (
            node(None, state="silent", seen=None),
            LIFE,
            Status.UNKNOWN,
            "never heard of",
            "secure-ray status on that node",
        ),
    ],
    ids=lambda value: value.next if isinstance(value, Verdict) else "",
)
def test_verdict(facts: NodeFacts, life: timedelta, status: Status, words: str, fix: str) -> None:
    assert judge(facts, life=life, now=NOW) == Verdict(status, words, fix)


@pytest.mark.parametrize(
    ("found", "counts"),
    [
        ([], Status.OK),
        ([Status.OK, Status.OK], Status.OK),
        ([Status.OK, Status.UNKNOWN], Status.UNKNOWN),
        ([Status.WARN, Status.UNKNOWN], Status.WARN),
        ([Status.UNKNOWN, Status.CRITICAL, Status.WARN], Status.CRITICAL),
    ],
)
def test_worst_counts_for_all(found: list[Status], counts: Status) -> None:
    assert worst([Verdict(status, "") for status in found]) is counts


@pytest.mark.parametrize(
    ("facts", "due"),
    [
        (node(89), False),
        (node(89, 44), True),
        (node(89, told={"ee": NOW}), True),
        (node(89, told={"dd": NOW}), False),
        (node(89, state="waiting"), False),
        (node(None), False),
    ],
)
def test_restart_is_due_while_anything_runs_with_another_leaf(
    facts: NodeFacts, *, due: bool
) -> None:
    assert facts.restart_due == due

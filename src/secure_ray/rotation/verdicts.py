"""How a node's certificate stands: decided from facts alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from secure_ray.rotation.nodes import NodeFacts

CRITICAL_LEFT = timedelta(days=10)
# A leaf of a few minutes has never ten days left: then the last ninth of its life is the end.
_CRITICAL_SHARE = 9
_WARN_USED = 2 / 3


class Status(Enum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """What is to be told of one node.

    Attributes:
        status: How bad it is.
        next: What comes next, or what is wrong.
        fix: The command that mends it, or "".
    """

    status: Status
    next: str
    fix: str = ""


def judge(node: NodeFacts, *, life: timedelta, now: datetime) -> Verdict:
    """How the certificate of `node` stands.

    Args:
        node: What is known of it.
        life: How long leaves live here.
        now: The time.
    """
    if node.disk is None or (not node.live and node.state == "silent"):
        return Verdict(Status.UNKNOWN, _last_seen(node, now), "secure-ray status on that node")
    where, end = _first_end(node.disk.expires, node.live.values())
    urgency = _urgency(end - now, life)
    if urgency is not None:
        status, words = urgency
        return Verdict(status, f"{words} {where}", _fix(node, where))
    if node.restart_due:
        return Verdict(Status.OK, "renewed on disk; live with Ray's next start")
    if not node.live:
        return Verdict(Status.OK, f"Ray does not run there ({node.state})")
    renews = node.disk.expires - life / 2
    return Verdict(Status.OK, f"renewed from {renews:%Y-%m-%d %H:%M} UTC on")


def _first_end(on_disk: datetime, live: Iterable[datetime]) -> tuple[str, datetime]:
    first = min(live, default=on_disk)
    return ("live", first) if first < on_disk else ("on disk", on_disk)


def _urgency(left: timedelta, life: timedelta) -> tuple[Status, str] | None:
    if left <= timedelta(0):
        return Status.CRITICAL, "expired"
    if left <= min(CRITICAL_LEFT, life / _CRITICAL_SHARE):
        return Status.CRITICAL, "ends soon"
    if left <= life * (1 - _WARN_USED):
        return Status.WARN, "past two thirds of its life"
    return None


def worst(verdicts: list[Verdict]) -> Status:
    """The status that counts for all of them."""
    order = (Status.CRITICAL, Status.WARN, Status.UNKNOWN, Status.OK)
    found = {verdict.status for verdict in verdicts}
    return next((status for status in order if status in found), Status.OK)


def _fix(node: NodeFacts, where: str) -> str:
    if where == "live" or node.restart_due:
        return "secure-ray rotate-certs"
    return "secure-ray up --head" if node.is_head else "secure-ray status on that node"


def _last_seen(node: NodeFacts, now: datetime) -> str:
    from secure_ray.policy.admission import in_words

    return f"last seen {in_words(now - node.seen)} ago" if node.seen else "never heard of"

"""What has to be made again, and why: decided from what was found, before anything is written.

1. A root that is there is never replaced. One that cannot be used now (its life has not begun or
   is over, it is another cluster's, its certificate is gone while others come from it) stops the
   run with an error; a person decides.
2. While the root is being rotated, no issuing CA is made: one that is due waits, and one that
   cannot be used stops the run. The rotation is finished or undone first.
3. An issuing CA or leaf that cannot be used (missing, damaged, key and certificate of different
   pairs, other issuer, not yet or no longer valid, other names) is made again.
4. One past half of its life is made again too, but that can wait: if the root key is off the
   machine, the old issuing CA serves until its end.

Pure: no files, no clock, no cryptography.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.base.commands import command, new_keys
from secure_ray.base.errors import FailedError
from secure_ray.pki.lifetimes import RENEW_AT

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from secure_ray.pki.facts import CertificateFacts


ABSENT = "there was none"


@dataclass(frozen=True)
class FoundRoot:
    """The root CA as found.

    Attributes:
        facts: What its certificate says; None when there is none.
        cluster_id: Whose it is, as its certificate says; empty when it says nothing.
        descendants: Whether anything is there that only a root can have issued.
    """

    facts: CertificateFacts | None
    cluster_id: str
    descendants: bool


@dataclass(frozen=True)
class FoundPair:
    """An issuing CA or a leaf as found, with its key.

    Attributes:
        facts: What its certificate says; None when there is none that can be read.
        defect: Why it cannot be used whatever the time; empty when it can.
    """

    facts: CertificateFacts | None
    defect: str = ""


@dataclass(frozen=True)
class Found:
    """All that was found on disk; `rotating` while there are two authorities."""

    root: FoundRoot
    issuing: FoundPair
    leaf: FoundPair
    rotating: bool = False


@dataclass(frozen=True)
class Renewal:
    """Something is to be made, and why (the end of a sentence).

    Attributes:
        reason: For a person, for example `it had expired 3 days ago`.
        can_wait: What is there still serves.
    """

    reason: str
    can_wait: bool = False


@dataclass(frozen=True)
class Verdict:
    """What to make; None means that what is there stays."""

    root: Renewal | None
    issuing: Renewal | None
    leaf: Renewal | None


def judge(
    found: Found, *, cluster: str, cluster_id: str, sans: tuple[str, ...], now: datetime
) -> Verdict:
    """What has to be made so that there is a usable root, issuing CA and leaf for `sans`.

    Args:
        found: What is there.
        cluster: The cluster's name, for what errors tell to run.
        cluster_id: Whose the root CA must be.
        sans: The names that the leaf must stand for.
        now: The time, with a time zone.

    Raises:
        FailedError: the root is there and cannot be used, or is gone while others come from it;
            or the root is being rotated and what issues meanwhile cannot be used.
    """
    return Verdict(
        root=_judge_root(found.root, cluster=cluster, cluster_id=cluster_id, now=now),
        issuing=_judge_issuing(found, cluster=cluster, now=now),
        leaf=_judge_leaf(found.leaf, sans=sans, now=now),
    )


def _judge_root(root: FoundRoot, *, cluster: str, cluster_id: str, now: datetime) -> Renewal | None:
    if root.facts is None:
        return _judge_missing_root(root, cluster)
    if root.cluster_id and root.cluster_id != cluster_id:
        raise FailedError(
            "SR-PKI-004",
            f"the root CA here belongs to cluster id {root.cluster_id}, not to {cluster_id}",
            fix=f"put the directory back where it came from, or for new keys: {new_keys(cluster)}",
        )
    if now < root.facts.not_before:
        raise FailedError(
            "SR-PKI-001",
            f"the root CA is valid only from {_shown(root.facts.not_before)}, but the clock says"
            f" {_shown(now)}",
            fix="set the clock (timedatectl, chronyc makestep) and run this again",
        )
    if now >= root.facts.not_after:
        raise FailedError(
            "SR-PKI-002",
            f"the root CA expired on {_shown(root.facts.not_after)}, and the clock says"
            f" {_shown(now)}",
            fix=f"set the clock if it is wrong; if it is right: {new_keys(cluster)}",
        )
    return None


def _judge_missing_root(root: FoundRoot, cluster: str) -> Renewal:
    if root.descendants:
        raise FailedError(
            "SR-PKI-003",
            "the root CA's certificate is gone, but certificates that it issued are there",
            fix="put pki/authority (root.crt and all beside it) back from a copy, or for new keys:"
            f" {new_keys(cluster)}",
        )
    return Renewal(ABSENT)


def _judge_issuing(found: Found, *, cluster: str, now: datetime) -> Renewal | None:
    renewal = _judge_pair(found.issuing, now=now)
    if renewal is None or not found.rotating:
        return renewal
    if renewal.can_wait:
        return None
    raise FailedError(
        "SR-PKI-014",
        "the root CA is being rotated, and the issuing CA of this step cannot be used:"
        f" {renewal.reason}",
        fix="put pki/authority back from a copy; or take the rotation back:"
        f" {command('rotate-certs --rollback', cluster)}",
    )


def _judge_leaf(leaf: FoundPair, *, sans: tuple[str, ...], now: datetime) -> Renewal | None:
    found = _judge_pair(leaf, now=now)
    if leaf.facts is None or (found and not found.can_wait):
        return found
    added, removed = set(sans) - set(leaf.facts.sans), set(leaf.facts.sans) - set(sans)
    if added or removed:
        words = [f"+{name}" for name in sorted(added)] + [f"-{name}" for name in sorted(removed)]
        return Renewal(f"its names changed ({' '.join(words)})")
    return found


def _judge_pair(pair: FoundPair, *, now: datetime) -> Renewal | None:
    facts = pair.facts
    if pair.defect or facts is None:
        return Renewal(pair.defect or ABSENT)
    if now < facts.not_before:
        return Renewal(f"it was valid only from {_shown(facts.not_before)}")
    if now >= facts.not_after:
        return Renewal(f"it had expired {_rough(now - facts.not_after)} ago")
    if facts.life_used(now) >= RENEW_AT:
        left = _rough(facts.not_after - now)
        return Renewal(f"past half of its life, {left} left", can_wait=True)
    return None


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}".rstrip()


def _rough(span: timedelta) -> str:
    for seconds, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        count = int(span.total_seconds() // seconds)
        if count:
            return f"{count} {unit}{'s' * (count != 1)}"
    return "less than a minute"

"""May this node join?

Decided after it has proven that it holds the token, so that nobody else learns what state the token
is in, and before anything is issued or changed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

MOST_SKEW = timedelta(minutes=5)
LONGEST_TTL = timedelta(hours=24)
MOST_USES = 1000
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
HEAD = "head"
_RESERVED = frozenset({HEAD, "localhost"})
_NEW_TOKEN = "on the head: secure-ray join-token create"  # noqa: S105  # an advice


@dataclass(frozen=True)
class TokenState:
    """A join token as the head knows it.

    Attributes:
        id: Its public name.
        expires: Until when.
        uses: How many keys may join with it.
        node: The only name that may, or "" for any.
        revoked: When it was revoked; None when it was not.
        spent_by: Names and addresses of the nodes that joined with it, oldest first.
    """

    id: str
    expires: datetime
    uses: int
    node: str
    revoked: datetime | None
    spent_by: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Applicant:
    """Who wants to join.

    Attributes:
        name: The name that it wants.
        clock: What its clock says.
        versions: Of `ray`, `python` and `secure-ray`.
        known: True when this key has joined with this token before and lost the reply.
        address: Where it comes from.
        node: The name of the node that has this key, or "".
    """

    name: str
    clock: datetime
    versions: Mapping[str, str]
    known: bool = False
    address: str = ""
    node: str = ""


@dataclass(frozen=True)
class Taken:
    """What others have already of what an applicant wants.

    Attributes:
        name: The address of another node that has its name, or "".
        address: The name of another node that has its address, or "".
    """

    name: str = ""
    address: str = ""


@dataclass(frozen=True)
class Rejection:
    """Why not; for a person.

    Attributes:
        code: Stable identifier.
        cause: What is in the way.
        fix: What to do about it.
        retry_after: Seconds after which it may go; 0 when waiting does not help.
    """

    code: str
    cause: str
    fix: str
    retry_after: int = 0


def judge_join(
    token: TokenState,
    applicant: Applicant,
    *,
    taken: Taken,
    versions: Mapping[str, str],
    now: datetime,
) -> Rejection | None:
    """Why this join may not go on; None when it may.

    Args:
        token: The token that was proven.
        applicant: Who wants to join.
        taken: What of it others have already.
        versions: What the head runs.
        now: The head's clock.
    """
    return (
        judge_token(token, known=applicant.known, now=now)
        or _judge_clock(applicant.clock, now)
        or _judge_name(token, applicant.name, taken.name)
        or _judge_key(applicant)
        or _judge_address(applicant.address, taken.address)
        or _judge_versions(applicant.versions, versions)
    )


def judge_token(token: TokenState, *, known: bool, now: datetime) -> Rejection | None:
    """Why nobody joins with that token any more; None while it lives.

    Args:
        token: The token.
        known: True for a key that has joined with it before.
        now: The head's clock.
    """
    if token.revoked is not None:
        ago = in_words(now - token.revoked)
        return Rejection("SR-JOIN-012", f"the join token was revoked {ago} ago", _NEW_TOKEN)
    if token.expires <= now:
        ago = in_words(now - token.expires)
        return Rejection("SR-JOIN-010", f"the join token expired {ago} ago", _NEW_TOKEN)
    if not known and len(token.spent_by) >= token.uses:
        name, address = token.spent_by[-1]
        return Rejection(
            "SR-JOIN-011", f"the join token was already used by node {name} ({address})", _NEW_TOKEN
        )
    return None


def is_node_name(name: str) -> bool:
    """Whether a node may be called that: a DNS label (RFC 1123), lower-case, not a reserved one."""
    return bool(_NAME.fullmatch(name)) and not name.isdigit() and name not in _RESERVED


def in_words(span: timedelta) -> str:
    """A span of time, short: `41 s`, `12 min`, `3 h`, `2 days`."""
    seconds = round(abs(span.total_seconds()))
    for unit, size, until in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86_400} days"


def _judge_clock(clock: datetime, now: datetime) -> Rejection | None:
    skew = clock - now
    if abs(skew) <= MOST_SKEW:
        return None
    way = "ahead of" if skew > timedelta(0) else "behind"
    return Rejection(
        "SR-JOIN-016",
        f"this node's clock is {in_words(skew)} {way} the head's: it says {_shown(clock)},"
        f" the head's {_shown(now)}",
        "set both clocks by NTP (timedatectl set-ntp true), then join again",
    )


def _judge_name(token: TokenState, name: str, holder: str) -> Rejection | None:
    if not is_node_name(name):
        return Rejection(
            "SR-JOIN-015",
            "the node's name is not one that a node may have",
            "use up to 63 lower-case letters, digits and hyphens: secure-ray up --join - --name w1",
        )
    if token.node and name != token.node:
        return Rejection(
            "SR-JOIN-015",
            f"the join token is for node {token.node}, not for {name}",
            f"secure-ray up --join - --name {token.node}",
        )
    if holder:
        return Rejection(
            "SR-JOIN-014",
            f"there is a node {name} already ({holder})",
            f"choose another name with --name, or on the head: secure-ray node revoke {name}",
        )
    return None


def _judge_key(applicant: Applicant) -> Rejection | None:
    # With a second name, it would still be a node once the first one is revoked.
    if not applicant.node or applicant.node == applicant.name:
        return None
    return Rejection(
        "SR-JOIN-051",
        f"this host is node {applicant.node} already, and cannot be {applicant.name} as well",
        f"secure-ray up --join - --name {applicant.node}; or secure-ray reset here first, for a "
        f"new key, and on the head: secure-ray node revoke {applicant.node}",
    )


def _judge_address(address: str, holder: str) -> Rejection | None:
    # Two leaves for one address: each of them could pose as the other.
    if not holder:
        return None
    who, fix = f"node {holder}", f"if it is gone, on the head: secure-ray node revoke {holder}"
    if holder == HEAD:
        who, fix = "the head", "join from another host than the head's"
    return Rejection(
        "SR-JOIN-024", f"this host has the address of {who} ({address}), and is not that one", fix
    )


def _judge_versions(theirs: Mapping[str, str], ours: Mapping[str, str]) -> Rejection | None:
    # Ray compares both to the last digit when a node starts (2.60.0, _private/utils.py
    # `check_version_info`), and fails late and at length when they differ.
    for package, title in (("ray", "Ray"), ("python", "Python")):
        if theirs.get(package) != ours.get(package):
            return _differs(title, theirs.get(package), ours.get(package))
    if _minor(theirs.get("secure-ray", "")) != _minor(ours.get("secure-ray", "")):
        return _differs("secure-ray", theirs.get("secure-ray"), ours.get("secure-ray"))
    return None


def _differs(title: str, theirs: str | None, ours: str | None) -> Rejection:
    return Rejection(
        "SR-JOIN-017",
        f"{title} differs: this node has {theirs or 'none'}, the head {ours or 'none'}",
        f"install {title} {ours} on this node, then join again",
    )


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


def _shown(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")

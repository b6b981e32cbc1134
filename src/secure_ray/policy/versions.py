"""Which Ray may start, and which installed packages have known vulnerabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.base.errors import Refusal
from secure_ray.policy.advisories import INFORMATIONAL, RAY, Advisory, affecting
from secure_ray.policy.ports import open_to_anybody
from secure_ray.policy.rules import RULES
from secure_ray.policy.values import shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from secure_ray.policy.advisories import AdvisoryBook
    from secure_ray.settings.model import Override

# The first Ray whose token authentication covers every door.
FIRST_SUPPORTED = "2.52.1"


@dataclass(frozen=True)
class PackageFinding:
    """What is known about one installed package.

    Attributes:
        package: Its name, as given.
        version: Its version, as given.
        advisories: What affects it.
        readable: False when the version cannot be compared; then nothing is proven.
    """

    package: str
    version: str
    advisories: tuple[Advisory, ...] = ()
    readable: bool = True


def judge_ray(
    version: str, book: AdvisoryBook, overrides: Mapping[str, Override], now: datetime
) -> tuple[Refusal, ...]:
    """Why this Ray may not start; empty when it may.

    Below 2.52.1 it never may. A Ray with advisories may if an override names each of them, by id
    or alias, and has not ended. Informational entries stop nothing.
    """
    from packaging.version import InvalidVersion, Version

    try:
        parsed = Version(version)
    except InvalidVersion:
        return (_refusal("SR-VER-003", f"Ray's version {shown(version)!r} cannot be read"),)
    if parsed < Version(FIRST_SUPPORTED):
        return (_refusal("SR-VER-001", f"Ray {version} has no token authentication"),)
    return tuple(
        refusal
        for advisory in affecting(book, RAY, version)
        if advisory.severity != INFORMATIONAL
        for refusal in _judge_advisory(version, advisory, overrides, now)
    )


def in_effect(
    overrides: Mapping[str, Override], version: str, book: AdvisoryBook, now: datetime
) -> dict[str, Override]:
    """The overrides that suspend something: none that has ended, or names what this Ray has not.

    Raises:
        InvalidVersion: the version cannot be read (`judge_ray` refuses it).
    """
    known = [one for one in affecting(book, RAY, version) if one.severity != INFORMATIONAL]
    named = {name for advisory in known for name in advisory.names}
    return {
        name: override
        for name, override in overrides.items()
        if override.until > now and (name.startswith("SR-") or name in named)
    }


def judge_private(version: str) -> tuple[Refusal, ...]:
    """Why this Ray may not be part of a cluster of several hosts; empty when it may.

    What asks for no token is kept closed in local mode: it is given a port on 127.0.0.1 that is
    taken. In private mode it asks for that port on the node's address, which the bind guard maps
    to 127.0.0.2, where the port is free.
    """
    from packaging.version import InvalidVersion

    try:
        found = open_to_anybody(version)
    except InvalidVersion:  # refused by `judge_ray`
        return ()
    return tuple(
        _refusal(
            "SR-VER-005",
            f"private mode needs Ray {component.asks_since} or newer; the {component.title} of "
            f"Ray {version} asks for no token",
        )
        for component in found
    )


def vulnerable(versions: Mapping[str, str], book: AdvisoryBook) -> tuple[PackageFinding, ...]:
    """The packages that an advisory affects, and those whose version cannot be read.

    Args:
        versions: Installed versions by package: `ray`, `aiohttp`, `aiohttp (vendored by ray)`,
            `grpcio`.
        book: What is known.
    """
    findings = (_examine(package, version, book) for package, version in versions.items())
    return tuple(found for found in findings if found.advisories or not found.readable)


def _judge_advisory(
    version: str, advisory: Advisory, overrides: Mapping[str, Override], now: datetime
) -> tuple[Refusal, ...]:
    given = [overrides[name] for name in sorted(advisory.names) if name in overrides]
    if any(override.until > now for override in given):
        return ()
    if given:
        return (_refusal("SR-VER-004", f"the override for {advisory.id} has ended"),)
    subject = f"Ray {version} has {advisory.id}: {advisory.summary}"
    better = f"install Ray {advisory.fixed} or newer" if advisory.fixed else "install another Ray"
    fix = f"{better}; or, for a time, [override] {advisory.id} = {{until = ..., reason = ...}}"
    return (_refusal("SR-VER-002", subject, fix=fix),)


def _examine(package: str, version: str, book: AdvisoryBook) -> PackageFinding:
    from packaging.version import InvalidVersion

    try:
        return PackageFinding(package, version, affecting(book, package, version))
    except InvalidVersion:
        return PackageFinding(package, version, readable=False)


def _refusal(rule_id: str, subject: str, *, fix: str = "") -> Refusal:
    rule = RULES[rule_id]
    return Refusal(rule.id, subject, "installed Ray", rule.why, fix or rule.fix)

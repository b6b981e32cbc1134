"""Reads OSV documents (https://ossf.github.io/osv-schema/, schema 1.7) into advisories."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from secure_ray.base.errors import UsageError
from secure_ray.policy.advisories import Advisory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from packaging.version import Version

_SEVERITIES = {
    "CRITICAL": "critical",
    "HIGH": "high",
    "MODERATE": "medium",
    "MEDIUM": "medium",
    "LOW": "low",
}
# At one version: a span ends before the next begins, and one of a single version begins first.
_RANK = {"fixed": 0, "introduced": 1, "last_affected": 2}
_PAGE = "https://osv.dev/vulnerability/"


def from_osv(document: Mapping[str, Any]) -> tuple[Advisory, ...]:
    """The advisories of one OSV document; none when it was withdrawn or names no PyPI package.

    Raises:
        UsageError: it is not an OSV document.
    """
    from packaging.version import InvalidVersion

    try:
        if document.get("withdrawn"):
            return ()
        return tuple(
            advisory
            for affected in document.get("affected", ())
            if affected["package"]["ecosystem"] == "PyPI"
            for advisory in _read_affected(document, affected)
        )
    except (KeyError, TypeError, AttributeError, ValueError, InvalidVersion) as error:
        raise UsageError(
            "SR-VER-006",
            f"an advisory is not an OSV document: {type(error).__name__}: {error}",
            fix="download it again from https://osv.dev",
        ) from None


def _read_affected(document: Mapping[str, Any], affected: Mapping[str, Any]) -> list[Advisory]:
    from packaging.version import Version

    def advisory(introduced: str, end: str, at: str, versions: tuple[str, ...] = ()) -> Advisory:
        return Advisory(
            id=_text(document["id"]),
            aliases=tuple(_text(alias) for alias in document.get("aliases", ())),
            package=_normal(affected["package"]["name"]),
            summary=_summary(document),
            severity=_severity(document, affected),
            introduced=introduced,
            fixed=at if end == "fixed" else "",
            url=f"{_PAGE}{document['id']}",
            last_affected=at if end == "last_affected" else "",
            versions=versions,
        )

    found = [
        advisory(*span)
        for one in affected.get("ranges", ())
        if one["type"] in {"ECOSYSTEM", "SEMVER"}
        for span in _spans(one["events"])
    ]
    listed = [version for version in affected.get("versions", ()) if _is_version(version)]
    outside = tuple(v for v in listed if not any(a.affects(Version(v)) for a in found))
    if outside:
        found.append(advisory("", "", "", outside))
    return found


def _spans(events: Iterable[Mapping[str, str]]) -> list[tuple[str, str, str]]:
    """Pairs each `introduced` with the `fixed` or `last_affected` that ends it."""
    found = []
    start: str | None = None
    for kind, at in sorted(_events(events), key=_order):
        if kind == "introduced":
            start = start if start is not None else at
        elif start is not None:
            found.append((start, kind, at))
            start = None
    if start is not None:
        found.append((start, "", ""))
    return found


def _events(events: Iterable[Mapping[str, str]]) -> list[tuple[str, str]]:
    return [(kind, _text(at)) for event in events for kind, at in event.items() if kind in _RANK]


def _order(event: tuple[str, str]) -> tuple[Version, int]:
    from packaging.version import Version

    kind, at = event
    return Version(at), _RANK[kind]


def _severity(document: Mapping[str, Any], affected: Mapping[str, Any]) -> str:
    """The database's word for it; "high" where there is none, to err on the safe side."""
    for place in (affected, document):
        word = (place.get("database_specific") or {}).get("severity")
        if isinstance(word, str) and word.upper() in _SEVERITIES:
            return _SEVERITIES[word.upper()]
    return "high"


def _summary(document: Mapping[str, Any]) -> str:
    text = _text(document.get("summary") or document.get("details") or document["id"])
    return text.strip().splitlines()[0][:200]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _is_version(text: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        Version(text)
    except InvalidVersion:
        return False
    return True

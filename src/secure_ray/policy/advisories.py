"""Known vulnerabilities of Ray and of what it serves with, as data with a date.

The data is `advisories.json` beside this file; OSV documents (https://ossf.github.io/osv-schema/,
schema 1.7) are merged into it, by a maintainer or at run time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from secure_ray.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.version import Version

RAY = "ray"
VENDORED_AIOHTTP = "aiohttp (vendored by ray)"
# A copy inside another package has the vulnerabilities of the original.
_COPIES = {VENDORED_AIOHTTP: "aiohttp"}
INFORMATIONAL = "informational"
# Informational only where the bind guard holds: nothing else keeps Serve's sockets on loopback.
CLOSED_BY_GUARD = frozenset({"ray-65189"})
SEVERITIES = ("critical", "high", "medium", "low", INFORMATIONAL)
_TEXT_FIELDS = ("id", "package", "summary", "severity", "introduced", "fixed", "url")


@dataclass(frozen=True)
class Advisory:
    """One range of versions of one package that one vulnerability affects.

    Attributes:
        id: `CVE-...`, `GHSA-...` or `PYSEC-...`; several ranges share one.
        aliases: Its other names.
        package: The name on PyPI.
        summary: One line.
        severity: One of `SEVERITIES`; `informational` never stops a start.
        introduced: First affected version; "0" for all before `fixed`.
        fixed: First version without it, "" when there is none.
        url: Where to read more.
        last_affected: Last affected version, where no fixed one is known.
        versions: Affected versions that lie in no range.
    """

    id: str
    aliases: tuple[str, ...]
    package: str
    summary: str
    severity: str
    introduced: str
    fixed: str
    url: str
    last_affected: str = ""
    versions: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The id and all aliases."""
        return frozenset({self.id, *self.aliases})

    def affects(self, version: Version) -> bool:
        """Whether `version` is in the range. A release candidate comes before its release."""
        from packaging.version import Version

        if any(Version(listed) == version for listed in self.versions):
            return True
        # A pre-release of the first affected version most likely has it already.
        if not self.introduced or Version(version.base_version) < Version(self.introduced):
            return False
        if self.last_affected:
            return version <= Version(self.last_affected)
        return not self.fixed or version < Version(self.fixed)


@dataclass(frozen=True)
class AdvisoryBook:
    """All known advisories.

    Attributes:
        date: When the data was last brought up to date.
        advisories: One entry per advisory and range.
    """

    date: date
    advisories: tuple[Advisory, ...] = field(repr=False)


def load(text: str) -> AdvisoryBook:
    """The book that `text`, the content of advisories.json, holds.

    Raises:
        UsageError: it is not such a document.
    """
    try:
        document = json.loads(text)
        entries = tuple(_read_entry(entry) for entry in document["advisories"])
        return AdvisoryBook(date.fromisoformat(document["date"]), entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            "SR-VER-006",
            f"the advisories cannot be read: {type(error).__name__}",
            fix="install secure-ray again",
        ) from None


def dump(book: AdvisoryBook) -> str:
    """The book as the text of advisories.json."""
    document = {
        "date": book.date.isoformat(),
        "advisories": [_entry(advisory) for advisory in book.advisories],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def from_osv(document: Mapping[str, Any]) -> tuple[Advisory, ...]:
    """The advisories of one OSV document; none when it was withdrawn or names no PyPI package.

    Raises:
        UsageError: it is not an OSV document.
    """
    from secure_ray.policy import osv

    return osv.from_osv(document)


def merge(
    book: AdvisoryBook, found: Iterable[Advisory], *, today: date | None = None
) -> AdvisoryBook:
    """The book with `found` added; what was there under the same name is brought up to date.

    An entry that the book calls informational stays so: that is a judgement about secure-ray's
    own protections, which a database does not know.

    Args:
        book: The book.
        found: What `from_osv` read.
        today: The new date of the book; None keeps the old one.
    """
    fresh: dict[tuple[str, str], list[Advisory]] = {}
    for entry in found:
        fresh.setdefault((entry.package, entry.id), []).append(entry)
    merged = list(book.advisories)
    for entries in fresh.values():
        merged = _merge_one(merged, entries)
    merged.sort(key=lambda entry: (entry.package, entry.id, entry.introduced))
    return AdvisoryBook(today or book.date, tuple(merged))


def affecting(book: AdvisoryBook, package: str, version: str) -> tuple[Advisory, ...]:
    """The advisories that affect a version of a package, each once.

    Raises:
        packaging.version.InvalidVersion: `version` cannot be read.
    """
    from packaging.version import Version

    parsed = Version(version)
    packages = {package, _COPIES.get(package, package)}
    found = {
        advisory.id: advisory
        for advisory in book.advisories
        if advisory.package in packages and advisory.affects(parsed)
    }
    return tuple(found.values())


def _read_entry(entry: Mapping[str, Any]) -> Advisory:
    texts = {name: entry[name] for name in _TEXT_FIELDS}
    texts["last_affected"] = entry.get("last_affected", "")
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError("a field is not text")
    if texts["severity"] not in SEVERITIES:
        raise ValueError("no such severity")
    return Advisory(
        **texts, aliases=tuple(entry["aliases"]), versions=tuple(entry.get("versions", ()))
    )


def _entry(advisory: Advisory) -> dict[str, object]:
    entry: dict[str, object] = {
        "id": advisory.id,
        "aliases": list(advisory.aliases),
        **{name: getattr(advisory, name) for name in _TEXT_FIELDS[1:]},
    }
    if advisory.last_affected:
        entry["last_affected"] = advisory.last_affected
    if advisory.versions:
        entry["versions"] = list(advisory.versions)
    return entry


def _merge_one(known: Sequence[Advisory], fresh: Sequence[Advisory]) -> list[Advisory]:
    names = frozenset().union(*(entry.names for entry in fresh))
    package = fresh[0].package
    same = [entry for entry in known if entry.package == package and entry.names & names]
    others = [entry for entry in known if entry not in same]
    if not same:
        return others + list(fresh)
    # The name by which overrides already know it stays the id.
    first = same[0]
    aliases = tuple(sorted((names | first.names) - {first.id}))
    informational = first.severity == INFORMATIONAL
    return others + [
        replace(
            entry,
            id=first.id,
            aliases=aliases,
            summary=first.summary,
            severity=INFORMATIONAL if informational else entry.severity,
        )
        for entry in fresh
    ]

"""The shipped advisories, and what becomes of them when others are merged in."""

from __future__ import annotations

import json
from datetime import date
from importlib.resources import files

import pytest

from secure_ray.base.errors import UsageError
from secure_ray.policy.advisories import (
    INFORMATIONAL,
    RAY,
    VENDORED_AIOHTTP,
    Advisory,
    AdvisoryBook,
    affecting,
    dump,
    from_osv,
    load,
    merge,
)

SHIPPED = files("secure_ray.policy").joinpath("advisories.json").read_text(encoding="utf-8")
BOOK = load(SHIPPED)


def advisory(
    id_: str = "CVE-1", *, introduced: str = "0", fixed: str = "", **rest: object
) -> Advisory:
    fields: dict[str, object] = {
        "aliases": (),
        "package": RAY,
        "summary": "s",
        "severity": "high",
        "url": "https://example.invalid",
    }
    return Advisory(
        id=id_,
        introduced=introduced,
        fixed=fixed,
        **(fields | rest),  # type: ignore[arg-type]
    )


def ids(book: AdvisoryBook, package: str, version: str) -> set[str]:
    return {entry.id for entry in affecting(book, package, version)}


def test_the_shipped_file_is_as_it_would_be_written() -> None:
    assert dump(BOOK) == SHIPPED
    assert merge(BOOK, ()) == BOOK


@pytest.mark.parametrize("entry", BOOK.advisories, ids=lambda entry: f"{entry.id}-{entry.package}")
def test_a_shipped_entry_can_be_compared(entry: Advisory) -> None:
    from packaging.version import Version

    assert entry.summary
    assert entry.url.startswith("https://")
    for version in (entry.introduced, entry.fixed, entry.last_affected):
        assert version == "" or Version(version) is not None
    assert entry.fixed or entry.last_affected or entry.severity == INFORMATIONAL


@pytest.mark.parametrize(
    ("package", "version", "expected"),
    [
        (RAY, "2.52.1", {"CVE-2026-27482", "CVE-2026-41486", "CVE-2026-57516"}),
        (RAY, "2.54.0", {"CVE-2026-41486", "CVE-2026-57516"}),
        (RAY, "2.55.0", {"CVE-2026-57516"}),
        (RAY, "2.56.0", set()),
        (RAY, "2.60.0", set()),
        ("aiohttp", "3.14.5", set()),
        ("aiohttp", "3.14.2", {"GHSA-cq5v-8q36-5273"}),
        (VENDORED_AIOHTTP, "3.14.4", set()),
        (VENDORED_AIOHTTP, "3.14.1", {"GHSA-mfx4-hv73-q22v", "GHSA-cq5v-8q36-5273"}),
        ("grpcio", "1.85.1", set()),
        ("grpcio", "1.59.0", {"CVE-2023-44487"}),
        ("grpcio", "1.54.2", {"CVE-2023-44487", "CVE-2023-33953", "CVE-2023-4785"}),
        ("numpy", "1.0", set()),
    ],
)
def test_known_versions_have_known_advisories(
    package: str, version: str, expected: set[str]
) -> None:
    stopping = {
        entry.id for entry in affecting(BOOK, package, version) if entry.severity != INFORMATIONAL
    }

    assert stopping == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.9", False),
        ("2.0rc1", True),
        ("2.0.dev0", True),
        ("2.0", True),
        ("2.5.post1", True),
        ("3.0rc1", True),
        ("3.0", False),
        ("3.0+cu128", False),
        ("3.0.post1", False),
    ],
)
def test_a_pre_release_counts_as_older(version: str, *, expected: bool) -> None:
    """Of the first affected version it is affected already, of the fixed one still."""
    book = AdvisoryBook(date(2026, 1, 1), (advisory(introduced="2.0", fixed="3.0"),))

    assert bool(affecting(book, RAY, version)) is expected


def test_the_last_affected_version_is_affected() -> None:
    book = AdvisoryBook(date(2026, 1, 1), (advisory(last_affected="2.0"),))

    assert ids(book, RAY, "2.0") == {"CVE-1"}
    assert ids(book, RAY, "2.0.1") == set()


def test_without_an_end_all_later_versions_are_affected() -> None:
    book = AdvisoryBook(date(2026, 1, 1), (advisory(introduced="2.0"),))

    assert ids(book, RAY, "99") == {"CVE-1"}


def test_listed_versions_alone_are_affected() -> None:
    entry = advisory(introduced="", versions=("1.0", "1.2"))
    book = AdvisoryBook(date(2026, 1, 1), (entry,))

    assert ids(book, RAY, "1.2.0") == {"CVE-1"}
    assert ids(book, RAY, "1.1") == set()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"date": "2026-01-01"}',
        '{"date": "soon", "advisories": []}',
        '{"date": "2026-01-01", "advisories": [{}]}',
        '{"date": "2026-01-01", "advisories": [1]}',
        json.dumps(
            {
                "date": "2026-01-01",
                "advisories": [
                    {
                        "id": 1,
                        "aliases": [],
                        "package": "ray",
                        "summary": "",
                        "severity": "high",
                        "introduced": "0",
                        "fixed": "",
                        "url": "",
                    }
                ],
            }
        ),
        json.dumps(
            {
                "date": "2026-01-01",
                "advisories": [
                    {
                        "id": "x",
                        "aliases": [],
                        "package": "ray",
                        "summary": "",
                        "severity": "dire",
                        "introduced": "0",
                        "fixed": "",
                        "url": "",
                    }
                ],
            }
        ),
    ],
)
def test_a_broken_book_is_an_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(text)

    assert caught.value.code == "SR-VER-006"


def test_merging_adds_the_new_and_dates_the_book() -> None:
    book = merge(BOOK, [advisory("CVE-2099-1", fixed="3.0")], today=date(2099, 1, 1))

    assert book.date == date(2099, 1, 1)
    assert ids(book, RAY, "2.60.0") - ids(BOOK, RAY, "2.60.0") == {"CVE-2099-1"}
    assert merge(book, ()).date == date(2099, 1, 1)
    assert load(dump(book)) == book


def test_merging_brings_the_known_up_to_date_under_its_known_name() -> None:
    fresh = advisory("GHSA-hhrp-gw25-jr43", aliases=("CVE-2026-57516",), fixed="2.57.0")

    book = merge(BOOK, [fresh])

    assert len(book.advisories) == len(BOOK.advisories)
    found = {entry.id: entry for entry in affecting(book, RAY, "2.56.0")}["CVE-2026-57516"]
    assert found.fixed == "2.57.0"
    assert set(found.aliases) == {"GHSA-hhrp-gw25-jr43", "PYSEC-2026-2273"}


def test_merging_keeps_what_was_judged_informational() -> None:
    fresh = advisory("GHSA-6wgj-66m2-xxp2", severity="critical", aliases=("CVE-2023-48022",))

    book = merge(BOOK, [fresh])

    found = {entry.id: entry for entry in affecting(book, RAY, "2.60.0")}
    assert found["CVE-2023-48022"].severity == INFORMATIONAL


def test_merging_all_ranges_of_an_advisory() -> None:
    fresh = [
        advisory("CVE-2099-1", introduced="1.0", fixed="1.5"),
        advisory("CVE-2099-1", introduced="2.0", fixed="2.5"),
    ]

    book = merge(merge(BOOK, fresh), fresh)

    assert len(book.advisories) == len(BOOK.advisories) + 2
    assert "CVE-2099-1" in ids(book, RAY, "1.2")
    assert "CVE-2099-1" not in ids(book, RAY, "1.7")


def test_the_same_name_in_another_package_is_left_alone() -> None:
    fresh = advisory("CVE-2026-57516", package="aiohttp", fixed="9")

    book = merge(BOOK, [fresh])

    assert "CVE-2026-57516" in ids(book, RAY, "2.55.0")
    assert "CVE-2026-57516" in ids(book, "aiohttp", "3.14.5")


def test_an_osv_document_can_be_read_from_here() -> None:
    assert from_osv({"id": "X", "withdrawn": "2026-01-01T00:00:00Z"}) == ()

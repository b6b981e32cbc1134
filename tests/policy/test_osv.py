"""OSV documents as the databases publish them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.errors import UsageError
from secure_ray.policy.osv import from_osv

DOCUMENT: dict[str, Any] = {
    "schema_version": "1.7.3",
    "id": "GHSA-aaaa-bbbb-cccc",
    "modified": "2026-08-01T00:00:00Z",
    "published": "2026-07-01T00:00:00Z",
    "aliases": ["CVE-2099-1"],
    "summary": "Something bad",
    "details": "Longer.",
    "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "Ray", "purl": "pkg:pypi/ray"},
            "ranges": [
                {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.56.0"}]},
                {"type": "GIT", "repo": "https://x", "events": [{"introduced": "abc"}]},
            ],
            "versions": ["2.54.0", "2.55.0"],
            "database_specific": {"source": "https://x"},
        }
    ],
    "database_specific": {"severity": "MODERATE", "cwe_ids": ["CWE-502"]},
    "references": [{"type": "WEB", "url": "https://x"}],
}


def with_affected(**changes: object) -> dict[str, Any]:
    return DOCUMENT | {"affected": [DOCUMENT["affected"][0] | changes]}


def with_events(*events: dict[str, str]) -> dict[str, Any]:
    return with_affected(versions=[], ranges=[{"type": "ECOSYSTEM", "events": list(events)}])


def test_a_document_is_read() -> None:
    (entry,) = from_osv(DOCUMENT)

    assert entry.id == "GHSA-aaaa-bbbb-cccc"
    assert entry.aliases == ("CVE-2099-1",)
    assert (entry.package, entry.summary, entry.severity) == ("ray", "Something bad", "medium")
    assert (entry.introduced, entry.fixed, entry.last_affected) == ("0", "2.56.0", "")
    assert entry.url == "https://osv.dev/vulnerability/GHSA-aaaa-bbbb-cccc"
    assert entry.versions == ()


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([{"introduced": "0"}], [("0", "", "")]),
        ([{"introduced": "1.0"}, {"last_affected": "2.0"}], [("1.0", "", "2.0")]),
        ([{"introduced": "1.0"}, {"last_affected": "1.0"}], [("1.0", "", "1.0")]),
        ([{"fixed": "2.0"}, {"introduced": "1.0"}], [("1.0", "2.0", "")]),
        ([{"introduced": "1.0", "fixed": "2.0"}], [("1.0", "2.0", "")]),
        (
            [{"introduced": "2.0"}, {"fixed": "1.5"}, {"introduced": "0"}, {"fixed": "2.5"}],
            [("0", "1.5", ""), ("2.0", "2.5", "")],
        ),
        (
            [{"introduced": "0"}, {"fixed": "2.9"}, {"introduced": "2.10"}, {"limit": "3"}],
            [("0", "2.9", ""), ("2.10", "", "")],
        ),
        ([{"fixed": "2.0"}], []),
        ([{"introduced": "1.0"}, {"introduced": "1.5"}, {"fixed": "2"}], [("1.0", "2", "")]),
    ],
    ids=str,
)
def test_events_become_ranges(
    events: list[dict[str, str]], expected: list[tuple[str, str, str]]
) -> None:
    found = from_osv(with_events(*events))

    assert [(one.introduced, one.fixed, one.last_affected) for one in found] == expected


def test_versions_outside_every_range_are_kept() -> None:
    found = from_osv(with_affected(versions=["2.55.0", "2.57.0", "not-a-version"]))

    assert [entry.versions for entry in found] == [(), ("2.57.0",)]


def test_a_document_with_versions_only_is_read() -> None:
    (entry,) = from_osv(with_affected(ranges=[], versions=["1.0", "1.1"]))

    assert entry.versions == ("1.0", "1.1")


def test_what_is_withdrawn_or_of_another_ecosystem_is_left_out() -> None:
    npm = with_affected(package={"ecosystem": "npm", "name": "ray"})

    assert from_osv(DOCUMENT | {"withdrawn": "2026-09-01T00:00:00Z"}) == ()
    assert from_osv(npm) == ()
    assert from_osv({"id": "X"}) == ()


@pytest.mark.parametrize(
    ("word", "expected"),
    [("CRITICAL", "critical"), ("low", "low"), ("strange", "high"), (None, "high")],
)
def test_a_missing_severity_counts_as_high(word: str | None, expected: str) -> None:
    (entry,) = from_osv(DOCUMENT | {"database_specific": {"severity": word}})

    assert entry.severity == expected


def test_names_of_packages_are_normalised() -> None:
    (entry,) = from_osv(with_affected(package={"ecosystem": "PyPI", "name": "Grpc_IO"}))

    assert entry.package == "grpc-io"


def test_the_first_line_stands_in_for_a_missing_summary() -> None:
    (entry,) = from_osv({**DOCUMENT, "summary": "", "details": "First.\nSecond."})

    assert entry.summary == "First."


@pytest.mark.parametrize(
    "document",
    [
        [],
        "text",
        DOCUMENT | {"id": 1},
        DOCUMENT | {"aliases": [1]},
        DOCUMENT | {"affected": [{}]},
        with_events({"introduced": "newest"}),
        with_events({"introduced": 1}),  # type: ignore[dict-item]  # what is wrong with it
        {key: value for key, value in DOCUMENT.items() if key != "id"},
    ],
    ids=repr,
)
def test_what_is_not_osv_is_an_error(document: Any) -> None:
    with pytest.raises(UsageError) as caught:
        from_osv(document)

    assert caught.value.code == "SR-VER-006"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "affected", "package", "ranges", "events", "introduced", "type"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_read_or_refused(document: Any) -> None:
    try:
        from_osv(document)
    except UsageError:
        return

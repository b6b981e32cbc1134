"""Which Ray may start."""

from __future__ import annotations

from datetime import date
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.policy.advisories import Advisory, AdvisoryBook, load, merge
from secure_ray.policy.versions import in_effect, judge_private, judge_ray, vulnerable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

BOOK = load(files("secure_ray.policy").joinpath("advisories.json").read_text(encoding="utf-8"))
OF_2_52 = ("CVE-2026-27482", "CVE-2026-41486", "CVE-2026-57516")
NONE: Mapping[str, Any] = {}


def rules(version: str, now: datetime, overrides: Mapping[str, Any] = NONE) -> list[str]:
    return [refusal.rule for refusal in judge_ray(version, BOOK, overrides, now)]


@pytest.mark.parametrize("version", ["1.0", "2.50.0", "2.52.0", "2.52.1rc1", "2.52.1.dev0"])
def test_a_ray_without_token_authentication_is_refused_whatever_is_overridden(
    version: str, now: datetime, override: Any
) -> None:
    named = dict.fromkeys((*OF_2_52, "SR-VER-001", "CVE-2025-62593"), override)

    assert rules(version, now, named) == ["SR-VER-001"]


@pytest.mark.parametrize(
    ("version", "count"),
    [("2.52.1", 3), ("2.53.0", 3), ("2.54.1", 2), ("2.55.1", 1), ("2.56.0rc1", 1)],
)
def test_a_ray_with_advisories_is_refused_for_each(version: str, count: int, now: datetime) -> None:
    assert rules(version, now) == ["SR-VER-002"] * count


@pytest.mark.parametrize(
    "version", ["2.56.0", "2.56.0.post1", "2.56.1", "2.60.0", "2.60.0+cu128", "3.0.0.dev0"]
)
def test_a_newer_ray_starts_without_a_word(version: str, now: datetime) -> None:
    assert rules(version, now) == []


@pytest.mark.parametrize("version", ["", "x", "2.60.0-", "\x1b[2J", "2.60.0 or so"])
def test_a_version_that_cannot_be_read_is_refused(version: str, now: datetime) -> None:
    refusals = judge_ray(version, BOOK, {}, now)

    assert [refusal.rule for refusal in refusals] == ["SR-VER-003"]
    assert "\x1b" not in refusals[0].subject


def test_an_override_must_name_each_advisory(now: datetime, override: Any) -> None:
    assert rules("2.52.1", now, dict.fromkeys(OF_2_52, override)) == []
    for left_out in OF_2_52:
        named = {name: override for name in OF_2_52 if name != left_out}
        (refusal,) = judge_ray("2.52.1", BOOK, named, now)
        assert left_out in refusal.subject
        assert f"[override] {left_out}" in refusal.fix


def test_an_override_for_the_rule_is_not_enough(now: datetime, override: Any) -> None:
    assert rules("2.55.0", now, {"SR-VER-002": override}) == ["SR-VER-002"]


@pytest.mark.parametrize("alias", ["GHSA-hhrp-gw25-jr43", "PYSEC-2026-2273"])
def test_an_override_may_use_another_name_of_the_advisory(
    alias: str, now: datetime, override: Any
) -> None:
    assert rules("2.55.0", now, {alias: override}) == []


def test_an_override_that_has_ended_is_refused(now: datetime, override: Any, expired: Any) -> None:
    assert rules("2.55.0", now, {"CVE-2026-57516": expired}) == ["SR-VER-004"]
    renewed = {"CVE-2026-57516": expired, "GHSA-hhrp-gw25-jr43": override}
    assert rules("2.55.0", now, renewed) == []


def test_a_new_advisory_refuses_a_new_ray(now: datetime) -> None:
    fresh = Advisory("CVE-2099-1", (), "ray", "s", "high", "2.58.0", "2.61.0", "https://x")

    (refusal,) = judge_ray("2.60.0", merge(BOOK, [fresh]), {}, now)

    assert refusal.rule == "SR-VER-002"
    assert "install Ray 2.61.0 or newer" in refusal.fix


def test_an_advisory_without_a_fix_says_so(now: datetime) -> None:
    fresh = Advisory("CVE-2099-1", (), "ray", "s", "high", "2.58.0", "", "https://x")

    (refusal,) = judge_ray("2.60.0", merge(BOOK, [fresh]), {}, now)

    assert "install another Ray" in refusal.fix


def test_the_audit_sees_every_vulnerable_package() -> None:
    versions = {
        "ray": "2.55.0",
        "aiohttp": "3.14.5",
        "aiohttp (vendored by ray)": "3.14.1",
        "grpcio": "soon",
        "unheard-of": "1.0",
    }

    found = {finding.package: finding for finding in vulnerable(versions, BOOK)}

    assert set(found) == {"ray", "aiohttp (vendored by ray)", "grpcio"}
    assert not found["grpcio"].readable
    assert {entry.id for entry in found["ray"].advisories} >= {"CVE-2026-57516", "CVE-2023-48022"}


def test_nothing_known_means_nothing_found() -> None:
    assert vulnerable({"ray": "2.55.0"}, AdvisoryBook(date(2026, 1, 1), ())) == ()


@pytest.mark.parametrize(
    ("version", "count"), [("2.52.1", 1), ("2.53.0", 1), ("2.54.0", 0), ("2.60.0", 0), ("x", 0)]
)
def test_private_mode_needs_a_ray_in_which_every_door_asks_for_the_token(
    version: str, count: int
) -> None:
    refusals = judge_private(version)

    assert [refusal.rule for refusal in refusals] == ["SR-VER-005"] * count
    assert all("needs Ray 2.54.0 or newer" in refusal.subject for refusal in refusals)


def test_only_overrides_that_suspend_something_are_in_effect(
    now: datetime, override: Any, expired: Any
) -> None:
    given = {
        OF_2_52[0]: override,
        "SR-LIMIT-001": override,
        "CVE-1999-0001": override,
        "SR-LIMIT-002": expired,
        OF_2_52[1]: expired,
    }

    assert set(in_effect(given, "2.52.1", BOOK, now)) == {OF_2_52[0], "SR-LIMIT-001"}
    assert set(in_effect(given, "2.60.0", BOOK, now)) == {"SR-LIMIT-001"}

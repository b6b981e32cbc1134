"""What `audit --pre` says of the installed versions."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from secure_ray.audit.before import examine, judge_versions
from secure_ray.audit.findings import Severity, Status
from secure_ray.base.clock import utc_now
from secure_ray.base.errors import UsageError
from secure_ray.policy.advisories import Advisory, AdvisoryBook

if TYPE_CHECKING:
    from pathlib import Path


def advisory(name: str, severity: str = "high", package: str = "ray") -> Advisory:
    return Advisory(name, (), package, "it is open", severity, "0", "2.0", "https://example.org")


def book(*advisories: Advisory) -> AdvisoryBook:
    return AdvisoryBook(date(2026, 11, 1), advisories)


def test_package_without_advisories_passes() -> None:
    (finding,) = judge_versions({"ray": "2.1"}, book(advisory("CVE-1")), guarded=True)

    assert (finding.status, finding.where, finding.actual) == (Status.PASS, "ray 2.1", "none")
    assert "2026-11-01" in finding.expected


def test_each_advisory_fails_with_where_it_is_fixed() -> None:
    known = book(advisory("CVE-1", "critical"), advisory("CVE-2", "low"))

    found = list(judge_versions({"ray": "1.9"}, known, guarded=True))

    assert [(finding.status, finding.severity) for finding in found] == [
        (Status.FAIL, Severity.CRITICAL),
        (Status.FAIL, Severity.LOW),
    ]
    assert found[0].actual == "CVE-1: it is open"
    assert found[0].fix == "pip install 'ray[default]>=2.0'"


def test_what_secure_ray_closes_itself_is_told_and_passes() -> None:
    (finding,) = judge_versions(
        {"ray": "1.9"}, book(advisory("CVE-1", "informational")), guarded=True
    )

    assert finding.status is Status.PASS
    assert "CVE-1" in finding.actual


def test_what_the_guard_closes_is_open_without_it() -> None:
    """Serve's replicas on all addresses, which take pickles from everybody."""
    known = book(advisory("ray-65189", "informational"))

    (kept,) = judge_versions({"ray": "1.9"}, known, guarded=True)
    (open_,) = judge_versions({"ray": "1.9"}, known, guarded=False)

    assert (kept.status, kept.severity) == (Status.PASS, Severity.LOW)
    assert (open_.status, open_.severity) == (Status.FAIL, Severity.HIGH)


def test_version_that_cannot_be_compared_is_no_pass() -> None:
    (finding,) = judge_versions({"ray": "rubbish"}, book(advisory("CVE-1")), guarded=True)

    assert finding.status is Status.ERROR


def test_missing_ray_is_no_pass() -> None:
    found = list(judge_versions({"aiohttp": "3.13.3"}, book(), guarded=True))

    assert [finding.status for finding in found] == [Status.PASS, Status.ERROR]


def test_copy_inside_of_ray_is_judged_like_the_original() -> None:
    known = book(advisory("CVE-1", package="aiohttp"))
    versions = {"ray": "2.1", "aiohttp": "2.1", "aiohttp (vendored by ray)": "1.9"}

    failed = [
        (finding.where, finding.fix)
        for finding in judge_versions(versions, known, guarded=True)
        if finding.status is Status.FAIL
    ]

    assert failed == [
        (
            "aiohttp (vendored by ray) 1.9",
            "pip install --upgrade 'ray[default]', to one that brings 2.0",
        )
    ]


def test_installed_packages_are_examined(tmp_path: Path) -> None:
    report = examine(environ={"HOME": str(tmp_path)}, cwd=tmp_path, clock=utc_now)

    assert any(finding.where.startswith("ray ") for finding in report.findings)
    assert report.errors == ()


def test_advisory_file_of_the_settings_counts(tmp_path: Path) -> None:
    file = tmp_path / "secure-ray.toml"
    file.write_text(f'[advisories]\nfiles = ["{tmp_path}/none.json"]\n')
    file.chmod(0o600)

    with pytest.raises(UsageError):
        examine(environ={"HOME": str(tmp_path)}, cwd=tmp_path, clock=utc_now)

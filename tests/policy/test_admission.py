"""Every reason not to let a node in has its code, its cause and its fix."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from secure_ray.policy.admission import (
    Applicant,
    Rejection,
    Taken,
    TokenState,
    in_words,
    is_node_name,
    judge_join,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
VERSIONS = {"ray": "2.60.0", "python": "3.11.7", "secure-ray": "0.1.0"}
TOKEN = TokenState("abcdefgh", NOW + timedelta(minutes=30), 1, "", None, ())
APPLICANT = Applicant("w1", NOW, VERSIONS)
USED = (("w3", "10.0.0.7"),)


def judge(
    token: dict[str, Any] | None = None, applicant: dict[str, Any] | None = None, **taken: str
) -> Rejection | None:
    return judge_join(
        replace(TOKEN, **(token or {})),
        replace(APPLICANT, **(applicant or {})),
        taken=Taken(**taken),
        versions=VERSIONS,
        now=NOW,
    )


def test_a_good_token_lets_a_node_in() -> None:
    assert judge() is None


@pytest.mark.parametrize(
    ("token", "applicant", "holder", "code", "cause"),
    [
        ({"expires": NOW - timedelta(minutes=12)}, {}, "", 10, "expired 12 min ago"),
        ({"expires": NOW}, {}, "", 10, "expired"),
        ({"spent_by": USED}, {}, "", 11, "already used by node w3 (10.0.0.7)"),
        ({"spent_by": USED * 3, "uses": 3}, {}, "", 11, "already used"),
        ({"revoked": NOW - timedelta(hours=3)}, {}, "", 12, "revoked 3 h ago"),
        ({"revoked": NOW, "spent_by": USED}, {"known": True}, "", 12, "revoked"),
        ({"expires": NOW, "spent_by": USED}, {"known": True}, "", 10, "expired"),
        ({}, {}, "10.0.0.7", 14, "there is a node w1 already (10.0.0.7)"),
        ({"node": "w2"}, {}, "", 15, "for node w2, not for w1"),
        ({}, {"name": "W 1"}, "", 15, "not one that a node may have"),
        ({}, {"name": "head"}, "", 15, "not one that a node may have"),
        ({}, {"clock": NOW + timedelta(minutes=7)}, "", 16, "7 min ahead of the head's"),
        ({}, {"clock": NOW - timedelta(minutes=7)}, "", 16, "7 min behind the head's"),
        ({}, {"versions": {**VERSIONS, "ray": "2.59.0"}}, "", 17, "Ray differs"),
        ({}, {"versions": {**VERSIONS, "python": "3.11.8"}}, "", 17, "Python differs"),
        ({}, {"versions": {**VERSIONS, "secure-ray": "0.2.0"}}, "", 17, "secure-ray differs"),
        ({}, {"versions": {}}, "", 17, "this node has none"),
    ],
)
def test_each_reason_is_named(
    token: dict[str, Any], applicant: dict[str, Any], holder: str, code: int, cause: str
) -> None:
    rejection = judge(token, applicant, name=holder)

    assert rejection is not None
    assert rejection.code == f"SR-JOIN-{code:03}"
    assert cause in rejection.cause
    assert rejection.fix


@pytest.mark.parametrize(
    ("holder", "says", "fix"),
    [
        ("head", "the address of the head (10.0.0.7)", "another host than the head's"),
        ("w3", "the address of node w3 (10.0.0.7)", "secure-ray node revoke w3"),
    ],
)
def test_address_is_one_nodes(holder: str, says: str, fix: str) -> None:
    rejection = judge(applicant={"address": "10.0.0.7"}, address=holder)

    assert rejection is not None
    assert rejection.code == "SR-JOIN-024"
    assert says in rejection.cause
    assert fix in rejection.fix


def test_both_clocks_are_shown() -> None:
    rejection = judge(applicant={"clock": NOW + timedelta(minutes=7)})

    assert rejection is not None
    assert "2030-01-01 12:07:00 UTC" in rejection.cause
    assert "2030-01-01 12:00:00 UTC" in rejection.cause


def test_a_clock_a_little_off_is_no_reason() -> None:
    assert judge(applicant={"clock": NOW - timedelta(minutes=5)}) is None


def test_a_key_that_has_joined_may_ask_again() -> None:
    assert judge({"spent_by": (("w1", "10.0.0.7"),)}, {"known": True}) is None


def test_a_token_with_uses_left_lets_another_in() -> None:
    assert judge({"spent_by": USED, "uses": 2}) is None


def test_another_patch_of_secure_ray_is_no_reason() -> None:
    assert judge(applicant={"versions": {**VERSIONS, "secure-ray": "0.1.9"}}) is None


@pytest.mark.parametrize("name", ["w1", "gpu-7", "a", "1a", "a" * 63])
def test_names(name: str) -> None:
    assert is_node_name(name)


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a.b", "a_b", "a" * 64, "7", "head", "localhost", "a\n", "w\x1b"]
)
def test_what_is_no_name(name: str) -> None:
    assert not is_node_name(name)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(41, "41 s"), (-720, "12 min"), (7199, "119 min"), (10800, "3 h"), (200_000, "2 days")],
)
def test_spans_in_words(seconds: int, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words

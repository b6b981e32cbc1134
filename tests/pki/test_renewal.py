"""What has to be made again, case by case: nothing here touches a disk or a clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.errors import FailedError
from secure_ray.pki.facts import CertificateFacts
from secure_ray.pki.renewal import Found, FoundPair, FoundRoot, Renewal, Verdict, judge

START = datetime(2030, 1, 1, tzinfo=timezone.utc)
SANS = ("127.0.0.1", "localhost")


def lives(days: int, sans: tuple[str, ...] = ()) -> CertificateFacts:
    return CertificateFacts("CN=x", "CN=y", "1f", START, START + timedelta(days=days), "00", sans)


ROOT = FoundRoot(lives(3650), cluster_id="ours", descendants=True)
ISSUING = FoundPair(lives(366))
LEAF = FoundPair(lives(90, SANS))
NOTHING = Found(FoundRoot(None, cluster_id="", descendants=False), FoundPair(None), FoundPair(None))
WHOLE = Found(ROOT, ISSUING, LEAF)


def judged(found: Found, *, days: float, sans: tuple[str, ...] = SANS) -> Verdict:
    now = START + timedelta(days=days)
    return judge(found, cluster="team-a", cluster_id="ours", sans=sans, now=now)


def test_nothing_to_do_when_all_is_well() -> None:
    assert judged(WHOLE, days=44) == Verdict(None, None, None)


def test_names_in_another_order_are_the_same_names() -> None:
    assert judged(WHOLE, days=1, sans=SANS[::-1]).leaf is None


def test_the_first_run_makes_all() -> None:
    absent = Renewal("there was none")

    assert judged(NOTHING, days=0) == Verdict(absent, absent, absent)


@pytest.mark.parametrize(
    ("days", "pair", "reason", "can_wait"),
    [
        (-0.01, ISSUING, "it was valid only from 2030-01-01 00:00:00 UTC", False),
        (0, ISSUING, None, None),
        (182.9, ISSUING, None, None),
        (183.01, ISSUING, "past half of its life, 182 days left", True),
        (365.99, ISSUING, "past half of its life, 14 minutes left", True),
        (366, ISSUING, "it had expired less than a minute ago", False),
        (367.5, ISSUING, "it had expired 1 day ago", False),
        (369, ISSUING, "it had expired 3 days ago", False),
        (366.1, ISSUING, "it had expired 2 hours ago", False),
        (1, FoundPair(None), "there was none", False),
        (1, FoundPair(None, "its certificate was damaged"), "its certificate was damaged", False),
        (1, FoundPair(lives(366), "its key was missing"), "its key was missing", False),
        (300, FoundPair(lives(366), "its key was missing"), "its key was missing", False),
        (-1, FoundPair(lives(366), "its key was missing"), "its key was missing", False),
    ],
)
def test_an_issuing_ca(
    days: float, pair: FoundPair, reason: str | None, *, can_wait: bool | None
) -> None:
    # The root lives long enough on both sides for all of these.
    root = replace(ROOT, facts=replace(lives(3650), not_before=START - timedelta(days=10)))

    found = judged(replace(WHOLE, root=root, issuing=pair), days=days).issuing

    assert (found and found.reason, found and found.can_wait) == (reason, can_wait)


@pytest.mark.parametrize(
    ("days", "pair", "sans", "reason"),
    [
        (44.9, LEAF, SANS, None),
        (45.01, LEAF, SANS, "past half of its life, 44 days left"),
        (93, LEAF, SANS, "it had expired 3 days ago"),
        (1, FoundPair(None), SANS, "there was none"),
        (
            1,
            FoundPair(lives(90, SANS), "its key was another one's"),
            SANS,
            "its key was another one's",
        ),
        (1, LEAF, ("localhost",), "its names changed (-127.0.0.1)"),
        (1, LEAF, (*SANS, "10.0.0.5"), "its names changed (+10.0.0.5)"),
        (1, LEAF, ("localhost", "::1"), "its names changed (+::1 -127.0.0.1)"),
        (50, LEAF, ("localhost",), "its names changed (-127.0.0.1)"),
        (93, LEAF, ("localhost",), "it had expired 3 days ago"),
    ],
)
def test_a_leaf(days: float, pair: FoundPair, sans: tuple[str, ...], reason: str | None) -> None:
    found = judged(replace(WHOLE, leaf=pair), days=days, sans=sans).leaf

    assert (found.reason if found else None) == reason


@pytest.mark.parametrize(
    ("root", "days", "code", "words"),
    [
        (ROOT, -1, "SR-PKI-001", ["2030-01-01 00:00:00 UTC", "2029-12-31 00:00:00 UTC"]),
        (ROOT, 3650, "SR-PKI-002", ["2039-12-30 00:00:00 UTC"]),
        (ROOT, 4000, "SR-PKI-002", ["2039-12-30 00:00:00 UTC", "2040-12-14 00:00:00 UTC"]),
        (replace(ROOT, facts=None), 1, "SR-PKI-003", ["gone"]),
        (replace(ROOT, cluster_id="theirs"), 1, "SR-PKI-004", ["theirs", "ours"]),
    ],
    ids=["not yet valid", "expired", "long expired", "gone", "another's"],
)
def test_a_root_that_cannot_be_used_stops_the_run(
    root: FoundRoot, days: float, code: str, words: list[str]
) -> None:
    with pytest.raises(FailedError, match=code) as caught:
        judged(replace(WHOLE, root=root), days=days)

    assert all(word in caught.value.cause for word in words)
    reset = "secure-ray reset --cluster team-a"
    assert (reset in caught.value.fix) == (code != "SR-PKI-001")  # new keys mend no clock


@given(
    days=st.floats(-10_000, 10_000),
    issuing=st.sampled_from([ISSUING, FoundPair(None), FoundPair(lives(9), "bad")]),
    leaf=st.sampled_from([LEAF, FoundPair(None), FoundPair(lives(9), "bad")]),
)
def test_a_root_that_is_there_is_never_to_be_made(
    days: float, issuing: FoundPair, leaf: FoundPair
) -> None:
    found = Found(ROOT, issuing, leaf)

    try:
        verdict = judged(found, days=days)
    except FailedError:
        return
    assert verdict.root is None


@pytest.mark.parametrize(
    ("days", "pair"),
    [(1, FoundPair(None)), (1, FoundPair(lives(366), "its key was missing")), (366, ISSUING)],
    ids=["missing", "damaged", "expired"],
)
def test_while_the_root_is_rotated_no_issuing_ca_is_made(days: float, pair: FoundPair) -> None:
    with pytest.raises(FailedError, match="SR-PKI-014") as caught:
        judged(replace(WHOLE, issuing=pair, rotating=True), days=days)
    assert "secure-ray rotate-certs --rollback --cluster team-a" in caught.value.fix


def test_while_the_root_is_rotated_an_issuing_ca_that_is_due_waits() -> None:
    verdict = judged(replace(WHOLE, rotating=True), days=200)

    assert verdict.issuing is None
    assert verdict.leaf is not None


def test_somebody_elses_root_says_nothing_of_whose_it_is() -> None:
    assert judged(replace(WHOLE, root=replace(ROOT, cluster_id="")), days=1).root is None

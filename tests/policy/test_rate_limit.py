"""Strangers wait, guessers are locked out, and nobody is for what another does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.policy import rate_limit
from secure_ray.policy.rate_limit import Gatekeeper, Limits, source_of

A, B = "10.0.0.7", "10.0.0.8"
T = "tttttttt"


def knocks(gate: Gatekeeper, address: str, count: int, now: float = 0.0) -> int:
    return sum(gate.knock(address, now) == 0 for _ in range(count))


def test_a_burst_goes_in_and_then_one_a_second() -> None:
    gate = Gatekeeper(Limits())

    assert knocks(gate, A, 10) == 5
    assert gate.knock(A, 0.0) == pytest.approx(1.0)
    assert knocks(gate, A, 10, now=3.0) == 3


def test_one_source_does_not_use_up_another_s() -> None:
    gate = Gatekeeper(Limits())
    knocks(gate, A, 100)

    assert knocks(gate, B, 10) == 5


def test_joins_are_limited_from_everywhere() -> None:
    gate = Gatekeeper(Limits())

    assert sum(gate.join(0.0) == 0 for _ in range(100)) == 40
    assert gate.join(0.0) == pytest.approx(3.0)
    assert sum(gate.join(60.0) == 0 for _ in range(100)) == 20


def test_five_wrong_proofs_lock_out_for_half_an_hour() -> None:
    gate = Gatekeeper(Limits())
    for _ in range(4):
        gate.bad_proof(A, T, 10.0)
    assert gate.locked(A, T, 10.0) == 0

    gate.bad_proof(A, T, 10.0)

    assert gate.locked(A, T, 10.0) == 1800
    assert gate.locked(A, T, 1809.0) == 1
    assert gate.locked(A, T, 1810.0) == 0
    assert gate.locked(B, T, 10.0) == 0


def test_slips_far_apart_do_not_add_up() -> None:
    gate = Gatekeeper(Limits())
    for hour in range(20):
        gate.bad_proof(A, T, hour * 3600.0)

    assert gate.locked(A, T, 19 * 3600.0) == 0


def test_another_token_is_not_locked() -> None:
    gate = Gatekeeper(Limits())
    for _ in range(5):
        gate.bad_proof(A, T, 0.0)

    assert gate.locked(A, "uuuuuuuu", 0.0) == 0


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
    ],
)
def test_what_counts_as_one_source(address: str, source: str) -> None:
    assert source_of(address) == source


@pytest.mark.parametrize(
    ("near", "address", "source"),
    [
        ("fd00:0:0:1::5", "fd00::1:ffff:0:0:9", "fd00::1:ffff:0:0:9"),
        ("fd00:0:0:1::5", "fd00:0:0:2::9", "fd00:0:0:2::/64"),
        ("10.0.0.5", "fd00::9", "fd00::/64"),
        ("fd00::5", "10.0.0.7", "10.0.0.7"),
    ],
)
def test_hosts_of_the_head_s_own_network_are_told_apart(
    near: str, address: str, source: str
) -> None:
    assert source_of(address, near) == source


def test_memory_is_bounded_and_a_lock_out_is_not_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "_MOST_SOURCES", 10)
    gate = Gatekeeper(Limits())
    for _ in range(5):
        gate.bad_proof(A, T, 0.0)
    for host in range(100):
        gate.knock(f"10.1.0.{host}", 0.0)

        gate.bad_proof(f"10.1.0.{host}", T, 0.0)

    assert len(gate._knocking) == len(gate._guessing) == 10
    assert gate.locked(A, T, 1.0) > 0


@given(st.lists(st.floats(0, 1e6), max_size=60).map(sorted))
def test_never_more_than_the_rate_and_the_burst(times: list[float]) -> None:
    gate = Gatekeeper(Limits())
    let_in = [now for now in times if gate.knock(A, now) == 0]

    for i, first in enumerate(let_in):
        for j, last in enumerate(let_in[i:]):
            assert j + 1 <= 5 + (last - first) + 1e-6


def test_a_wait_that_is_kept_is_enough() -> None:
    gate = Gatekeeper(Limits())
    knocks(gate, A, 5)
    wait = gate.knock(A, 0.3)

    assert gate.knock(A, 0.3 + wait + 1e-9) == 0

from __future__ import annotations

from string import ascii_letters, digits

from hypothesis import given
from hypothesis import strategies as st

from secure_ray.gateway.nodes.nonces import LIFE, Nonces


def test_a_nonce_is_good_once() -> None:
    nonces = Nonces()
    nonce = nonces.make(100.0)

    assert nonces.spend(nonce, 101.0)
    assert not nonces.spend(nonce, 102.0)


def test_a_nonce_runs_out() -> None:
    nonces = Nonces()
    nonce = nonces.make(100.0)

    assert nonces.is_fresh(nonce, 100.0 + LIFE)
    assert not nonces.is_fresh(nonce, 100.1 + LIFE)
    assert not nonces.is_fresh(nonce, 99.0)


def test_another_s_nonce_is_none() -> None:
    assert not Nonces().is_fresh(Nonces().make(100.0), 100.0)


def test_asking_costs_no_memory_and_spending_not_for_long() -> None:
    nonces = Nonces()
    many = [nonces.make(100.0) for _ in range(1000)]
    assert nonces._spent == {}

    for nonce in many:
        nonces.spend(nonce, 100.0)
    nonces.spend(nonces.make(300.0), 300.0)
    assert len(nonces._spent) == 1


def test_a_nonce_has_one_spelling() -> None:
    """Base64 has spare bits at its end, and Python takes `+` for `-` as well."""
    nonces = Nonces()
    for _ in range(50):
        nonce = nonces.make(100.0)
        last = nonce.rstrip("=")
        spelt = [last[:-1] + one + nonce[len(last) :] for one in ascii_letters + digits]
        spelt += [nonce.replace("-", "+"), nonce.replace("_", "/"), nonce + "="]
        assert {one for one in spelt if nonces.is_fresh(one, 100.0)} <= {nonce}


@given(st.text(), st.integers(0, 53), st.characters())
def test_anything_else_is_none(text: str, place: int, other: str) -> None:
    nonces = Nonces()
    nonce = nonces.make(100.0)
    changed = nonce[:place] + other + nonce[place + 1 :]

    assert not nonces.is_fresh(text, 100.0)
    assert changed == nonce or not nonces.is_fresh(changed, 100.0)

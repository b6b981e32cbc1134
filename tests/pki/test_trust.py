"""Who is believed; that OpenSSL and BoringSSL say the same is in `test_dressed`."""

from __future__ import annotations

from datetime import timedelta

from pki.conftest import BIRTH, OWNER
from secure_ray.pki.keys import new_key, new_root_key
from secure_ray.pki.profiles import (
    Signer,
    issuing_certificate,
    leaf_certificate,
    root_certificate,
)
from secure_ray.pki.trust import is_believed

LIFE = timedelta(days=1)
ROOT_KEY, KEY, LEAF_KEY = new_root_key(), new_key(), new_key()
ROOT = Signer(root_certificate(OWNER, ROOT_KEY, now=BIRTH, life=LIFE), ROOT_KEY)
ISSUING = Signer(issuing_certificate(OWNER, KEY.public_key(), root=ROOT, now=BIRTH, life=LIFE), KEY)


def leaf_by(issuer: Signer) -> Signer:
    key = LEAF_KEY.public_key()
    made = leaf_certificate(OWNER, key, issuer=issuer, sans=("localhost",), now=BIRTH, life=LIFE)
    return Signer(made, LEAF_KEY)


def test_a_leaf_by_way_of_its_issuing_ca_is_believed() -> None:
    chain = [leaf_by(ISSUING).certificate, ISSUING.certificate]

    assert is_believed(chain, [ROOT.certificate])
    assert not is_believed(chain, [])
    assert not is_believed(chain[:1], [ROOT.certificate])


def test_a_trusted_issuing_ca_without_its_root_is_not_enough() -> None:
    """OpenSSL asks for a root unless it is told X509_V_FLAG_PARTIAL_CHAIN."""
    chain = [leaf_by(ISSUING).certificate, ISSUING.certificate]

    assert not is_believed(chain, [ISSUING.certificate])


def test_what_is_no_ca_vouches_for_nobody() -> None:
    """Not even with a certificate from the root itself."""
    no_ca = leaf_by(ROOT)

    assert not is_believed([leaf_by(no_ca).certificate, no_ca.certificate], [ROOT.certificate])

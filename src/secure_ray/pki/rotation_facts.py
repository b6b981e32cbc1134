"""How far a rotation of the root has come, as plain values: read, nothing changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.base.files import is_there
from secure_ray.pki.facts import CertificateFacts, facts_of
from secure_ray.pki.inspection import require_authorities
from secure_ray.pki.lifetimes import RENEW_AT
from secure_ray.pki.trust import pins_of, root_pin

if TYPE_CHECKING:
    from datetime import datetime

    from secure_ray.pki.authority import Authorities, Authority, Stage
    from secure_ray.pki.store import PkiPaths


@dataclass(frozen=True)
class AuthorityFacts:
    """What is worth telling about one authority.

    Attributes:
        pin: SHA-256 of the root's SubjectPublicKeyInfo, hexadecimal.
        root: The root CA.
        issuing: The issuing CA; None when its certificate cannot be read.
        bridge: The issuing CA under the root before; None without.
        root_key: Whether the root's key is here.
        issuing_due: Whether the issuing CA is past half of its life, or has a defect.
    """

    pin: str
    root: CertificateFacts
    issuing: CertificateFacts | None
    bridge: CertificateFacts | None
    root_key: bool
    issuing_due: bool


@dataclass(frozen=True)
class RotationFacts:
    """How far a rotation of the root has come.

    Attributes:
        stage: Derived from the files.
        old: The authority that it comes from; the only one at STEADY.
        new: The authority that it leads to; None at STEADY.
    """

    stage: Stage
    old: AuthorityFacts
    new: AuthorityFacts | None


def read_rotation(paths: PkiPaths, cluster: str, *, now: datetime) -> RotationFacts:
    """How far a rotation of the root has come, and what is known of its authorities.

    Raises:
        FailedError: there is no root CA, one is damaged, or a file is not ours alone.
    """
    return rotation_facts(require_authorities(paths, cluster), now)


def trusted_pins(paths: PkiPaths, cluster: str) -> tuple[bytes, ...]:
    """The pins for a join string: of every root that the head may show while it is good.

    Raises:
        FailedError: there is no root CA, one is damaged, or a file is not ours alone.
    """
    return pins_of(require_authorities(paths, cluster).trusted_roots)


def rotation_facts(found: Authorities, now: datetime) -> RotationFacts:
    """How far a rotation has come, of authorities that were read."""
    new = _authority_facts(found.new, now) if found.new else None
    return RotationFacts(found.stage, _authority_facts(found.old, now), new)


def _authority_facts(one: Authority, now: datetime) -> AuthorityFacts:
    issuing = facts_of(one.issuing_certificate) if one.issuing_certificate else None
    usable = one.issuing is not None and issuing is not None
    return AuthorityFacts(
        pin=root_pin(one.root).hex(),
        root=facts_of(one.root),
        issuing=issuing,
        bridge=facts_of(one.bridge) if one.bridge else None,
        root_key=is_there(one.files.root_key),
        issuing_due=not (usable and issuing and is_fresh(issuing, now)),
    )


def is_fresh(facts: CertificateFacts, now: datetime) -> bool:
    """Whether a certificate is valid and not past half of its life."""
    return facts.not_before <= now and facts.life_used(now) < RENEW_AT

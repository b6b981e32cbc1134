"""What is found on disk: read with care, checked for what time does not change.

Everything is read through `base.files.read_private`, so a link, a file of somebody else or one
open to others stops the run; only missing and damaged files are findings.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from secure_ray.base.commands import new_keys
from secure_ray.base.errors import FailedError
from secure_ray.base.files import read_private
from secure_ray.pki.facts import facts_of
from secure_ray.pki.keys import UnusableKeyError, key_from_pem
from secure_ray.pki.profiles import Signer
from secure_ray.pki.renewal import Found, FoundPair, FoundRoot
from secure_ray.pki.store import LeafFiles, current_generation

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.pki.store import PkiPaths


@dataclass(frozen=True)
class Inspection:
    """What was found, for the judge; and what of it can be used as it is.

    Attributes:
        found: Plain values to judge.
        root: The root CA's certificate; None when there is none.
        issuing: The issuing CA with its key; None when it has a defect.
    """

    found: Found
    root: x509.Certificate | None
    issuing: Signer | None


def inspect(paths: PkiPaths, cluster: str) -> Inspection:
    """Read what is there, as far as it is needed to judge it.

    Args:
        paths: Where to look.
        cluster: The cluster's name, for what errors tell to run.

    Raises:
        FailedError: a file or directory is not ours alone, or the root CA's certificate is
            damaged.
    """
    root = _read_root(paths, cluster)
    found_issuing, issuing = _read_issuing(paths, root)
    found = Found(
        root=FoundRoot(
            facts=facts_of(root) if root else None,
            cluster_id=_cluster_id(root) if root else "",
            key=os.path.lexists(paths.root_key),
            descendants=_has_descendants(paths),
        ),
        issuing=found_issuing,
        leaf=_read_leaf(paths, root, issuing),
    )
    return Inspection(found, root, issuing)


def _read_root(paths: PkiPaths, cluster: str) -> x509.Certificate | None:
    content = _read_if_there(paths.root_certificate)
    if content is None:
        return None
    chain = _parse_chain(content)
    if len(chain) != 1 or not _is_issued_by(chain[0], chain[0]):
        raise FailedError(
            "SR-PKI-005",
            f"{paths.root_certificate} is not the certificate of a root CA",
            fix=f"put it back from a copy, or for new keys: {new_keys(cluster)}",
        )
    return chain[0]


def _read_issuing(
    paths: PkiPaths, root: x509.Certificate | None
) -> tuple[FoundPair, Signer | None]:
    certificate, key = (
        _read_if_there(path) for path in (paths.issuing_certificate, paths.issuing_key)
    )
    if certificate is None or root is None:
        return FoundPair(None), None
    chain = _parse_chain(certificate)
    if len(chain) != 1:
        return FoundPair(None, "its certificate was damaged"), None
    facts = facts_of(chain[0])
    signer, defect = _match(chain[0], key)
    if signer is None or not _is_issued_by(chain[0], root):
        return FoundPair(facts, defect or "it was not issued by the root CA here"), None
    return FoundPair(facts), signer


def _read_leaf(paths: PkiPaths, root: x509.Certificate | None, issuing: Signer | None) -> FoundPair:
    generation = current_generation(paths)
    if generation is None:
        return FoundPair(None)
    files = LeafFiles.within(generation)
    certificate, key, authority = (
        _read_if_there(path) for path in (files.certificate, files.key, files.authority)
    )
    chain = _parse_chain(certificate or b"")
    if not chain:
        return FoundPair(None, "its certificate was missing or damaged")
    facts = facts_of(chain[0])
    signer, defect = _match(chain[0], key)
    if signer is None:
        return FoundPair(facts, defect)
    if root is None or _parse_chain(authority or b"") != [root]:
        return FoundPair(facts, "the file of the CA that it trusts was missing or another one")
    if issuing and (chain[1:] != [issuing.certificate] or not _is_issued_by(*chain)):
        return FoundPair(facts, "it was not issued by the issuing CA here")
    return FoundPair(facts)


def _has_descendants(paths: PkiPaths) -> bool:
    issued = (paths.issuing_key, paths.issuing_certificate, paths.current)
    return any(os.path.lexists(path) for path in issued)


def _match(certificate: x509.Certificate, key_pem: bytes | None) -> tuple[Signer | None, str]:
    """The certificate with its key, or why they are no pair."""
    if key_pem is None:
        return None, "its key was missing"
    try:
        key = key_from_pem(key_pem)
    except UnusableKeyError:
        return None, "its key was damaged"
    if key.public_key() != certificate.public_key():
        return None, "its key was another one's"
    return Signer(certificate, key), ""


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _parse_chain(pem: bytes) -> list[x509.Certificate]:
    """The certificates in `pem`; none when it is damaged."""
    try:
        chain = x509.load_pem_x509_certificates(pem)
        for certificate in chain:
            facts_of(certificate)  # extensions are parsed only when they are asked for
    except ValueError:
        return []
    return chain


def _cluster_id(root: x509.Certificate) -> str:
    units = root.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return str(units[0].value) if units else "(none)"


def _read_if_there(path: Path) -> bytes | None:
    return read_private(path) if os.path.lexists(path) else None

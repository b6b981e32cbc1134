"""What is found on disk: read with care, checked for what time does not change.

Everything is read through `base.files.read_private`, so a link, a file of somebody else or one
open to others stops the run; only missing and damaged files are findings.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from secure_ray.base.commands import command, new_keys
from secure_ray.base.errors import FailedError
from secure_ray.base.files import read_private
from secure_ray.pki.authority import Authorities, Authority, Stage
from secure_ray.pki.facts import facts_of
from secure_ray.pki.keys import UnusableKeyError, key_from_pem
from secure_ray.pki.profiles import Signer, authority_name
from secure_ray.pki.renewal import Found, FoundPair, FoundRoot
from secure_ray.pki.store import AuthorityFiles, LeafFiles
from secure_ray.pki.trust import is_issued_by, is_root

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.pki.authority import Dress
    from secure_ray.pki.store import PkiPaths

_OUR_ROOT = authority_name("root", "")


@dataclass(frozen=True)
class Inspection:
    """What was found, for the judge; and what of it can be used as it is.

    Attributes:
        found: Plain values to judge.
        authorities: The head's authorities; None when there are none.
    """

    found: Found
    authorities: Authorities | None


def inspect(paths: PkiPaths, cluster: str) -> Inspection:
    """Read what is there, as far as it is needed to judge it.

    Args:
        paths: Where to look.
        cluster: The cluster's name, for what errors tell to run.

    Raises:
        FailedError: a file or directory is not ours alone, or a root CA's certificate is damaged.
    """
    authorities = read_authorities(paths, cluster)
    if authorities is None:
        links = (paths.authorities.link, paths.current)
        orphaned = any(os.path.lexists(link) for link in links)
        root = FoundRoot(facts=None, cluster_id="", descendants=orphaned)
        return Inspection(Found(root, FoundPair(None), FoundPair(None)), None)
    root = FoundRoot(
        facts=facts_of(authorities.current.root),
        cluster_id=_cluster_id(authorities.current),
        descendants=True,
    )
    leaf = _read_leaf(paths, authorities.dress())
    found = Found(root, _issuing(authorities), leaf, rotating=authorities.stage is not Stage.STEADY)
    return Inspection(found, authorities)


def read_authorities(paths: PkiPaths, cluster: str) -> Authorities | None:
    """The head's authorities, and so how far a rotation has come; None when there are none.

    Raises:
        FailedError: a file or directory is not ours alone, or a root CA's certificate is damaged.
    """
    number = paths.authorities.current_number()
    current = _read_authority(paths, number, cluster) if number else None
    if current is None:
        return None
    stage, other = _other(paths, current)
    beside = _read_authority(paths, other, cluster, under=current.root) if other else None
    if beside is None:
        return Authorities(Stage.STEADY, current)
    if stage is Stage.SWITCHED:
        again = _read_authority(paths, number, cluster, under=beside.root)
        return Authorities(stage, again or current, beside)
    return Authorities(stage, current, beside)


def require_authorities(paths: PkiPaths, cluster: str) -> Authorities:
    """The head's authorities.

    Raises:
        FailedError: there are none; or as `read_authorities`.
    """
    found = read_authorities(paths, cluster)
    if found is None:
        raise FailedError(
            "SR-PKI-003",
            f"there is no root CA in {paths.authorities.directory}",
            fix=f"{command('up --head', cluster)} makes one where there was none; one that was"
            " there has to come back from a copy",
        )
    return found


def _other(paths: PkiPaths, current: Authority) -> tuple[Stage, int]:
    """The number of the other authority of a rotation, and what that means; 0 without one.

    A generation that no rotation needs is what a killed run left, or is about to be removed.
    """
    numbers = paths.authorities.numbers()
    if os.path.lexists(current.files.bridge):
        older = [number for number in numbers if number < current.number]
        if older:
            return Stage.SWITCHED, older[-1]
    for number in reversed([number for number in numbers if number > current.number]):
        files = AuthorityFiles.within(paths.authorities.place(number))
        if os.path.lexists(files.bridge):
            return Stage.BRIDGED, number
        if os.path.lexists(files.withdrawn):
            return Stage.RETURNING, number
    return Stage.STEADY, 0


def _read_authority(
    paths: PkiPaths, number: int, cluster: str, *, under: x509.Certificate | None = None
) -> Authority | None:
    directory = paths.authorities.find(number)
    return read_authority(directory, number, cluster, under=under) if directory else None


def read_authority(
    directory: Path, number: int, cluster: str, *, under: x509.Certificate | None = None
) -> Authority | None:
    """The authority in one generation; None when its root CA's certificate is not there.

    Args:
        directory: The generation.
        number: Its number.
        cluster: The cluster's name, for what errors tell to run.
        under: The root that its bridge has to lead to.

    Raises:
        FailedError: a file is not ours alone, or the root CA's certificate is damaged.
    """
    files = AuthorityFiles.within(directory)
    content = _read_if_there(files.root_certificate)
    if content is None:
        return None
    chain = _parse_chain(content)
    if len(chain) != 1 or not is_root(chain[0]):
        raise FailedError(
            "SR-PKI-005",
            f"{files.root_certificate} is not the certificate of a root CA",
            fix=f"put it back from a copy, or for new keys: {new_keys(cluster)}",
        )
    root = chain[0]
    certificate, signer, defect = _read_issuing(files, root)
    bridge = _read_bridge(files, signer, under)
    return Authority(number, files, root, signer, certificate, defect, bridge)


def _read_issuing(
    files: AuthorityFiles, root: x509.Certificate
) -> tuple[x509.Certificate | None, Signer | None, str]:
    certificate, key = (
        _read_if_there(path) for path in (files.issuing_certificate, files.issuing_key)
    )
    if certificate is None:
        return None, None, ""
    chain = _parse_chain(certificate)
    if len(chain) != 1:
        return None, None, "its certificate was damaged"
    signer, defect = match(chain[0], key)
    if signer is None or not is_issued_by(chain[0], root):
        return chain[0], None, defect or "it was not issued by the root CA here"
    return chain[0], signer, ""


def _read_bridge(
    files: AuthorityFiles, issuing: Signer | None, under: x509.Certificate | None
) -> x509.Certificate | None:
    present = files.bridge if os.path.lexists(files.bridge) else files.withdrawn
    chain = _parse_chain(_read_if_there(present) or b"")
    if len(chain) != 1 or issuing is None or under is None or not is_issued_by(chain[0], under):
        return None
    same = (chain[0].subject, chain[0].public_key()) == (
        issuing.certificate.subject,
        issuing.certificate.public_key(),
    )
    return chain[0] if same else None


def _issuing(authorities: Authorities) -> FoundPair:
    """What issues at this stage: the issuing CA in use, or the new one by way of the bridge."""
    issuer = authorities.issuer()
    if issuer is not None:
        return FoundPair(facts_of(issuer.certificate))
    one = authorities.current
    if authorities.stage is Stage.BRIDGED and authorities.beside is not None:
        one = authorities.beside
        return FoundPair(None, one.defect or "its bridge was damaged or missing")
    return FoundPair(
        facts_of(one.issuing_certificate) if one.issuing_certificate else None, one.defect
    )


def _read_leaf(paths: PkiPaths, dress: Dress | None) -> FoundPair:
    generation = paths.leaves.current()
    if generation is None:
        return FoundPair(None)
    files = LeafFiles.within(generation)
    certificate, key, authority = (
        _read_if_there(path) for path in (files.certificate, files.key, files.authority)
    )
    chain = _parse_chain(certificate or b"")
    if not chain:
        return FoundPair(None, "its certificate was missing or damaged")
    signer, defect = match(chain[0], key)
    if signer is not None and dress is not None:
        defect = _misfit(chain, _parse_chain(authority or b""), dress)
    return FoundPair(facts_of(chain[0]), defect)


def _misfit(chain: list[x509.Certificate], trusted: list[x509.Certificate], dress: Dress) -> str:
    if trusted != list(dress.trusted):
        return "the file of the CA that it trusts was missing or another one"
    if chain[1:] != [dress.issuer.certificate] or not is_issued_by(*chain):
        return "it was not issued by the issuing CA here"
    return ""


def match(certificate: x509.Certificate, key_pem: bytes | None) -> tuple[Signer | None, str]:
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


def _parse_chain(pem: bytes) -> list[x509.Certificate]:
    """The certificates in `pem`; none when it is damaged."""
    try:
        chain = x509.load_pem_x509_certificates(pem)
        for certificate in chain:
            facts_of(certificate)  # extensions are parsed only when they are asked for
    except ValueError:
        return []
    return chain


def is_our_root(root: x509.Certificate) -> bool:
    """Whether a root was made here, not imported."""
    return _value(root, NameOID.COMMON_NAME).startswith(_OUR_ROOT)


def _cluster_id(authority: Authority) -> str:
    """Whose an authority is; empty when nothing tells.

    Somebody else's root is not this cluster's; its issuing CA below is.
    """
    unit = NameOID.ORGANIZATIONAL_UNIT_NAME
    if is_our_root(authority.root):
        return _value(authority.root, unit) or "(none)"
    below = authority.issuing_certificate
    return _value(below, unit) if below else ""


def _value(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    found = certificate.subject.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def _read_if_there(path: Path) -> bytes | None:
    return read_private(path) if os.path.lexists(path) else None

"""What has to be true of an issuing CA that somebody else's root signed. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secure_ray.pki.keys import is_accepted_key
from secure_ray.pki.trust import is_issued_by, is_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from secure_ray.pki.keys import PrivateKey
    from secure_ray.pki.profiles import Owner

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_BOTH_ENDS = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def defects_of(
    issuing: x509.Certificate,
    root: x509.Certificate,
    key: PrivateKey,
    *,
    owner: Owner,
    names: Iterable[str],
    now: datetime,
) -> list[str]:
    """All that is wrong with the pair, in words; empty when nothing is.

    Args:
        issuing: The issuing CA's certificate.
        root: The root that is said to have signed it.
        key: What it has to be for.
        owner: Whose it has to be.
        names: The addresses and DNS names of the nodes, which name constraints must permit.
        now: The time, with a time zone.
    """
    return [
        *_defects_of_root(root, now),
        *_defects_of_issuing(issuing, root, now),
        *_defects_of_identity(issuing, key, owner),
        *(
            f"its name constraints do not permit {name}"
            for name in names
            if not is_permitted(issuing, name)
        ),
    ]


def is_permitted(issuing: x509.Certificate, name: str) -> bool:
    """Whether name constraints (RFC 5280 section 4.2.1.10) permit a leaf for `name`."""
    found = _extension(issuing, x509.NameConstraints)
    if found is None:
        return True
    kind = x509.DNSName if _address(name) is None else x509.IPAddress
    permitted = [one for one in found.permitted_subtrees or () if isinstance(one, kind)]
    excluded = [one for one in found.excluded_subtrees or () if isinstance(one, kind)]
    inside = not permitted or any(_covers(one, name) for one in permitted)
    return inside and not any(_covers(one, name) for one in excluded)


def _defects_of_root(root: x509.Certificate, now: datetime) -> Iterator[str]:
    basic = _extension(root, x509.BasicConstraints)
    if not is_root(root):
        yield "the root is not signed by itself"
    if basic is None or not basic.ca:
        yield "the root is no CA (basicConstraints CA:TRUE is missing)"
    elif basic.path_length is not None and basic.path_length < 1:
        yield "the root allows no CA below itself (pathlen 0)"
    if not _may_sign(root):
        yield "the root's key usage does not allow it to sign certificates"
    if not _is_valid(root, now):
        yield f"the root is not valid now ({_life(root)})"


def _defects_of_issuing(
    issuing: x509.Certificate, root: x509.Certificate, now: datetime
) -> Iterator[str]:
    basic = _extension(issuing, x509.BasicConstraints)
    extended = _extension(issuing, x509.ExtendedKeyUsage)
    if not is_issued_by(issuing, root):
        yield "it is not signed by that root"
    if basic is None or not basic.ca or basic.path_length != 0:
        yield "it is not a CA for leaves only (basicConstraints CA:TRUE, pathlen:0)"
    if _extension(issuing, x509.KeyUsage) is None or not _may_sign(issuing):
        yield "its key usage does not allow it to sign certificates (keyCertSign)"
    if extended is not None and not set(extended) >= _BOTH_ENDS:
        yield "its extended key usage leaves out serverAuth or clientAuth"
    if _extension(issuing, x509.SubjectKeyIdentifier) is None:
        yield "it has no subject key identifier, which its leaves refer to"
    if not _is_valid(issuing, now):
        yield f"it is not valid now ({_life(issuing)})"


def _defects_of_identity(issuing: x509.Certificate, key: PrivateKey, owner: Owner) -> Iterator[str]:
    units = issuing.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    if issuing.public_key() != key.public_key():
        yield "it is for another key than the one that waits here"
    if not is_accepted_key(issuing.public_key()):
        yield "its key is neither on P-256 nor on P-384"
    if owner.cluster_id not in [unit.value for unit in units]:
        yield f"its subject does not hold OU={owner.cluster_id}, as the request does"


def _may_sign(certificate: x509.Certificate) -> bool:
    usage = _extension(certificate, x509.KeyUsage)
    return usage is None or usage.key_cert_sign


def _is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _life(certificate: x509.Certificate) -> str:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return f"from {start:%Y-%m-%d} to {end:%Y-%m-%d}"


def _covers(constraint: x509.GeneralName, name: str) -> bool:
    address = _address(name)
    if isinstance(constraint, x509.DNSName):
        base = constraint.value.lower().lstrip(".")
        return not base or name == base or name.endswith(f".{base}")
    network = constraint.value
    return (
        address is not None
        and isinstance(network, (IPv4Network, IPv6Network))
        and address in network
    )


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None

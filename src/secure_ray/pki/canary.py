"""A leaf of five minutes from one of the two authorities: what a live process trusts, it tells.

A process that takes it has that authority's root in its memory; one that refuses it has not. On
TLS 1.3 the refusal comes after the handshake: read a byte before believing in a connection.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from secure_ray.base.errors import FailedError
from secure_ray.base.files import make_private_directory
from secure_ray.pki.inspection import require_authorities
from secure_ray.pki.issuance import new_leaf
from secure_ray.pki.keys import key_to_pem
from secure_ray.pki.sans import EVERY_NODE, parse_sans
from secure_ray.pki.store import LeafFiles
from secure_ray.pki.trust import certificates_to_pem

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.pki.profiles import Owner
    from secure_ray.pki.store import PkiPaths

LIFE = timedelta(minutes=5)
Side = Literal["old", "new"]


def make_canary(
    paths: PkiPaths, owner: Owner, directory: Path, *, side: Side, now: datetime
) -> LeafFiles:
    """A client's leaf with the chain to its own root only: no bridge leads to the other one.

    Its `ca.crt` holds both roots and the new issuing CA, so that the server, whatever it wears, is
    believed, and a refusal is always the server's.

    Args:
        paths: The head's PKI.
        owner: For the subject.
        directory: Where the three files go; made if missing.
        side: Of which authority; at STEADY there is the old one only.
        now: The time, with a time zone.

    Raises:
        FailedError: there is no such authority, it cannot issue, or nothing can be written.
    """
    found = require_authorities(paths, owner.cluster)
    authority = found.old if side == "old" else found.new
    if authority is None or authority.issuing is None:
        raise FailedError(
            "SR-PKI-014",
            f"there is no {side} authority that could issue, at the stage {found.stage.value!r}",
            fix="secure-ray certs show tells what there is",
        )
    leaf = new_leaf(owner, authority.issuing, sans=parse_sans(EVERY_NODE), now=now, life=LIFE)
    trusted = [one.root for one in (found.old, found.new) if one is not None]
    if found.new is not None and found.new.issuing is not None:
        trusted.append(found.new.issuing.certificate)
    make_private_directory(directory)
    files = LeafFiles.within(directory)
    files.write(
        certificate=certificates_to_pem(leaf.certificate, authority.issuing.certificate),
        key=key_to_pem(leaf.key),
        authority=certificates_to_pem(*trusted),
    )
    return files

"""An issuing CA that is signed by somebody else's root: asked for, checked, taken into use.

The issuing CA's key never leaves this machine. The root's key is never on it, so a renewal of the
issuing CA goes the same way again.

What this does not do: Ray's nodes trust the root, so whoever has any certificate for clients under
it is let in. A root that signs for others, too, is none for a cluster; have one made for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from secure_ray.base.commands import command
from secure_ray.base.errors import FailedError
from secure_ray.base.files import (
    is_there,
    make_private_directory,
    read_private,
    remove_tree,
    write_private,
)
from secure_ray.pki.authority import Stage, require_stage
from secure_ray.pki.imported import defects_of
from secure_ray.pki.inspection import inspect, read_authorities
from secure_ray.pki.issuance import Issuance
from secure_ray.pki.keys import (
    UnusableKeyError,
    hash_for,
    key_digest,
    key_from_pem,
    key_to_pem,
    new_key,
)
from secure_ray.pki.lifetimes import DEFAULT_LIFETIMES
from secure_ray.pki.profiles import Signer, as_authority, authority_name, bridge_certificate
from secure_ray.pki.renewal import judge
from secure_ray.pki.root_key import RootKeyError, open_root
from secure_ray.pki.rotation import sweep_authorities
from secure_ray.pki.rotation_facts import RotationFacts, read_rotation
from secure_ray.pki.sans import EVERY_NODE, parse_sans
from secure_ray.pki.store import alone, prepare
from secure_ray.pki.trust import certificates_to_pem

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from secure_ray.pki.authority import Authorities
    from secure_ray.pki.keys import PrivateKey
    from secure_ray.pki.profiles import Owner
    from secure_ray.pki.store import PkiPaths


def make_csr(paths: PkiPaths, owner: Owner) -> bytes:
    """A request (PKCS #10, RFC 2986, in PEM) for an issuing CA; its key is made and stays here.

    Asked for again before the certificate was imported, it is for the same key.

    Raises:
        FailedError: a file is not ours alone, or the key cannot be written.
    """
    prepare(paths)
    with alone(paths):
        make_private_directory(paths.request)
        key = _waiting_key(paths)
        taken = [one.certificate.public_key() for one in _in_use(paths, owner.cluster)]
        if key is None or key.public_key() in taken:
            key = new_key()
            write_private(_place(paths), key_to_pem(key))
    # Two CAs must not share a name (RFC 5280 section 4.1.2.6), and two requests for one key should.
    name = authority_name("issuing", key_digest(key.public_key()).hex())
    builder = x509.CertificateSigningRequestBuilder().subject_name(owner.subject(name))
    request = as_authority(builder, path_length=0).sign(key, hash_for(key))
    return request.public_bytes(Encoding.PEM)


def import_issuing(
    paths: PkiPaths,
    owner: Owner,
    *,
    certificate: bytes,
    root: bytes,
    addresses: tuple[str, ...],
    now: datetime,
) -> RotationFacts:
    """Take the certificate that came for `make_csr` into use, and its root.

    Where there is no authority yet, or one under that root, it is in use when this returns, at
    STEADY. Under another root it becomes the new authority of a rotation, at BRIDGED. Once it is
    one of ours, importing it again changes nothing.

    Args:
        paths: The head's PKI.
        owner: Whose it is; its cluster id has to stand in the certificate's subject.
        certificate: The issuing CA's, in PEM.
        root: The root's, in PEM.
        addresses: Of the cluster's nodes, and their names; the certificate must allow them.
        now: The time, with a time zone.

    Raises:
        UsageError: an address is none.
        FailedError: the two do not fit, no key waits for them, the root in use cannot sign the
            bridge to another one, a rotation is under way, or nothing can be written.
    """
    names = parse_sans((*addresses, *EVERY_NODE))
    prepare(paths)
    with alone(paths):
        made, trusted = _one(certificate, "issuing CA"), _one(root, "root CA")
        if made not in [one.certificate for one in _in_use(paths, owner.cluster)]:
            key = _require_waiting_key(paths, owner.cluster)
            defects = defects_of(made, trusted, key, owner=owner, names=names, now=now)
            if defects:
                raise _refused("; ".join(defects))
            _take(Issuance(paths, owner, now, DEFAULT_LIFETIMES), Signer(made, key), trusted)
        remove_tree(paths.request)
    return read_rotation(paths, owner.cluster, now=now)


def _take(run: Issuance, issuing: Signer, root: x509.Certificate) -> None:
    paths, cluster = run.paths, run.owner.cluster
    found = read_authorities(paths, cluster)
    content = {
        "root.crt": certificates_to_pem(root),
        "issuing.key": key_to_pem(issuing.key),
        "issuing.crt": certificates_to_pem(issuing.certificate),
    }
    if found is None:
        _require_fresh(run)
        sweep_authorities(paths, None)
        paths.authorities.use(run.add_authority(content))
        return
    require_stage(found, Stage.STEADY, to="an import")
    if found.current.root == root:
        run.add_issuing(
            found.current.files, issuing=content["issuing.crt"], key=content["issuing.key"]
        )
        sweep_authorities(paths, read_authorities(paths, cluster))
        return
    bridge = bridge_certificate(issuing, root=_bridging_root(run, found), now=run.now)
    content["bridge.crt"] = certificates_to_pem(bridge)
    run.add_authority(content, bridged_under=found.current.root)


def _bridging_root(run: Issuance, found: Authorities) -> Signer:
    cluster, old = run.owner.cluster, found.current
    try:
        return open_root(old.root, old.files, run.paths.passphrase, cluster=cluster)
    except RootKeyError as error:
        raise _refused(
            f"the root CA in use has to sign the new issuing CA once, but {error.cause}",
            fix=f"{error.fix}; or, if the cluster may stand still meanwhile:"
            f" {command('reset', cluster)}, then {command('certs import', cluster)} before"
            f" {command('up --head', cluster)}",
        ) from None


def _require_fresh(run: Issuance) -> None:
    """Refuse to put a root where one is gone, or where a worker is at home."""
    owner = run.owner
    found = inspect(run.paths, owner.cluster).found
    judge(found, cluster=owner.cluster, cluster_id=owner.cluster_id, sans=EVERY_NODE, now=run.now)


def _in_use(paths: PkiPaths, cluster: str) -> list[Signer]:
    """The issuing CAs that wait no more, even if a run was killed just after it had taken one."""
    found = read_authorities(paths, cluster)
    ones = (found.current, found.beside) if found else ()
    return [one.issuing for one in ones if one is not None and one.issuing is not None]


def _place(paths: PkiPaths) -> Path:
    return paths.request / "issuing.key"


def _waiting_key(paths: PkiPaths) -> PrivateKey | None:
    try:
        return key_from_pem(read_private(_place(paths))) if is_there(_place(paths)) else None
    except UnusableKeyError:
        return None


def _require_waiting_key(paths: PkiPaths, cluster: str) -> PrivateKey:
    key = _waiting_key(paths)
    if key is None:
        raise FailedError(
            "SR-PKI-018",
            "no key waits here for a certificate of an issuing CA",
            fix=f"{command('certs csr', cluster)} makes one, and a request for it",
        )
    return key


def _one(pem: bytes, what: str) -> x509.Certificate:
    try:
        [certificate] = x509.load_pem_x509_certificates(pem)
        certificate.public_key()
        _ = certificate.extensions
    except ValueError:
        raise _refused(f"the file for the {what} does not hold exactly one certificate") from None
    return certificate


def _refused(cause: str, *, fix: str = "") -> FailedError:
    return FailedError(
        "SR-PKI-017",
        cause,
        fix=fix or "have the request (secure-ray certs csr) signed once more, as it asks",
    )

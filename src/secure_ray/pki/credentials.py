"""The credentials of one node: made on the first run, mended and renewed on every later one.

Read, judge, act: what is there is read first (`inspection`), what to do follows from that alone
(`renewal`), and only then is anything written, in an order in which a run killed between any two
writes leaves something that the next run can finish: the passphrase, a generation of the authority
(both CAs), a generation of the leaf. A generation counts when its link leads to it, all or nothing.

The names here are cheap to import; cryptography comes in with the first call.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from secure_ray.base.files import make_private_directory, write_private
from secure_ray.pki.authority import require_dress
from secure_ray.pki.facts import CertificateFacts, facts_of, read_facts
from secure_ray.pki.lifetimes import DEFAULT_LIFETIMES, Lifetimes
from secure_ray.pki.renewal import ABSENT, Renewal, judge
from secure_ray.pki.sans import EVERY_NODE, parse_sans
from secure_ray.pki.store import (
    LeafFiles,
    PkiPaths,
    alone,
    prepare,
    sweep_leaves,
    sweep_passphrase,
)

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from secure_ray.pki.issuance import Issuance
    from secure_ray.pki.keys import KeyKind

__all__ = [
    "CertificateFacts",
    "Credentials",
    "LeafFiles",
    "LeafWish",
    "Lifetimes",
    "PkiPaths",
    "ensure_credentials",
    "make_ephemeral_credentials",
    "make_foreign_pair",
    "read_facts",
]

FOREIGN_LIFE = timedelta(minutes=10)


@dataclass(frozen=True)
class Credentials:
    """What a node shows and trusts.

    Attributes:
        files: What Ray is given.
        root: The root CA, which every node trusts.
        issuing: The CA that issued the leaf, as it stands in the leaf's chain.
        leaf: What this node shows.
        changes: What this run made, as sentences for a person; empty when all was well.
        warnings: What this run should have made and could not, while the old one still serves.
    """

    files: LeafFiles
    root: CertificateFacts
    issuing: CertificateFacts
    leaf: CertificateFacts
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeafWish:
    """What is asked of a node's leaf beyond what is due.

    Attributes:
        key: Of what kind its key is when it is made.
        fresh: Make it anew, with a new key, due or not.
    """

    key: KeyKind = "p256"
    fresh: bool = False


_NO_WISH = LeafWish()


def ensure_credentials(
    paths: PkiPaths,
    *,
    cluster: str,
    cluster_id: str,
    sans: tuple[str, ...],
    now: datetime,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    wish: LeafWish = _NO_WISH,
) -> Credentials:
    """Make what is missing, mend what a killed run left, renew what is due; else change nothing.

    Args:
        paths: Where the files are.
        cluster: The cluster's name, for the subjects.
        cluster_id: What tells it from another cluster of that name.
        sans: The node's addresses and DNS names.
        now: The time, with a time zone.
        lifetimes: For what is made now; what is there keeps its own.
        wish: What is asked of the leaf beyond what is due.

    Raises:
        UsageError: `sans` is empty or holds something that is no address and no name.
        FailedError: the root CA cannot be used, its key is needed and cannot be opened, a file
            or directory is not ours alone, nothing can be written, or the root is being rotated
            and what issues meanwhile cannot be used. A root CA that is there is never replaced.
    """
    from secure_ray.pki.issuance import Issuance
    from secure_ray.pki.profiles import Owner

    names = parse_sans(sans)
    prepare(paths)
    with alone(paths):
        run = Issuance(paths, Owner(cluster, cluster_id), now, lifetimes)
        return _ensure(run, names, wish)


def _ensure(run: Issuance, names: tuple[str, ...], wish: LeafWish) -> Credentials:
    from secure_ray.pki.inspection import inspect, require_authorities
    from secure_ray.pki.rotation import sweep_authorities

    paths, owner = run.paths, run.owner
    state = inspect(paths, owner.cluster)
    verdict = judge(
        state.found, cluster=owner.cluster, cluster_id=owner.cluster_id, sans=names, now=run.now
    )
    sweep_passphrase(paths)
    sweep_authorities(paths, state.authorities)
    sweep_leaves(paths)
    is_new = False
    if state.authorities is None:
        run.first_authority(verdict.root or Renewal(ABSENT))
    elif verdict.issuing:
        is_new = run.renew_issuing(state.authorities.current, verdict.issuing)
    authorities = require_authorities(paths, owner.cluster)
    sweep_authorities(paths, authorities)
    dress = require_dress(authorities)
    due = verdict.leaf or (Renewal("its issuing CA is new") if is_new else None)
    if due is None and wish.fresh:
        due = Renewal("a new one was asked for")
    if due:
        run.leaf(due, sans=names, dress=dress, kind=wish.key)
        sweep_leaves(paths)
    return Credentials(
        files=paths.leaf,
        root=facts_of(authorities.current.root),
        issuing=facts_of(dress.issuer.certificate),
        leaf=read_facts(paths.leaf.certificate),
        changes=tuple(run.changes),
        warnings=tuple(run.warnings),
    )


def make_ephemeral_credentials(
    directory: Path, *, sans: tuple[str, ...], now: datetime, lifetime: timedelta
) -> Credentials:
    """Credentials for a cluster that lives as long as one process.

    The same chain as everywhere; the keys of both CAs are never written, so nothing can be issued
    under them once this returns, and there is nothing to renew.

    Args:
        directory: Where the leaf's three files go; made if missing.
        sans: The node's addresses and DNS names.
        now: The time, with a time zone.
        lifetime: Of all three certificates.

    Raises:
        UsageError: `sans` is empty or holds something that is no address and no name.
        FailedError: the directory is not ours alone, or nothing can be written.
    """
    from secure_ray.pki.issuance import throw_away_chain
    from secure_ray.pki.keys import key_to_pem
    from secure_ray.pki.profiles import Owner
    from secure_ray.pki.trust import certificates_to_pem

    owner = Owner("ephemeral", secrets.token_hex(8))
    chain = throw_away_chain(owner, sans=parse_sans(sans), now=now, life=lifetime)
    make_private_directory(directory)
    files = LeafFiles.within(directory)
    files.write(
        certificate=certificates_to_pem(chain.leaf.certificate, chain.issuing),
        key=key_to_pem(chain.leaf.key),
        authority=certificates_to_pem(chain.root),
    )
    return Credentials(
        files=files,
        root=facts_of(chain.root),
        issuing=facts_of(chain.issuing),
        leaf=facts_of(chain.leaf.certificate),
    )


def make_foreign_pair(directory: Path, *, now: datetime) -> tuple[Path, Path]:
    """A client's certificate and key that no cluster may accept, for probes.

    It has one defect only: nobody trusts the CA that it comes from, and that CA's key is gone. All
    else is as in a node's leaf, so that a refusal proves what it seems to prove.

    Returns:
        The paths of `foreign.crt` (with its issuing CA) and `foreign.key`.

    Raises:
        FailedError: the directory is not ours alone, or nothing can be written.
    """
    from secure_ray.pki.issuance import throw_away_chain
    from secure_ray.pki.keys import key_to_pem
    from secure_ray.pki.profiles import Owner
    from secure_ray.pki.trust import certificates_to_pem

    owner = Owner("foreign", secrets.token_hex(8))
    names = parse_sans(EVERY_NODE)
    chain = throw_away_chain(owner, sans=names, now=now, life=FOREIGN_LIFE)
    make_private_directory(directory)
    certificate, key = directory / "foreign.crt", directory / "foreign.key"
    write_private(key, key_to_pem(chain.leaf.key))
    write_private(certificate, certificates_to_pem(chain.leaf.certificate, chain.issuing))
    return certificate, key

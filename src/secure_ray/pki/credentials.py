"""The credentials of one node: made on the first run, mended and renewed on every later one.

Read, judge, act: what is there is read first (`inspection`), what to do follows from that alone
(`renewal`), and only then is anything written, in an order in which a run killed between any two
writes leaves something that the next run can finish:

    passphrase, root.key, root.crt, issuing.key, issuing.crt, a generation of the leaf, `current`

An issuing CA's two files are not swapped together. A run killed between them leaves a key without
its certificate, which the next run replaces; it needs the root key for that, which was there a
moment ago. Leaves do not suffer: each generation holds the chain that it was issued with.

The names here are cheap to import; cryptography comes in with the first call.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.files import make_private_directory, write_private
from secure_ray.base.locks import lock
from secure_ray.pki.facts import CertificateFacts, facts_of, read_facts
from secure_ray.pki.lifetimes import DEFAULT_LIFETIMES, Lifetimes
from secure_ray.pki.renewal import Renewal, judge
from secure_ray.pki.sans import EVERY_NODE, parse_sans
from secure_ray.pki.store import LeafFiles, PkiPaths, prepare, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

__all__ = [
    "CertificateFacts",
    "Credentials",
    "LeafFiles",
    "Lifetimes",
    "PkiPaths",
    "ensure_credentials",
    "make_ephemeral_credentials",
    "make_foreign_pair",
    "read_facts",
]

FOREIGN_LIFE = timedelta(minutes=10)
_LOCK_WAIT = 30  # seconds; making all keys takes well below one


@dataclass(frozen=True)
class Credentials:
    """What a node shows and trusts.

    Attributes:
        files: What Ray is given.
        root: The root CA, which every node trusts.
        issuing: The CA that issued the leaf.
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


def ensure_credentials(
    paths: PkiPaths,
    *,
    cluster: str,
    cluster_id: str,
    sans: tuple[str, ...],
    now: datetime,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
) -> Credentials:
    """Make what is missing, mend what a killed run left, renew what is due; else change nothing.

    Args:
        paths: Where the files are.
        cluster: The cluster's name, for the subjects.
        cluster_id: What tells it from another cluster of that name.
        sans: The node's addresses and DNS names.
        now: The time, with a time zone.
        lifetimes: For what is made now; what is there keeps its own.

    Raises:
        UsageError: `sans` is empty or holds something that is no address and no name.
        FailedError: the root CA cannot be used, its key is needed and cannot be opened, a file
            or directory is not ours alone, or nothing can be written. A root CA that is there is
            never replaced.
    """
    from secure_ray.pki.inspection import inspect
    from secure_ray.pki.issuance import Issuance
    from secure_ray.pki.profiles import Owner

    names = parse_sans(sans)
    prepare(paths)
    with _alone(paths):
        state = inspect(paths, cluster)
        verdict = judge(state.found, cluster=cluster, cluster_id=cluster_id, sans=names, now=now)
        sweep(paths)
        run = Issuance(paths, Owner(cluster, cluster_id), now, lifetimes)
        root = run.root(state.root, verdict.root)
        issuing, is_new = run.issuing(state.issuing, verdict.issuing, root=root)
        due = verdict.leaf or (Renewal("its issuing CA is new") if is_new else None)
        if due:
            run.leaf(due, sans=names, issuing=issuing, root=root)
            sweep(paths)
    return Credentials(
        files=paths.leaf,
        root=facts_of(root),
        issuing=facts_of(issuing.certificate),
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
    from secure_ray.pki.issuance import certificates_to_pem, throw_away_chain
    from secure_ray.pki.keys import key_to_pem
    from secure_ray.pki.profiles import Owner

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
    from secure_ray.pki.issuance import certificates_to_pem, throw_away_chain
    from secure_ray.pki.keys import key_to_pem
    from secure_ray.pki.profiles import Owner

    owner = Owner("foreign", secrets.token_hex(8))
    names = parse_sans(EVERY_NODE)
    chain = throw_away_chain(owner, sans=names, now=now, life=FOREIGN_LIFE)
    make_private_directory(directory)
    certificate, key = directory / "foreign.crt", directory / "foreign.key"
    write_private(key, key_to_pem(chain.leaf.key))
    write_private(certificate, certificates_to_pem(chain.leaf.certificate, chain.issuing))
    return certificate, key


@contextmanager
def _alone(paths: PkiPaths) -> Iterator[None]:
    """Hold the lock of the PKI: two runs at once would each make a root."""
    with ExitStack() as held:
        try:
            held.enter_context(lock(paths.lock, wait=_LOCK_WAIT))
        except BlockingIOError:
            raise FailedError(
                "SR-PKI-013",
                f"another process has been changing the keys in {paths.directory} for"
                f" {_LOCK_WAIT} seconds",
                fix="wait for it, or find it (fuser -v) and end it, then run this again",
            ) from None
        yield

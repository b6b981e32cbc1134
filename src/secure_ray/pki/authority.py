"""The head's authorities: one, or two while a root is being replaced; and what follows from them.

How far a rotation of the root has come stands in the files themselves, nowhere else:

    STEADY      one authority
    BRIDGED     beside the current authority O is a newer one, N, with `bridge.crt`
    SWITCHED    the current authority is N, with `bridge.crt`, and O is still beside it
    RETURNING   beside O is N, but its bridge is withdrawn

`bridge.crt` certifies the key of N's issuing CA under O's root. So a node can move in two steps,
and peers that are one step apart believe each other (`trust.is_believed`):

    dress     shows                            trusts
    of O      leaf by issuing O, issuing O     root O
    bridge    leaf by issuing N, bridge        root O, root N
    of N      leaf by issuing N, issuing N     root N, issuing N

That a node in the dress of N believes a bridge, which leads to O, is because it trusts issuing N
itself: its issuer is looked for among the trusted first, and there it leads to N. A leaf of
issuing O finds nothing there, so O is refused by every node in the dress of N.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from secure_ray.pki.profiles import Signer
    from secure_ray.pki.store import AuthorityFiles


class Stage(Enum):
    """How far a rotation of the root has come."""

    STEADY = "steady"
    BRIDGED = "bridged"
    SWITCHED = "switched"
    RETURNING = "returning"


@dataclass(frozen=True)
class Authority:
    """A root CA and the issuing CA under it, as found.

    Attributes:
        number: Of its generation.
        files: Where it is.
        root: The root CA's certificate.
        issuing: The issuing CA; None when it has a defect.
        issuing_certificate: The issuing CA's certificate, if it can be read; maybe without key.
        defect: What is wrong with the issuing CA; empty when nothing is.
        bridge: The issuing CA's certificate under the root before; None without, or damaged.
    """

    number: int
    files: AuthorityFiles
    root: Certificate
    issuing: Signer | None
    issuing_certificate: Certificate | None = None
    defect: str = ""
    bridge: Certificate | None = None


@dataclass(frozen=True)
class Dress:
    """What the nodes that get a leaf now show and trust.

    Attributes:
        issuer: What signs the leaf, and stands behind it in the chain.
        trusted: The content of `ca.crt`.
    """

    issuer: Signer
    trusted: tuple[Certificate, ...]


@dataclass(frozen=True)
class Authorities:
    """The authority in use, and the other one of a rotation.

    Attributes:
        stage: How far the rotation has come.
        current: The authority in use.
        beside: The other one; None when `stage` is STEADY.
    """

    stage: Stage
    current: Authority
    beside: Authority | None = None

    @property
    def old(self) -> Authority:
        """The authority that a rotation comes from; the only one when there is none."""
        is_old = self.stage is Stage.SWITCHED and self.beside is not None
        return self.beside if is_old and self.beside else self.current

    @property
    def new(self) -> Authority | None:
        """The authority that a rotation leads to."""
        return self.current if self.stage is Stage.SWITCHED else self.beside

    @property
    def trusted_roots(self) -> tuple[Certificate, ...]:
        """The roots that some node of the cluster may trust now, the current one first."""
        overlap = self.stage in {Stage.BRIDGED, Stage.SWITCHED}
        beside = (self.beside.root,) if overlap and self.beside else ()
        return (self.current.root, *beside)

    def issuer(self) -> Signer | None:
        """What signs leaves at this stage; None when it has a defect."""
        if self.stage is not Stage.BRIDGED:
            return self.current.issuing
        return bridge_of(self.beside)

    def dress(self) -> Dress | None:
        """What nodes show and trust at this stage; None when what would issue has a defect."""
        issuer = self.issuer()
        if issuer is None:
            return None
        trusted = {
            Stage.STEADY: (self.current.root,),
            Stage.RETURNING: (self.current.root,),
            Stage.BRIDGED: self.trusted_roots,
            Stage.SWITCHED: (self.current.root, issuer.certificate),
        }
        return Dress(issuer, trusted[self.stage])


def bridge_of(new: Authority | None) -> Signer | None:
    """The new issuing CA as one under the old root; None when it cannot be used."""
    from secure_ray.pki.profiles import Signer

    if new is None or new.issuing is None or new.bridge is None:
        return None
    return Signer(new.bridge, new.issuing.key)


def require_stage(found: Authorities, *allowed: Stage, to: str) -> None:
    """Refuse what another step of the rotation has to come before.

    Raises:
        FailedError: the rotation is at none of the stages `allowed`.
    """
    if found.stage not in allowed:
        raise FailedError(
            "SR-PKI-015",
            f"the rotation of the root CA is at {found.stage.value!r}, and {to} is possible at"
            f" {' or '.join(repr(stage.value) for stage in allowed)} only",
            fix="finish or undo the rotation first: secure-ray rotate-certs --resume (or"
            " --rollback)",
        )


def require_dress(found: Authorities) -> Dress:
    """What nodes show and trust at this stage.

    Raises:
        FailedError: what would issue has a defect.
    """
    dress = found.dress()
    if dress is None:
        raise FailedError(
            "SR-PKI-014",
            f"nothing can be issued at the stage {found.stage.value!r}: the issuing CA of it cannot"
            " be used",
            fix="put pki/authority back from a copy; or take the rotation back: secure-ray"
            " rotate-certs --rollback",
        )
    return dress

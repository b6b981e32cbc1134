"""A new leaf for a node that has joined, and the token that its Ray starts with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.gateway.nodes.members import add_leaf, find_member, keep_newest_leaves
from secure_ray.node.messages import Leaf
from secure_ray.pki.sans import EVERY_NODE
from secure_ray.policy.admission import Rejection

if TYPE_CHECKING:
    from datetime import datetime

    from secure_ray.base.secrets import Secret
    from secure_ray.gateway.nodes.enrolment import HeadFacts
    from secure_ray.gateway.nodes.members import Member
    from secure_ray.gateway.nodes.register import Register

# Beside the one that it shows: those of renewals whose answers were lost.
_LEAVES_KEPT = 4


class Renewal:
    """Issues leaves to nodes that show a good one. Blocks: call it in a thread."""

    def __init__(self, facts: HeadFacts, register: Register) -> None:
        self._facts = facts
        self._register = register

    def issue(self, member: Member, shown: str, request: str, now: datetime) -> Leaf | Rejection:
        """A leaf for the key of `request`, with the names that the node has already.

        Asked again, since the answer was lost, it issues another one; of a node's leaves only the
        newest few are let in, and the one that it shows: it may not be able to keep a newer one.

        Args:
            member: Who asks, by the certificate that it shows.
            shown: The serial number of that.
            request: A certificate request in PEM.
            now: The time.

        Raises:
            SecureRayError: nothing can be issued or written; nothing has changed.
        """
        from secure_ray.pki.enrolment import issue
        from secure_ray.pki.proof import UnusableRequestError, read_request

        try:
            key = read_request(request.encode()).key
        except UnusableRequestError as error:
            return Rejection(
                "SR-JOIN-021",
                f"the certificate request is not accepted: {error}",
                "on this node use the head's version of secure-ray",
            )
        facts = self._facts
        with self._register.changing() as database:
            current = find_member(database, member.id)
            if current is None or current.revoked is not None:  # since it was let in
                from secure_ray.gateway.nodes.enrolment import revoked

                return revoked(member.name)
            leaf = issue(
                facts.pki,
                key,
                cluster=facts.cluster,
                cluster_id=facts.cluster_id,
                names=(current.address, current.name, *EVERY_NODE),
                now=now,
                life=facts.leaf_life,
            )
            add_leaf(database, serial=leaf.serial, node=member.id, expires=leaf.expires)
            keep_newest_leaves(database, member.id, _LEAVES_KEPT, shown=shown)
        return Leaf(leaf.chain, leaf.roots)

    def token(self) -> Secret:
        """Ray's cluster token.

        Raises:
            FailedError: it cannot be read.
        """
        return self._facts.token()

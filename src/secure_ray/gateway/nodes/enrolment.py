"""From a proven token to a leaf, in one transaction: of two that come at once, one waits."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.gateway.nodes.members import (
    add_leaf,
    add_member,
    find_member,
    holder_of,
    holder_of_address,
    nodes_of_key,
)
from secure_ray.gateway.nodes.tokens import Spending, find_spending, find_token, spend
from secure_ray.node.messages import Welcome
from secure_ray.pki.sans import EVERY_NODE
from secure_ray.policy.addresses import same_address
from secure_ray.policy.admission import (
    HEAD,
    Applicant,
    Rejection,
    Taken,
    judge_join,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from secure_ray.base.secrets import Secret
    from secure_ray.gateway.nodes.register import Register
    from secure_ray.node.messages import Application
    from secure_ray.pki.proof import KeyRequest
    from secure_ray.pki.store import PkiPaths

UNPROVEN = Rejection(
    "SR-JOIN-013",
    "the head knows no such join token, or the proof does not fit it",
    "paste the whole join string once more, or on the head: secure-ray join-token create",
)


@dataclass(frozen=True)
class HeadFacts:
    """What the head tells a new node, and what it needs to make a leaf.

    Attributes:
        cluster: The cluster's name.
        cluster_id: Its id.
        address: The head's address on the cluster's network.
        ports: The port plan, as text that the worker understands.
        versions: Of `ray`, `python` and `secure-ray`.
        pki: The head's keys and certificates.
        leaf_life: How long a node's leaf lives.
        token: Reads Ray's cluster token.
        epoch: Whose work the head's control store knows: its session. Another one once that is
            forgotten; "" while the head's Ray does not run.
    """

    cluster: str
    cluster_id: str
    address: str
    ports: str
    versions: Mapping[str, str]
    pki: PkiPaths
    leaf_life: timedelta
    token: Callable[[], Secret]
    epoch: Callable[[], str] = str


class Enrolment:
    """Checks proofs and admits nodes. Blocks: call it in a thread."""

    def __init__(self, facts: HeadFacts, register: Register) -> None:
        self._facts = facts
        self._register = register

    def prove(self, application: Application, nonce: bytes) -> KeyRequest | None:
        """The key that is to be certified; None when the token is not proven for it.

        Raises:
            UnusableRequestError: the certificate request is none that is accepted.
            FailedError: the register cannot be read.
        """
        from secure_ray.pki.proof import Claim, proves, read_request

        request = read_request(application.request.encode())
        with self._register.reading() as database:
            token = find_token(database, application.token)
        claim = Claim(
            token=application.token,
            cluster_id=self._facts.cluster_id,
            nonce=nonce,
            key=request.digest,
            name=application.name,
        )
        signature = _bytes_of(application.proof)
        if token is None or not proves(token.public_key, claim, signature):
            return None
        return request

    def is_due(
        self, application: Application, request: KeyRequest, *, address: str, now: datetime
    ) -> bool:
        """Whether `admit` would make a leaf now: it would not refuse, and this key has none yet.

        Raises:
            FailedError: the register cannot be read.
        """
        with self._register.reading() as database:
            spending = find_spending(database, application.token, request.digest)
            return spending is None and not self._judge(
                database, application, request, address=address, spending=None, now=now
            )

    def admit(
        self, application: Application, request: KeyRequest, *, address: str, now: datetime
    ) -> Welcome | Rejection:
        """Spend the token and issue the leaf, or say why not. The token is proven.

        Raises:
            SecureRayError: nothing can be issued or written; nothing has changed.
        """
        with self._register.changing() as database:
            spending = find_spending(database, application.token, request.digest)
            rejection = self._judge(
                database, application, request, address=address, spending=spending, now=now
            )
            if rejection is not None:
                return rejection
            if spending is None:
                spending = self._issue(database, application, request, address, now)
        return self._welcome(spending)

    def _judge(
        self,
        database: sqlite3.Connection,
        application: Application,
        request: KeyRequest,
        *,
        address: str,
        spending: Spending | None,
        now: datetime,
    ) -> Rejection | None:
        token = find_token(database, application.token)
        if token is None:
            return UNPROVEN
        nodes = nodes_of_key(database, request.digest)
        known = next((node for node in nodes if node.revoked is None), None)
        if nodes and known is None:
            return revoked(nodes[-1].name)
        if spending is not None and _is_revoked(database, spending.node):
            return revoked(spending.name)
        taken = self._taken(database, application.name, address, request.digest)
        return judge_join(
            token.state,
            Applicant(
                name=application.name,
                clock=application.clock,
                versions={
                    "ray": application.ray,
                    "python": application.python,
                    "secure-ray": application.secure_ray,
                },
                known=spending is not None,
                address=address,
                node=known.name if known and spending is None else "",
            ),
            taken=taken,
            versions=self._facts.versions,
            now=now,
        )

    def _taken(self, database: sqlite3.Connection, name: str, address: str, key: bytes) -> Taken:
        holder = holder_of(database, name)
        at_head = same_address(address, self._facts.address)
        return Taken(
            name=holder[1] if holder and holder[2] != key else "",
            address=HEAD if at_head else holder_of_address(database, address, but=key),
        )

    def _issue(
        self,
        database: sqlite3.Connection,
        application: Application,
        request: KeyRequest,
        address: str,
        now: datetime,
    ) -> Spending:
        from secure_ray.pki.enrolment import issue

        facts = self._facts
        leaf = issue(
            facts.pki,
            request.key,
            cluster=facts.cluster,
            cluster_id=facts.cluster_id,
            names=(address, application.name, *EVERY_NODE),
            now=now,
            life=facts.leaf_life,
        )
        # A node that joins again with the same key (its first token's reply was lost) stays one.
        holder = holder_of(database, application.name)
        node = holder[0] if holder else secrets.token_hex(8)
        add_member(
            database,
            id_=node,
            name=application.name,
            address=address,
            key=request.digest,
            now=now,
        )
        add_leaf(database, serial=leaf.serial, node=node, expires=leaf.expires)
        spending = Spending(node, application.name, address, leaf.chain, leaf.roots)
        spend(database, application.token, request.digest, spending, now)
        return spending

    def _welcome(self, given: Spending) -> Welcome:
        facts = self._facts
        return Welcome(
            node=given.node,
            name=given.name,
            address=given.address,
            chain=given.chain,
            roots=given.roots,
            cluster=facts.cluster,
            cluster_id=facts.cluster_id,
            token=facts.token(),
            ports=facts.ports,
            head=facts.address,
            ray=facts.versions["ray"],
            python=facts.versions["python"],
            secure_ray=facts.versions["secure-ray"],
        )


def revoked(name: str) -> Rejection:
    """What a revoked node is told."""
    return Rejection(
        "SR-JOIN-023",
        f"node {name} was revoked",
        "secure-ray reset here; then join with a new token, from secure-ray join-token create",
    )


def _is_revoked(database: sqlite3.Connection, node: str) -> bool:
    member = find_member(database, node)
    return member is None or member.revoked is not None


def _bytes_of(text: str) -> bytes:
    import base64
    import binascii

    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""

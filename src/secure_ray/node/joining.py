"""How a new node joins: find the head, recognise it, prove the token, keep the leaf.

1. TLS to an address of the join string, trusting nobody. The server sends its chain with the root.
   Nothing is sent before a root with a pinned key is found in it.
2. TLS once more, trusting exactly that root. That proves the rest: whoever answers has the key of
   a leaf for this address, under that root.
3. A nonce is asked for; the request for a leaf goes out, signed by the token's key.
4. The leaf is checked and kept. A reply that was lost is asked for again, with the same key.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from secure_ray.base.errors import FailedError, RejectedError, SecureRayError
from secure_ray.network.served import sent_chain
from secure_ray.node.door_client import (
    DoorClient,
    LostReplyError,
    Refused,
    connected,
    context_for,
    no_door,
    unreachable,
)
from secure_ray.node.messages import Application, Challenge, Nonce, Welcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgspec import Struct

    from secure_ray.base.clock import Clock
    from secure_ray.base.secrets import Secret
    from secure_ray.pki.facts import CertificateFacts
    from secure_ray.pki.join_string import Endpoint, JoinString
    from secure_ray.pki.store import PkiPaths

JOIN_SECONDS = 30.0
_LOOK_SECONDS = 5.0
_MOST_LOST = 2
_PAUSE_AFTER_LOSS = 0.5
_Reply = TypeVar("_Reply")


@dataclass(frozen=True)
class Newcomer:
    """The node that joins.

    Attributes:
        name: What it wants to be called; the head decides.
        versions: Of `ray`, `python` and `secure-ray`.
        pki: Where its leaf goes.
    """

    name: str
    versions: Mapping[str, str]
    pki: PkiPaths


@dataclass(frozen=True)
class Joined:
    """What the head gave; the leaf is in the node's PKI.

    Attributes:
        node: The head's id for this node.
        name: Its name.
        address: Where the head sees it.
        cluster: The cluster's name.
        cluster_id: The cluster's id.
        token: Ray's cluster token.
        ports: The port plan, as the head wrote it.
        head: The head's address on the cluster's network.
        door: Where its door is.
        versions: What the head runs.
        leaf: What the leaf says.
    """

    node: str
    name: str
    address: str
    cluster: str
    cluster_id: str
    token: Secret
    ports: str
    head: str
    door: Endpoint
    versions: Mapping[str, str]
    leaf: CertificateFacts


def join_cluster(
    string: JoinString, newcomer: Newcomer, *, clock: Clock, limit: float = JOIN_SECONDS
) -> Joined:
    """Join the cluster of `string`; takes `limit` seconds at most.

    When it fails, nothing is left of it but the key, for another try.

    Raises:
        RejectedError: the head said no, or is not the one that the string names.
        FailedError: no head could be reached, or it did not answer as one; or a file cannot be
            written.
    """
    return asyncio.run(join(string, newcomer, clock=clock, limit=limit))


async def join(
    string: JoinString, newcomer: Newcomer, *, clock: Clock, limit: float = JOIN_SECONDS
) -> Joined:
    """`join_cluster` within a running event loop.

    Raises:
        RejectedError: as there.
        FailedError: as there.
    """
    from secure_ray.pki.enrolment import pending_key

    request = pending_key(newcomer.pki)
    attempt = _Attempt(string, newcomer, clock, *request)
    try:
        return await asyncio.wait_for(attempt.run(limit), limit)
    except asyncio.TimeoutError:
        raise FailedError(
            "SR-JOIN-034",
            f"joining took longer than {limit:g} s ({attempt.stage})",
            fix="run it again: a join that was lost on its way costs nothing",
        ) from None


class _Attempt:
    def __init__(
        self,
        string: JoinString,
        newcomer: Newcomer,
        clock: Clock,
        request: bytes,
        key: bytes,
    ) -> None:
        self._string = string
        self._newcomer = newcomer
        self._clock = clock
        self._request = request
        self._key = key
        self.stage = "looking for the head"

    async def run(self, limit: float) -> Joined:
        deadline = asyncio.get_running_loop().time() + limit
        door, root = await self._find_head()
        self.stage = f"asking {door}"
        async with connected(door, context_for(root)) as client:
            welcome = await self._until_answered(client, deadline)
        return self._keep(welcome, door)

    async def _find_head(self) -> tuple[Endpoint, str]:
        failures: list[SecureRayError] = []
        for head in self._string.heads:
            try:
                return head, await self._recognise(head)
            except SecureRayError as error:
                failures.append(error)
        raise _most_telling(failures)

    async def _recognise(self, head: Endpoint) -> str:
        """The pinned root that `head` shows, in PEM."""
        from secure_ray.pki.trust import last_pin, pinned_root, shown_life

        chain = await _chain_of(head)
        root = pinned_root(chain, self._string.pins)
        if root is None:
            wanted = " or ".join(pin.hex()[:16] for pin in self._string.pins)
            raise RejectedError(
                "SR-JOIN-030",
                f"{head} is not the head that the join string names: its root CA is"
                f" {last_pin(chain)[:16] or 'unreadable'}, not {wanted}",
                fix="on the head: secure-ray join-token create; if this comes again, somebody is"
                " between",
            )
        now, life = self._clock(), shown_life(chain)
        if life is not None and not life[0] <= now <= life[1]:
            raise FailedError(
                "SR-JOIN-028",
                f"by this node's clock ({now:%Y-%m-%d %H:%M:%S} UTC) the head's certificate"
                f" is valid only from {life[0]:%Y-%m-%d %H:%M:%S} to {life[1]:%Y-%m-%d %H:%M:%S}",
                fix="set both clocks by NTP (timedatectl set-ntp true), then join again",
            )
        return root

    async def _until_answered(self, client: DoorClient, deadline: float) -> Welcome:
        """The head's welcome; a reply that is lost is asked for again."""
        for _ in range(_MOST_LOST):
            with suppress(LostReplyError):
                return await self._apply(client, deadline)
            await asyncio.sleep(_PAUSE_AFTER_LOSS)
        return await self._apply(client, deadline)

    async def _apply(self, client: DoorClient, deadline: float) -> Welcome:
        nonce = await self._ask(client, deadline, "/v1/challenge", Challenge(), Nonce)
        application = self._application(nonce.nonce)
        return await self._ask(client, deadline, "/v1/join", application, Welcome)

    async def _ask(
        self, client: DoorClient, deadline: float, path: str, message: Struct, kind: type[_Reply]
    ) -> _Reply:
        """The answer; waits when the head says that waiting helps, and there is time for it."""
        loop = asyncio.get_running_loop()
        while True:
            answer = await client.ask("POST", path, message, kind)
            if not isinstance(answer, Refused):
                return answer
            if not answer.retry_after or loop.time() + answer.retry_after >= deadline:
                raise answer.error
            self.stage = answer.error.cause
            await asyncio.sleep(answer.retry_after)

    def _application(self, nonce: str) -> Application:
        from secure_ray.pki.proof import Claim, sign_claim

        string, newcomer = self._string, self._newcomer
        claim = Claim(string.id, string.cluster_id, nonce.encode(), self._key, newcomer.name)
        return Application(
            token=string.id,
            name=newcomer.name,
            request=self._request.decode(),
            nonce=nonce,
            proof=base64.b64encode(sign_claim(string.secret, claim)).decode(),
            clock=self._clock(),
            ray=newcomer.versions["ray"],
            python=newcomer.versions["python"],
            secure_ray=newcomer.versions["secure-ray"],
        )

    def _keep(self, welcome: Welcome, door: Endpoint) -> Joined:
        from secure_ray.pki.enrolment import UnusableLeafError, keep

        try:
            leaf = keep(
                self._newcomer.pki,
                chain=welcome.chain,
                roots=welcome.roots,
                pins=self._string.pins,
                now=self._clock(),
            )
        except UnusableLeafError as error:
            raise FailedError(
                "SR-JOIN-035",
                f"the leaf that the head sent cannot be used: {error}",
                fix="on the head: secure-ray audit; then join again",
            ) from None
        return Joined(
            node=welcome.node,
            name=welcome.name,
            address=welcome.address,
            cluster=welcome.cluster,
            cluster_id=welcome.cluster_id,
            token=welcome.token,
            ports=welcome.ports,
            head=welcome.head,
            door=door,
            versions={
                "ray": welcome.ray,
                "python": welcome.python,
                "secure-ray": welcome.secure_ray,
            },
            leaf=leaf,
        )


async def _chain_of(head: Endpoint) -> list[bytes]:
    """The certificates (DER) that the server at `head` sends; nothing is sent but a handshake.

    Raises:
        FailedError: nobody answers there, or not in TLS.
    """
    # Nobody is trusted yet: the pin is looked for in what comes, before anything goes out.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opening = asyncio.open_connection(head.address, head.port, ssl=context)
    try:
        _, writer = await asyncio.wait_for(opening, _LOOK_SECONDS)
    except asyncio.TimeoutError:
        raise unreachable(head, f"no answer in {_LOOK_SECONDS:g} s") from None
    except (ssl.SSLError, ConnectionResetError):
        raise no_door(head, "it does not speak TLS 1.3") from None
    except OSError as error:
        raise unreachable(head, _reason(error)) from None
    chain = sent_chain(writer.get_extra_info("ssl_object"))
    writer.transport.abort()
    return chain


def _reason(error: OSError) -> str:
    # asyncio's own text repeats the address; several tries come without a number.
    return os.strerror(error.errno).lower() if error.errno else "no address could be connected to"


def _most_telling(failures: Sequence[SecureRayError]) -> SecureRayError:
    """What to report when no address led to the head."""
    quiet = [failure for failure in failures if failure.code == "SR-JOIN-031"]
    telling = [failure for failure in failures if failure not in quiet]
    if telling:
        return telling[0]
    return FailedError(
        "SR-JOIN-031", "; ".join(failure.cause for failure in quiet), fix=quiet[0].fix
    )

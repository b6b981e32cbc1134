"""Talks to the head's node door: TLS 1.3, verified against the cluster's root and nothing else."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import aiohttp

from secure_ray.base.errors import FailedError, RejectedError, SecureRayError
from secure_ray.node.messages import (
    MOST_REPLY_BYTES,
    ClusterToken,
    Heartbeat,
    Leaf,
    NodeList,
    Orders,
    Problem,
    RenewalRequest,
    decode,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from msgspec import Struct

    from secure_ray.base.secrets import Secret
    from secure_ray.pki.join_string import Endpoint
    from secure_ray.pki.store import LeafFiles

_CALL_SECONDS = 15.0
_FORBIDDEN_BELOW = 500
_Reply = TypeVar("_Reply")


class LostReplyError(FailedError):
    """The connection ended before the answer came; whether the head acted is not known."""


@dataclass(frozen=True)
class Refused:
    """What the head answered instead, and after how many seconds it may answer otherwise."""

    error: SecureRayError
    retry_after: int


def context_for(root: str) -> ssl.SSLContext:
    """Trusts the root CA in `root` (PEM) alone; checks dates and the head's address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=root)
    return context


def node_context(files: LeafFiles) -> ssl.SSLContext:
    """The same for a node that has joined: it shows its own leaf.

    Raises:
        FailedError: a file is not ours alone.
        OSError: the leaf cannot be used.
    """
    from secure_ray.base.files import read_private

    context = context_for(read_private(files.authority).decode())
    context.load_cert_chain(files.certificate, files.key)
    return context


@asynccontextmanager
async def connected(head: Endpoint, context: ssl.SSLContext) -> AsyncIterator[DoorClient]:
    """A client of the door at `head`; it connects when it is used first.

    Args:
        head: Where the door is.
        context: `context_for` or `node_context`.
    """
    # No proxy, no cookies, no redirects: nothing but the head.
    async with aiohttp.ClientSession(
        base_url=f"https://{head}",
        connector=aiohttp.TCPConnector(ssl=context, limit=1),
        timeout=aiohttp.ClientTimeout(total=_CALL_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    ) as session:
        yield DoorClient(head, session)


class DoorClient:
    """Calls the door, over one connection that is kept while it is in use: see `connected`."""

    def __init__(self, head: Endpoint, session: aiohttp.ClientSession) -> None:
        self._head = head
        self._session = session

    async def heartbeat(self, beat: Heartbeat) -> Orders:
        """Tell the head how this node is; what it wants and who else is there.

        Raises:
            RejectedError: this node was revoked or is not known.
            FailedError: the head cannot be reached or cannot answer.
        """
        return self._or_raise(await self.ask("POST", "/v1/heartbeat", beat, Orders))

    async def renew(self, request: str) -> Leaf:
        """A new leaf for the key in `request` (a certificate request in PEM).

        Raises:
            RejectedError: this node was revoked or is not known, or the request is refused.
            FailedError: the head cannot be reached or cannot answer.
        """
        return self._or_raise(
            await self.ask("POST", "/v1/renew", RenewalRequest(request=request), Leaf)
        )

    async def token(self) -> Secret:
        """Ray's cluster token as it is now.

        Raises:
            RejectedError: this node was revoked or is not known.
            FailedError: the head cannot be reached or cannot answer.
        """
        return self._or_raise(await self.ask("GET", "/v1/token", None, ClusterToken)).token

    async def nodes(self) -> NodeList:
        """Who is in the cluster.

        Raises:
            RejectedError: this node was revoked or is not known.
            FailedError: the head cannot be reached or cannot answer.
        """
        return self._or_raise(await self.ask("GET", "/v1/nodes", None, NodeList))

    async def ask(
        self, method: str, path: str, message: Struct | None, kind: type[_Reply]
    ) -> _Reply | Refused:
        """Send `message`; the answer, or the head's refusal.

        Raises:
            FailedError: the head cannot be reached, is not the one that the cluster's root
                vouches for, or does not speak as a door does.
        """
        body = None if message is None else encode(message)
        try:
            async with self._session.request(
                method, path, data=body, allow_redirects=False
            ) as response:
                content = await _content(response)
                status = response.status
        except aiohttp.ClientConnectorCertificateError as error:
            raise self._unproven(error.certificate_error) from None
        except aiohttp.ClientSSLError:
            raise self._no_door("TLS fails") from None
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(str(error.os_error.strerror or "no answer")) from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise self._lost(error) from None
        except aiohttp.ClientResponseError:
            raise self._no_door("it does not speak HTTP") from None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise self._lost(error) from None
        return self._understood(status, content, kind)

    def _understood(self, status: int, content: bytes, kind: type[_Reply]) -> _Reply | Refused:
        try:
            if status == 200:  # noqa: PLR2004  # RFC 9110 section 15.3.1
                return decode(content, kind)
            problem = decode(content, Problem)
        except ValueError:
            raise self._no_door(f"it answers {status} with something else") from None
        known = RejectedError if status < _FORBIDDEN_BELOW else FailedError
        return Refused(known(problem.code, problem.cause, fix=problem.fix), problem.retry_after)

    @staticmethod
    def _or_raise(answer: _Reply | Refused) -> _Reply:
        if isinstance(answer, Refused):
            raise answer.error
        return answer

    def _unreachable(self, why: str) -> FailedError:
        return unreachable(self._head, why)

    def _no_door(self, why: str) -> FailedError:
        return no_door(self._head, why)

    def _unproven(self, error: Exception) -> FailedError:
        why = getattr(error, "verify_message", "") or type(error).__name__
        return FailedError(
            "SR-JOIN-033",
            f"what answers at {self._head} cannot prove that it is the head: {why}",
            fix="find out who has that address (ip neigh); on the head: secure-ray status",
        )

    def _lost(self, error: Exception) -> LostReplyError:
        return LostReplyError(
            "SR-JOIN-034",
            f"{self._head} ended the connection before it answered ({type(error).__name__})",
            fix="run it again: a join that was lost on its way costs nothing",
        )


def unreachable(head: Endpoint, why: str) -> FailedError:
    """Nobody answers there."""
    return FailedError(
        "SR-JOIN-031",
        f"the head is not reachable at {head}: {why}",
        fix="check that the head runs (secure-ray status there) and that no firewall is between",
    )


def no_door(head: Endpoint, why: str) -> FailedError:
    """Somebody answers there who is no node door."""
    return FailedError(
        "SR-JOIN-032",
        f"what answers at {head} is not the door of a head: {why}",
        fix="on the head: secure-ray join-token create prints the address and port that it has now",
    )


async def _content(response: aiohttp.ClientResponse) -> bytes:
    content = await response.content.read(MOST_REPLY_BYTES)
    while len(content) < MOST_REPLY_BYTES:
        more = await response.content.read(MOST_REPLY_BYTES - len(content))
        if not more:
            break
        content += more
    return content

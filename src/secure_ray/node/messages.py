"""What a node and the head's door say to each other: JSON, checked by type and size on both ends.

    POST /v1/challenge   Challenge      -> Nonce
    POST /v1/join        Application    -> Welcome
    POST /v1/heartbeat   Heartbeat      -> Orders        mutual TLS
    POST /v1/renew       RenewalRequest -> Leaf          mutual TLS
    GET  /v1/token                      -> ClusterToken  mutual TLS
    GET  /v1/nodes                      -> NodeList      mutual TLS

Anything but 200 comes with a `Problem`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

from msgspec import DecodeError, Meta, Raw, Struct, ValidationError
from msgspec.json import Decoder, Encoder

from secure_ray.base.secrets import Secret

MOST_BYTES = 64 << 10
# A list of a thousand nodes; only the head sends that much.
MOST_REPLY_BYTES = 4 << 20

Short = Annotated[str, Meta(max_length=64)]
Text = Annotated[str, Meta(max_length=512)]
Moment = Annotated[datetime, Meta(tz=True)]
_Message = TypeVar("_Message")


class Challenge(Struct, frozen=True, forbid_unknown_fields=True):
    """Asks for a nonce."""


class Nonce(Struct, frozen=True):
    """A nonce, to be used once and soon; and the head's time."""

    nonce: Short
    clock: Moment


class Application(Struct, frozen=True, forbid_unknown_fields=True):
    """Asks for a leaf.

    `proof` is the signature by the token's key (`pki.proof.Claim`), in base64.
    """

    token: Annotated[str, Meta(min_length=8, max_length=8)]
    name: Annotated[str, Meta(min_length=1, max_length=63)]
    request: Annotated[str, Meta(max_length=8192)]
    nonce: Short
    proof: Annotated[str, Meta(max_length=128)]
    clock: Moment
    ray: Short
    python: Short
    secure_ray: Short


class Welcome(Struct, frozen=True):
    """All that a new node needs."""

    node: str
    name: str
    address: str
    chain: str
    roots: str
    cluster: str
    cluster_id: str
    token: Secret
    ports: str
    head: str
    ray: str
    python: str
    secure_ray: str


class RenewalRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Asks for a leaf for another key than the one that the node shows."""

    request: Annotated[str, Meta(max_length=8192)]


class Leaf(Struct, frozen=True):
    """A new leaf with its issuing CA, and what the node is to trust from now on, in PEM."""

    chain: str
    roots: str


class ClusterToken(Struct, frozen=True):
    """Ray's cluster token."""

    token: Secret


class LiveLeaf(Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate that running processes of a node show, and on how many ports."""

    serial: Short
    expires: Moment
    ports: int


class Heartbeat(Struct, frozen=True, forbid_unknown_fields=True):
    """How a node is.

    `sound` says whether its listeners are as planned. `serial`, `expires`, `issuer` (SHA-256 of the
    issuing CA) and `trusts` (of the keys of the CAs in its bundle) are of the files on disk, `live`
    of what its ports show.
    """

    phase: Short
    reason: Text
    sound: bool
    serial: Short
    expires: Moment
    clock: Moment
    issuer: Short = ""
    trusts: Annotated[tuple[Short, ...], Meta(max_length=8)] = ()
    live: Annotated[tuple[LiveLeaf, ...], Meta(max_length=8)] = ()


class NodeEntry(Struct, frozen=True):
    """One node, as every node may know it."""

    name: str
    address: str
    role: str


class NodeList(Struct, frozen=True):
    """The head, then every node that joined and was not revoked."""

    nodes: tuple[NodeEntry, ...]


class Orders(Struct, frozen=True):
    """What a node is to do (such as `drain`), who else is there, and the head's time.

    `epoch` is the session that the head's control store knows, "" while the head's Ray does not
    run. Where it is another one than before, the workers have to start anew.
    """

    orders: tuple[str, ...]
    nodes: tuple[NodeEntry, ...]
    clock: Moment
    epoch: Short = ""


class OrdersToSend(Struct, frozen=True):
    """`Orders` with a list of nodes that is encoded already: it is the same for all of them."""

    orders: tuple[str, ...]
    nodes: Raw
    clock: datetime
    epoch: str


class NodesToSend(Struct, frozen=True):
    """`NodeList`, encoded already as well."""

    nodes: Raw


class Problem(Struct, frozen=True):
    """Why not; `retry_after` in seconds, 0 when waiting does not help."""

    code: str
    cause: str
    fix: str
    retry_after: int = 0


def encode(message: Struct) -> bytes:
    """The message as JSON."""
    return Encoder(enc_hook=_to_plain).encode(message)


def decode(content: bytes, kind: type[_Message]) -> _Message:
    """The message in `content`.

    Raises:
        ValueError: it is no such message.
    """
    try:
        return Decoder(kind, dec_hook=_from_plain).decode(content)
    except (ValidationError, DecodeError, RecursionError, UnicodeError):
        raise ValueError(f"not a {kind.__name__}") from None


def encode_entries(entries: Sequence[NodeEntry]) -> Raw:
    """The entries as JSON, to be sent many times."""
    return Raw(Encoder().encode(entries))


def _to_plain(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(type(value).__name__)


def _from_plain(kind: type, value: Any) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise TypeError(kind.__name__)

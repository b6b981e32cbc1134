"""How often a stranger may knock, and when nobody answers any more: token buckets and a lock-out.

Strangers are told apart by where they come from and never by whom they claim to be: a lock-out by
account would let anybody lock out anybody. Wrong proofs lock a source out of the one token that
they were for, so that whoever shares the source with a guesser still joins with another. Memory is
bounded; the source that has been quiet for longest is forgotten first.

Time is a parameter: seconds of a clock that is not set back (`time.monotonic`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network

from secure_ray.policy.addresses import canonical

# A host gets a /64 of IPv6 and may use any address of it (RFC 6177, RFC 8981).
_IPV6_PREFIX = 64
_MOST_SOURCES = 10_000


@dataclass(frozen=True)
class Limits:
    """How much is let through.

    Attributes:
        per_source: Requests in a second from one source, in the long run.
        burst: Requests from one source at once.
        joins: Joins in a minute from everywhere, in the long run; only those count that are given
            a certificate, so that nobody who is refused can use them up.
        joins_burst: Such joins at once.
        bad_proofs: Wrong proofs for one token from one source until it is locked out of it.
        lock_out: Seconds.
    """

    per_source: float = 1.0
    burst: int = 5
    joins: float = 20.0
    joins_burst: int = 40
    bad_proofs: int = 5
    lock_out: float = 1800.0


@dataclass
class _Bucket:
    tokens: float
    filled: float

    def take(self, now: float, *, rate: float, size: float) -> float:
        """Take one; 0, or the seconds until there is one."""
        self.tokens = min(size, self.tokens + max(0.0, now - self.filled) * rate)
        self.filled = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / rate


@dataclass
class _Guesser:
    bad: int = 0
    last_bad: float = 0.0
    locked_until: float = 0.0


class Gatekeeper:
    """Counts what comes from each source, as `source_of` tells them apart."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._knocking: OrderedDict[str, _Bucket] = OrderedDict()
        self._guessing: OrderedDict[tuple[str, str], _Guesser] = OrderedDict()
        self._joins = _Bucket(limits.joins_burst, 0.0)

    def knock(self, source: str, now: float) -> float:
        """Count a request from `source`; 0 lets it in, else the seconds to wait."""
        bucket = self._knocking.setdefault(source, _Bucket(self._limits.burst, now))
        self._knocking.move_to_end(source)
        if len(self._knocking) > _MOST_SOURCES:
            self._knocking.popitem(last=False)
        return bucket.take(now, rate=self._limits.per_source, size=self._limits.burst)

    def locked(self, source: str, token: str, now: float) -> float:
        """Seconds for which `source` stays locked out of `token`; 0 when it is not."""
        guesser = self._guessing.get((source, token))
        return 0.0 if guesser is None else max(0.0, guesser.locked_until - now)

    def bad_proof(self, source: str, token: str, now: float) -> None:
        """Count a wrong proof; the last one that is forgiven starts a lock-out."""
        guesser = self._guesser(source, token, now)
        if now - guesser.last_bad > self._limits.lock_out:
            guesser.bad = 0
        guesser.bad += 1
        guesser.last_bad = now
        if guesser.bad >= self._limits.bad_proofs:
            guesser.bad = 0
            guesser.locked_until = now + self._limits.lock_out

    def join(self, now: float) -> float:
        """Count a join that is due; 0 lets it go on, else the seconds to wait."""
        return self._joins.take(now, rate=self._limits.joins / 60, size=self._limits.joins_burst)

    def _guesser(self, source: str, token: str, now: float) -> _Guesser:
        guesser = self._guessing.setdefault((source, token), _Guesser())
        self._guessing.move_to_end((source, token))
        if len(self._guessing) > _MOST_SOURCES:
            # Not one that is locked out, or whoever has many addresses could free it.
            quiet = (key for key, one in self._guessing.items() if one.locked_until <= now)
            del self._guessing[next(quiet, next(iter(self._guessing)))]
        return guesser


def source_of(address: str, near: str = "") -> str:
    """What counts as one source: an IPv4 address, or the /64 of an IPv6 address.

    On the network of `near`, the address of the one who asks, hosts are neighbours that share a
    /64: there an IPv6 address is a source of its own. `network_of` bounds how much that lets one
    host have.
    """
    parsed = ip_address(canonical(address))
    if isinstance(parsed, IPv4Address) or (near and network_of(near) == network_of(address)):
        return str(parsed)
    return network_of(address)


def network_of(address: str) -> str:
    """The /64 of an IPv6 address; an IPv4 address itself."""
    parsed = ip_address(canonical(address))
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(ip_network((parsed, _IPV6_PREFIX), strict=False))

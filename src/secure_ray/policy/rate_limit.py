"""How often a stranger may knock, and when nobody answers any more: token buckets and a lock-out.

Strangers are told apart by where they come from and never by whom they claim to be: a lock-out by
account would let anybody lock out anybody. Memory is bounded; the source that has been quiet for
longest is forgotten first.

Time is a parameter: seconds of a clock that is not set back (`time.monotonic`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

# A host gets a /64 of IPv6 and may use any address of it (RFC 6177, RFC 8981).
_IPV6_PREFIX = 64
_MOST_SOURCES = 10_000


@dataclass(frozen=True)
class Limits:
    """How much is let through.

    Attributes:
        per_source: Requests in a second from one source, in the long run.
        burst: Requests from one source at once.
        joins: Joins in a minute from everywhere, in the long run; only those that prove a live
            token count, so that nobody without one (or with one that is spent, expired or
            revoked) can use them up.
        joins_burst: Such joins at once.
        bad_proofs: Wrong proofs from one source until it is locked out.
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
class _Source:
    bucket: _Bucket
    bad: int = 0
    last_bad: float = 0.0
    locked_until: float = 0.0


class Gatekeeper:
    """Counts what comes from each source."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._joins = _Bucket(limits.joins_burst, 0.0)

    def knock(self, address: str, now: float) -> float:
        """Count a request from `address`; 0 lets it in, else the seconds to wait."""
        source = self._source(address, now)
        return source.bucket.take(now, rate=self._limits.per_source, size=self._limits.burst)

    def locked(self, address: str, now: float) -> float:
        """Seconds for which `address` stays locked out; 0 when it is not."""
        return max(0.0, self._source(address, now).locked_until - now)

    def bad_proof(self, address: str, now: float) -> None:
        """Count a wrong proof from `address`; the last one that is forgiven starts a lock-out."""
        source = self._source(address, now)
        if now - source.last_bad > self._limits.lock_out:
            source.bad = 0
        source.bad += 1
        source.last_bad = now
        if source.bad >= self._limits.bad_proofs:
            source.bad = 0
            source.locked_until = now + self._limits.lock_out

    def join(self, now: float) -> float:
        """Count a join with the proof of a live token; 0 lets it go on, else the seconds to wait."""
        return self._joins.take(now, rate=self._limits.joins / 60, size=self._limits.joins_burst)

    def _source(self, address: str, now: float) -> _Source:
        key = source_of(address)
        source = self._sources.setdefault(key, _Source(_Bucket(self._limits.burst, now)))
        self._sources.move_to_end(key)
        if len(self._sources) > _MOST_SOURCES:
            self._forget(now)
        return source

    def _forget(self, now: float) -> None:
        # Not those that are locked out, or whoever has many addresses could free one of them.
        quiet = (key for key, source in self._sources.items() if source.locked_until <= now)
        self._sources.pop(next(quiet, next(iter(self._sources))))


def source_of(address: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 of an IPv6 address."""
    parsed = ip_address(address.partition("%")[0])
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, _IPV6_PREFIX), strict=False))

"""How long each certificate lives, and when it is renewed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from secure_ray.base.errors import UsageError

# Every certificate starts this much before it is made: a peer whose clock is a little behind
# accepts it all the same. Joining nodes may be off by as much.
BACKDATING = timedelta(minutes=5)
# A certificate is renewed when this share of its life has gone: early enough that a node that is
# off for weeks comes back with one that still holds.
RENEW_AT = 0.5
# Below this the back-dating would eat so much of a life that a new leaf is soon due again.
SHORTEST = timedelta(minutes=10)


@dataclass(frozen=True)
class Lifetimes:
    """How long certificates live from the moment they are made.

    Attributes:
        root: What every Ray process trusts; replacing it restarts the whole cluster.
        issuing: Signs leaves; replacing it needs no change of trust.
        leaf: What a node shows. Never outlives its issuer, whatever stands here.

    Raises:
        UsageError: one is shorter than ten minutes, or longer than that of its issuer.
    """

    root: timedelta = timedelta(days=3650)
    issuing: timedelta = timedelta(days=365)
    leaf: timedelta = timedelta(days=90)

    def __post_init__(self) -> None:
        if not SHORTEST <= self.leaf <= self.issuing <= self.root:
            raise UsageError(
                "SR-PKI-009",
                f"lifetimes must be {SHORTEST} <= leaf <= issuing <= root, but they are"
                f" {self.leaf}, {self.issuing}, {self.root}",
                fix="leave them out for 90 days, 1 year and 10 years",
            )


DEFAULT_LIFETIMES = Lifetimes()

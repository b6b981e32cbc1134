"""How long each certificate lives, and when it is renewed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from secure_ray.base.errors import UsageError

# Every certificate starts a little before it is made: a peer whose clock is a little behind
# accepts it all the same. Joining nodes may be off by as much.
MOST_BACKDATING = timedelta(minutes=5)
# A certificate is renewed when this share of its life has gone: early enough that a node that is
# off for weeks comes back with one that still holds.
RENEW_AT = 0.5
# Below this, clocks that differ by half a minute and the time that a renewal takes eat all of it.
SHORTEST = timedelta(minutes=1)


@dataclass(frozen=True)
class Lifetimes:
    """How long certificates live from the moment they are made.

    Attributes:
        root: What every Ray process trusts; replacing it restarts the whole cluster.
        issuing: Signs leaves; replacing it needs no change of trust.
        leaf: What a node shows. Never outlives its issuer, whatever stands here.

    Raises:
        UsageError: one is shorter than a minute, or longer than that of its issuer.
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


def backdating(life: timedelta) -> timedelta:
    """How much earlier than it is made a certificate of this life begins.

    Half of a short life: clocks may be off by no more than what is left to be off by.
    """
    return min(MOST_BACKDATING, life / 2)


def made_at(not_before: datetime, not_after: datetime) -> datetime:
    """When a certificate was made, which its back-dated start hides: `backdating` undone."""
    # From start to end it is life + life / 2 where the life is short, so a third of that.
    return not_before + min(MOST_BACKDATING, (not_after - not_before) / 3)


DEFAULT_LIFETIMES = Lifetimes()

"""Where the head's control store may keep what it must still know after a restart of the head."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from secure_ray.base.errors import Refusal, UsageError
from secure_ray.policy.rules import RULES
from secure_ray.policy.values import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secure_ray.settings.model import RedisSettings, StoreSettings

# The oldest Ray whose gcs_server and `_private/node.py` were found to have RAY_gcs_storage; 2.56.1
# has neither.
ROCKSDB_SINCE = "2.57.1"


class StoreKind(str, Enum):
    """What keeps the control store's state."""

    MEMORY = "memory"
    ROCKSDB = "rocksdb"
    REDIS = "redis"

    @property
    def lasts(self) -> bool:
        """Whether a head that starts again still knows its cluster."""
        return self is not StoreKind.MEMORY


def choose_store(store: StoreSettings, redis: RedisSettings, ray_version: str) -> StoreKind:
    """What `[store]` and `[redis]` ask for, of this Ray.

    Raises:
        UsageError: the two do not fit together.
    """
    has_redis = redis.address is not None
    if store.kind == "auto":
        if has_redis:
            return StoreKind.REDIS
        return StoreKind.ROCKSDB if has_rocksdb(ray_version) else StoreKind.MEMORY
    if has_redis != (store.kind == "redis"):
        raise UsageError(
            "SR-CFG-021",
            f'store.kind is "{store.kind}", and redis.address is {"" if has_redis else "not "}set',
            fix='leave store.kind at "auto", which takes Redis where redis.address is set',
        )
    return StoreKind(store.kind)


def judge_store(
    store: StoreSettings, redis: RedisSettings, ray_version: str, origin: Mapping[str, str]
) -> tuple[Refusal, ...]:
    """Why this store may not be used; empty when it may.

    Args:
        store: What was asked for.
        redis: The Redis, if there is one.
        ray_version: The installed Ray.
        origin: Where each setting came from, by dotted key.
    """
    if redis.address is not None:
        return tuple(_judge_redis(redis, origin.get("redis.address", "")))
    if store.kind == "rocksdb" and not has_rocksdb(ray_version):
        subject = f"Ray {ray_version} has no RocksDB store"
        return (_refusal("SR-VER-007", subject, origin.get("store.kind", "")),)
    return ()


def has_rocksdb(ray_version: str) -> bool:
    """Whether this Ray can keep its control store in RocksDB."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(ray_version) >= Version(ROCKSDB_SINCE)
    except InvalidVersion:  # refused by `versions.judge_ray`
        return False


def _judge_redis(redis: RedisSettings, source: str) -> list[Refusal]:
    refusals = []
    # What crosses loopback only root can read.
    if not redis.is_encrypted and not is_loopback(redis.host):
        refusals.append(
            _refusal(
                "SR-DATA-002", f"the control store would cross the wire to {redis.host}", source
            )
        )
    if redis.password_file is None and not (redis.is_encrypted and redis.cert_file):
        refusals.append(
            _refusal("SR-DATA-007", f"nothing proves to {redis.host} who we are", source)
        )
    return refusals


def _refusal(rule_id: str, subject: str, source: str) -> Refusal:
    rule = RULES[rule_id]
    return Refusal(rule.id, subject, source, rule.why, rule.fix)

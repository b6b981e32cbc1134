"""What may keep a head's control store."""

from __future__ import annotations

import pytest

from secure_ray.base.errors import UsageError
from secure_ray.policy.store import StoreKind, choose_store, has_rocksdb, judge_store
from secure_ray.settings.model import RedisSettings, StoreSettings

CA, PASSWORD = "/ca.crt", "/password"
PAIR = {"cert_file": "/client.crt", "key_file": "/client.key"}
REMOTE, TLS = "redis://store:6379", "rediss://store:6379"


@pytest.mark.parametrize(
    ("kind", "address", "ray", "chosen"),
    [
        ("auto", None, "2.60.0", StoreKind.ROCKSDB),
        ("auto", None, "2.57.1", StoreKind.ROCKSDB),
        ("auto", None, "2.56.1", StoreKind.MEMORY),
        ("auto", "redis://127.0.0.1:6379", "2.60.0", StoreKind.REDIS),
        ("redis", "redis://127.0.0.1:6379", "2.56.1", StoreKind.REDIS),
        ("memory", None, "2.60.0", StoreKind.MEMORY),
        ("rocksdb", None, "2.60.0", StoreKind.ROCKSDB),
    ],
)
def test_store_is_what_the_settings_ask_of_this_ray(
    kind: str, address: str | None, ray: str, chosen: StoreKind
) -> None:
    store = StoreSettings(kind=kind)  # type: ignore[arg-type]  # one of them

    assert choose_store(store, RedisSettings(address=address), ray) is chosen


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("redis", None),
        ("memory", "redis://127.0.0.1:6379"),
        ("rocksdb", "redis://127.0.0.1:6379"),
    ],
)
def test_redis_that_is_set_and_not_used_is_told(kind: str, address: str | None) -> None:
    store = StoreSettings(kind=kind)  # type: ignore[arg-type]  # one of them

    with pytest.raises(UsageError) as caught:
        choose_store(store, RedisSettings(address=address), "2.60.0")

    assert caught.value.code == "SR-CFG-021"
    assert "not set" in caught.value.cause or " set" in caught.value.cause


def test_memory_alone_forgets() -> None:
    assert [kind for kind in StoreKind if not kind.lasts] == [StoreKind.MEMORY]


@pytest.mark.parametrize("version", ["2.56.1", "nightly", ""])
def test_ray_without_rocksdb(version: str) -> None:
    assert not has_rocksdb(version)


@pytest.mark.parametrize(
    ("redis", "rules"),
    [
        ({"address": REMOTE}, ["SR-DATA-002", "SR-DATA-007"]),
        ({"address": REMOTE, "password_file": PASSWORD}, ["SR-DATA-002"]),
        # Without TLS nobody is shown the certificate.
        ({"address": "redis://127.0.0.1:6379", **PAIR}, ["SR-DATA-007"]),
        ({"address": "redis://127.0.0.1:6379"}, ["SR-DATA-007"]),
        ({"address": TLS, "ca_file": CA}, ["SR-DATA-007"]),
        ({"address": "redis://[::1]:6379", "password_file": PASSWORD}, []),
        ({"address": "redis://127.0.0.1:6379", "password_file": PASSWORD}, []),
        ({"address": TLS, "ca_file": CA, "password_file": PASSWORD}, []),
        ({"address": TLS, "ca_file": CA, **PAIR}, []),
    ],
    ids=str,
)
def test_redis_needs_tls_beyond_loopback_and_something_that_proves_who_we_are(
    redis: dict[str, str], rules: list[str]
) -> None:
    refusals = judge_store(
        StoreSettings(), RedisSettings(**redis), "2.60.0", {"redis.address": "file a"}
    )

    assert [refusal.rule for refusal in refusals] == rules
    assert {refusal.source for refusal in refusals} <= {"file a"}


def test_rocksdb_is_refused_where_ray_has_none() -> None:
    origin = {"store.kind": "file a"}

    (refusal,) = judge_store(StoreSettings(kind="rocksdb"), RedisSettings(), "2.56.1", origin)

    assert (refusal.rule, refusal.source) == ("SR-VER-007", "file a")
    assert judge_store(StoreSettings(kind="rocksdb"), RedisSettings(), "2.60.0", origin) == ()

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest

from secure_ray.policy.ports import BLOCK_SIZE, COMPONENT_NAMES
from secure_ray.settings.convert import FlawedError, read_settings
from secure_ray.settings.model import PkiSettings, PortSettings, Settings


def complaint(values: dict[str, Any]) -> str:
    with pytest.raises(FlawedError) as caught:
        read_settings(values)
    return str(caught.value)


def test_the_defaults_are_the_safe_ones() -> None:
    settings = Settings()
    assert settings.network.bind == "local"
    assert not settings.metrics.enabled
    assert settings.environment.pass_ == ()
    assert dict(settings.environment.set) == {}
    assert settings.ray.allow_flags == ()
    assert dict(settings.override) == {}


def test_the_ports_are_those_of_the_port_plan() -> None:
    """The names are spelled here because settings stand below policy."""
    assert tuple(PortSettings.__struct_fields__) == ("base", "workers", *COMPONENT_NAMES)


def test_the_last_base_leaves_room_for_its_block() -> None:
    last = 65536 - BLOCK_SIZE
    assert read_settings({"ports": {"base": last}}).ports.base == last
    assert "ports.base" in complaint({"ports": {"base": last + 1}})


def test_fixed_ports_are_those_that_were_given() -> None:
    ports = PortSettings(base=20480, gcs=6379, workers="30000-30999")
    assert ports.fixed() == {"gcs": 6379}
    assert ports.worker_range() == (30000, 30999)
    assert PortSettings().worker_range() is None


@pytest.mark.parametrize("bind", ["local", "127.0.0.1", "localhost"])
def test_every_name_of_loopback_means_local(bind: str) -> None:
    assert read_settings({"network": {"bind": bind}}).network.bind == "local"


@pytest.mark.parametrize(
    "bind",
    [
        "private",
        "10.0.0.5",
        "fd00::5",
        "fe80::1%eth0",
        "0.0.0.0",
        "::",
        "8.8.8.8",
        "head",
        "a-1.b.c",
        "10-0-0-5",
        "9a",
    ],
)
def test_what_an_address_may_be_used_for_is_left_to_the_policy(bind: str) -> None:
    assert read_settings({"network": {"bind": bind}}).network.bind == bind


@pytest.mark.parametrize(
    "bind",
    [
        *(
            "",
            " ",
            "*",
            "LOCAL",
            "Private",
            "10.0.0.5:6379",
            "10.0.0.0/24",
            "[fd00::5]",
            "-h",
            "h-",
        ),
        *(
            "0",
            "10.1",
            "127.1",
            "0x7f000001",
            "h.0x7f",
            "h.0x",
            "a..b",
            "a b",
            "a\n",
            "ü.de",
            "a" * 64,
        ),
        *(0, None, True, ["10.0.0.5"]),
    ],
)
def test_what_is_neither_an_address_nor_a_name_is_refused(bind: object) -> None:
    assert 'should be "local", "private", or an address' in complaint({"network": {"bind": bind}})


@pytest.mark.parametrize(
    ("section", "key", "bad"),
    [
        ("ports", "gcs", 80),
        ("ports", "gcs", 65536),
        ("ports", "gcs", "6379"),
        ("ports", "workers", "2000"),
        ("ports", "workers", "3000-2000"),
        ("ports", "workers", "1-2000"),
        ("ports", "workers", "²000-3000"),
        ("ports", "workers", "2000-" + "9" * 5000),
        ("limits", "num_cpus", -1),
        ("limits", "num_cpus", 1.5),
        ("limits", "num_cpus", True),
        ("limits", "memory", 0),
        ("limits", "memory", "lots"),
        ("limits", "resources", {"a": -1.0}),
        ("limits", "resources", {"a": float("inf")}),
        ("limits", "resources", {"a": float("nan")}),
        ("limits", "resources", {"a": True}),
        ("limits", "resources", {"CPU": 1}),
        ("limits", "resources", {"": 1}),
        ("limits", "resources", {"a\x1b[2J": 1}),
        ("limits", "memory_usage_threshold", 0.0),
        ("limits", "memory_usage_threshold", 1.0),
        ("limits", "spill_limit", 1),
        ("limits", "resource_isolation", True),
        ("limits", "system_reserved_cpu", 0.0),
        ("limits", "system_reserved_cpu", float("inf")),
        ("logging", "level", "INFO"),
        ("logging", "format", "xml"),
        ("logging", "rotate_bytes", "1KB"),
        ("logging", "rotate_count", 0),
        ("metrics", "enabled", 1),
        ("metrics", "enabled", "true"),
        ("environment", "pass", "HOME"),
        ("environment", "pass", ["*"]),
        ("environment", "pass", ["A=1"]),
        ("environment", "set", {"A": 1}),
        ("environment", "set", {"1A": "x"}),
        ("environment", "set", {"A": "x\0y"}),
        ("environment", "set", {"A": "\ud800"}),
        ("ray", "allow_flags", ["labels"]),
        ("ray", "allow_flags", ["--labels=x"]),
        ("pki", "leaf_days", 0),
        ("pki", "leaf_days", 366),
        ("pki", "leaf_life", "5"),
        ("pki", "leaf_life", "0m"),
        ("pki", "leaf_life", "1.5h"),
        ("pki", "key", "rsa2048"),
        ("pki", "passphrase_file", "relative"),
        ("pki", "passphrase_file", "~/key"),
        ("pki", "passphrase_file", "/\udcff"),
        ("start", "timeout_seconds", 0),
        ("start", "order", "fast"),
        ("advisories", "files", ["osv.json"]),
        ("limits", "no_such_key", 1),
        ("environment", "pass_", ["A"]),
    ],
)
def test_a_bad_value_is_refused(section: str, key: str, bad: object) -> None:
    assert f"{section}.{key}" in complaint({section: {key: bad}})


def test_one_port_for_two_components_is_refused() -> None:
    assert "both gcs and dashboard" in complaint({"ports": {"gcs": 7000, "dashboard": 7000}})
    assert "both gcs and workers" in complaint({"ports": {"gcs": 7000, "workers": "6000-8000"}})


def test_a_leaf_cannot_outlive_its_issuer() -> None:
    assert "longer than issuing_days" in complaint({"pki": {"issuing_days": 30}})


@pytest.mark.parametrize(
    ("until", "end"),
    [
        (date(2027, 1, 31), datetime(2027, 2, 1, tzinfo=timezone.utc)),
        ("2027-01-31", datetime(2027, 2, 1, tzinfo=timezone.utc)),
        ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=timezone.utc)),
        (
            datetime(2027, 1, 31, 12, tzinfo=timezone(timedelta(hours=2))),
            datetime(2027, 1, 31, 10, tzinfo=timezone.utc),
        ),
    ],
)
def test_an_override_ends_at_a_time_in_utc(until: object, end: datetime) -> None:
    given = {"override": {"SR-NET-002": {"until": until, "reason": "x"}}}
    override = read_settings(given).override["SR-NET-002"]
    assert end == override.until
    assert override.until.tzinfo is timezone.utc


@pytest.mark.parametrize(
    ("rule", "override"),
    [
        ("SR-NET-002", {"until": "2027-01-31"}),
        ("SR-NET-002", {"reason": "x"}),
        ("SR-NET-002", {"until": "2027-01-31", "reason": " "}),
        ("SR-NET-002", {"until": "2027-01-31", "reason": "a\nb"}),
        ("SR-NET-002", {"until": "2027-01-31T12:00:00", "reason": "x"}),
        ("SR-NET-002", {"until": "tomorrow", "reason": "x"}),
        ("SR-NET-002", {"until": date.max, "reason": "x"}),
        ("SR-NET-002", {"until": "0001-01-01T00:00:00+10:00", "reason": "x"}),
        ("SR-NET-002", {"until": 1800000000, "reason": "x"}),
        ("SR-NET-002", {"until": "2027-01-31", "reason": "x", "by": "me"}),
        ("SR-NET-002", True),
        ("*", {"until": "2027-01-31", "reason": "x"}),
        ("sr-net-002", {"until": "2027-01-31", "reason": "x"}),
        ("SR-NET-002 ", {"until": "2027-01-31", "reason": "x"}),
    ],
)
def test_half_an_override_is_none(rule: str, override: object) -> None:
    assert "override" in complaint({"override": {rule: override}})


@pytest.mark.parametrize(
    "rule", ["SR-NET-002", "CVE-2026-12345", "GHSA-ab12-cd34-ef56", "PYSEC-2026-7"]
)
def test_rules_and_advisories_can_be_overridden(rule: str) -> None:
    given = {"override": {rule: {"until": date(2027, 1, 31), "reason": "upgrade is planned"}}}
    assert list(read_settings(given).override) == [rule]


def test_a_setting_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        Settings().network.bind = "private"  # type: ignore[misc]


def test_chosen_variables_are_not_in_the_repr() -> None:
    settings = read_settings({"environment": {"set": {"TOKEN": "hunter2"}}})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.environment.__rich_repr__())


@pytest.mark.parametrize(
    ("pki", "words"),
    [
        ({"leaf_life": "59s"}, "one minute to 365 days"),
        ({"leaf_life": "366d", "issuing_days": 3650}, "one minute to 365 days"),
        ({"leaf_life": "31d", "issuing_days": 30, "leaf_days": 1}, "leaf_life longer than"),
        ({"key": "ed25519"}, "gRPC fails every handshake; use p256, p384 or rsa3072"),
    ],
)
def test_a_leaf_that_nobody_could_use_is_refused(pki: dict[str, object], words: str) -> None:
    assert words in complaint({"pki": pki})


@pytest.mark.parametrize(
    ("pki", "seconds"),
    [
        ({}, 90 * 86400),
        ({"leaf_days": 2}, 2 * 86400),
        ({"leaf_life": "5m"}, 300),
        ({"leaf_life": "90s"}, 90),
    ],
)
def test_a_leaf_lives_as_long_as_it_says(pki: dict[str, Any], seconds: int) -> None:
    assert PkiSettings(**pki).leaf.total_seconds() == seconds


REDIS = "rediss://10.0.0.9:6379"


@pytest.mark.parametrize(
    ("redis", "told"),
    [
        ({"address": REDIS}, "redis needs ca_file"),
        ({"ca_file": "/ca"}, "redis has no address"),
        ({"address": REDIS, "ca_file": "/ca", "cert_file": "/c"}, "cert_file and key_file"),
        ({"address": REDIS, "ca_file": "/ca", "key_file": "/k"}, "cert_file and key_file"),
        ({"address": REDIS, "ca_file": "/ca", "username": "ray"}, "without a password_file"),
    ],
)
def test_half_a_redis_is_none(redis: dict[str, str], told: str) -> None:
    assert told in complaint({"redis": redis})


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.9:6379",
        "http://10.0.0.9:6379",
        "rediss://10.0.0.9",
        "rediss://10.0.0.9:0",
        "rediss://10.0.0.9:65536",
        "rediss://10.0.0.9:6379/0",
        "rediss://a,b:6379",
        "rediss://::1:6379",
        7,
    ],
)
def test_address_of_redis_is_scheme_host_and_port(address: object) -> None:
    assert 'should be "rediss://HOST:PORT"' in complaint({"redis": {"address": address}})


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (REDIS, "10.0.0.9"),
        ("rediss://[::1]:6379", "::1"),
        ("rediss://store.internal:1", "store.internal"),
    ],
)
def test_host_of_redis(address: str, host: str) -> None:
    settings = read_settings({"redis": {"address": address, "ca_file": "/ca"}})

    assert settings.redis.host == host


@pytest.mark.parametrize("key", ["address", "password_file", "username"])
def test_password_in_a_wrong_place_is_not_shown(key: str) -> None:
    with pytest.raises(FlawedError) as caught:
        read_settings({"redis": {key: "rediss://ray:hunter2 @10.0.0.9:6379"}})

    assert "hunter2" not in str(caught.value.flaws)

"""Limits from what the host has: never more, and every wish that it cannot meet is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.policy.limits import SMALLEST_OBJECT_STORE, Host, Limits, decide_limits
from secure_ray.settings.resolve import resolve
from secure_ray.settings.sources import from_flags

if TYPE_CHECKING:
    from secure_ray.base.errors import Refusal

MIB = 1 << 20
GIB = 1 << 30
HOST = Host(cpus=8, memory=16 * GIB, shared_memory=8 * GIB, gpus=2, isolation_obstacle="")


def decide(host: Host = HOST, **wanted: object) -> tuple[Limits, tuple[Refusal, ...]]:
    """Limits for wishes as they come from flags."""
    resolved = resolve([from_flags({f"limits.{key}": value for key, value in wanted.items()})])
    return decide_limits(resolved.settings.limits, host, resolved.origin)


def test_defaults_take_what_is_there_and_keep_a_tenth_free() -> None:
    limits, refusals = decide()

    assert refusals == ()
    store = int(16 * GIB * 0.3)
    reserve = int(16 * GIB * 0.1)
    assert limits == Limits(
        num_cpus=8,
        num_gpus=2,
        memory=16 * GIB - store - reserve,
        object_store_memory=store,
        resources={},
        reserve=reserve,
        memory_usage_threshold=0.9,
        isolation=True,
        isolation_note="",
    )


def test_wishes_that_fit_are_met() -> None:
    limits, refusals = decide(
        num_cpus=0,
        num_gpus=0,
        memory="1GiB",
        object_store_memory="75MiB",
        resources={"a": 2},
        memory_usage_threshold=0.5,
    )

    assert refusals == ()
    assert (limits.num_cpus, limits.num_gpus, limits.memory) == (0, 0, GIB)
    assert limits.object_store_memory == 75 * MIB
    assert limits.resources == {"a": 2}
    assert limits.memory_usage_threshold == 0.5


@pytest.mark.parametrize(
    ("host", "store"),
    [
        (HOST, int(16 * GIB * 0.3)),
        (replace(HOST, shared_memory=None), int(16 * GIB * 0.3)),
        (replace(HOST, shared_memory=GIB), int(GIB * 0.95)),
        (replace(HOST, memory=4096 * GIB, shared_memory=4096 * GIB), 200 * 1000**3),
        (replace(HOST, memory=200 * MIB), SMALLEST_OBJECT_STORE),
    ],
    ids=["share", "no shared memory", "small shared memory", "huge", "tiny"],
)
def test_default_object_store(host: Host, store: int) -> None:
    assert decide(host)[0].object_store_memory == store


def test_what_explicit_sizes_leave_is_what_is_said_to_be_kept_free() -> None:
    host = replace(HOST, memory=16 * GIB)
    store = {"object_store_memory": 2 * GIB}

    assert decide(host, memory=14 * GIB, **store)[0].reserve == 0
    assert decide(host, memory=10 * GIB, **store)[0].reserve == 4 * GIB


@pytest.mark.parametrize(
    ("memory", "reserve"), [(2 * GIB, 512 * MIB), (16 * GIB, int(1.6 * GIB)), (GIB, 512 * MIB)]
)
def test_reserve_is_a_tenth_but_at_least_512_mib(memory: int, reserve: int) -> None:
    assert decide(replace(HOST, memory=memory))[0].reserve == reserve


@pytest.mark.parametrize(
    ("wanted", "host", "rule", "source"),
    [
        ({"num_cpus": 9}, HOST, "SR-LIMIT-001", "flag --num-cpus"),
        ({"num_gpus": 3}, HOST, "SR-LIMIT-002", "flag --num-gpus"),
        ({"num_gpus": 1}, replace(HOST, gpus=0), "SR-LIMIT-002", "flag --num-gpus"),
        ({"memory": "16GiB"}, HOST, "SR-LIMIT-003", "flag --memory"),
        (
            {"memory": "1GiB", "object_store_memory": "8GiB"},
            replace(HOST, memory=8 * GIB),
            "SR-LIMIT-003",
            "flag --memory",
        ),
        ({"object_store_memory": "74MiB"}, HOST, "SR-LIMIT-004", "flag --object-store-memory"),
        ({"object_store_memory": "9GiB"}, HOST, "SR-LIMIT-005", "flag --object-store-memory"),
        (
            {"resource_isolation": "on"},
            replace(HOST, isolation_obstacle="version 1"),
            "SR-LIMIT-006",
            "flag --resource-isolation",
        ),
        (
            {"resource_isolation": "on"},
            replace(HOST, cpus=1),
            "SR-LIMIT-006",
            "flag --resource-isolation",
        ),
        ({"system_reserved_cpu": 8.0}, HOST, "SR-LIMIT-007", "flag --system-reserved-cpu"),
        ({"system_reserved_cpu": 0.5}, HOST, "SR-LIMIT-007", "flag --system-reserved-cpu"),
        (
            {"system_reserved_memory": 16 * GIB + 1},
            HOST,
            "SR-LIMIT-007",
            "flag --system-reserved-memory",
        ),
        (
            {"system_reserved_memory": "499MiB"},
            HOST,
            "SR-LIMIT-007",
            "flag --system-reserved-memory",
        ),
        ({}, replace(HOST, shared_memory=64 * MIB), "SR-LIMIT-005", "default"),
        ({}, replace(HOST, memory=128 * MIB), "SR-LIMIT-003", "default"),
    ],
)
def test_what_the_host_cannot_give_is_refused_with_its_source(
    wanted: dict[str, object], host: Host, rule: str, source: str
) -> None:
    _, refusals = decide(host, **wanted)

    assert [(refusal.rule, refusal.source) for refusal in refusals] == [(rule, source)]
    assert all(refusal.why and refusal.fix for refusal in refusals)


@pytest.mark.parametrize(
    "wanted",
    [
        {"num_cpus": 8},
        {"num_gpus": 2},
        {"object_store_memory": "8GiB"},
        {"memory": "8GiB", "object_store_memory": "8GiB"},
        {"object_store_memory": "75MiB"},
        {"system_reserved_cpu": 1, "system_reserved_memory": "500MiB"},
        {"system_reserved_cpu": 7.9, "system_reserved_memory": 16 * GIB},
    ],
)
def test_exactly_what_is_there_is_allowed(wanted: dict[str, object]) -> None:
    assert decide(HOST, **wanted)[1] == ()


def test_all_that_is_over_is_refused_at_once() -> None:
    _, refusals = decide(num_cpus=9, num_gpus=9, memory="1TiB", object_store_memory="1TiB")

    assert [refusal.rule for refusal in refusals] == [
        "SR-LIMIT-001",
        "SR-LIMIT-002",
        "SR-LIMIT-005",
        "SR-LIMIT-003",
    ]


@pytest.mark.parametrize(
    ("wanted", "obstacle", "isolation", "note"),
    [
        ("auto", "", True, ""),
        ("auto", "version 1", False, "version 1"),
        ("on", "", True, ""),
        ("on", "version 1", False, "version 1"),
        ("off", "", False, "switched off (limits.resource_isolation)"),
        ("off", "version 1", False, "switched off (limits.resource_isolation)"),
    ],
)
def test_isolation_where_it_works_and_is_wanted(
    wanted: str, obstacle: str, note: str, *, isolation: bool
) -> None:
    limits, _ = decide(replace(HOST, isolation_obstacle=obstacle), resource_isolation=wanted)

    assert (limits.isolation, limits.isolation_note) == (isolation, note)


def test_one_cpu_is_too_few_to_keep_one_for_ray() -> None:
    """Ray 2.60.0 raises: system_reserved_cpu=1.0 is not less than the number of CPUs."""
    limits, refusals = decide(replace(HOST, cpus=1))

    assert refusals == ()
    assert (limits.isolation, limits.isolation_note) == (False, "Ray needs a second CPU for it")


@pytest.mark.parametrize(
    ("host", "isolation"), [(replace(HOST, isolation_obstacle="version 1"), "auto"), (HOST, "off")]
)
def test_nothing_is_reserved_without_isolation(host: Host, isolation: str) -> None:
    wanted = {"system_reserved_cpu": 99, "system_reserved_memory": "99TiB"}

    assert decide(host, resource_isolation=isolation, **wanted)[1] == ()


SIZES = st.integers(1, 1 << 46)
HOSTS = st.builds(
    Host,
    cpus=st.integers(1, 1024),
    memory=SIZES,
    shared_memory=st.none() | st.integers(0, 1 << 46),
    gpus=st.integers(0, 16),
    isolation_obstacle=st.sampled_from(["", "version 1"]),
)


@given(
    host=HOSTS,
    wanted=st.fixed_dictionaries(
        {},
        optional={
            "num_cpus": st.integers(0, 2048),
            "num_gpus": st.integers(0, 32),
            "memory": SIZES,
            "object_store_memory": SIZES,
        },
    ),
)
def test_limits_are_refused_or_within_the_host(host: Host, wanted: dict[str, object]) -> None:
    limits, refusals = decide(host, **wanted)

    if not refusals:
        assert limits.num_cpus <= host.cpus
        assert limits.num_gpus <= host.gpus
        assert limits.memory + limits.object_store_memory <= host.memory
        assert limits.object_store_memory >= SMALLEST_OBJECT_STORE
        assert host.shared_memory is None or limits.object_store_memory <= host.shared_memory
        assert not (limits.isolation and host.isolation_obstacle)


@given(host=HOSTS)
def test_defaults_fit_every_host_that_is_not_tiny(host: Host) -> None:
    big_enough = replace(
        host,
        memory=max(host.memory, GIB),
        shared_memory=None if host.shared_memory is None else max(host.shared_memory, GIB),
    )

    assert decide(big_enough)[1] == ()

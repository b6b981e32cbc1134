"""Where the control store's state is, what goes on with it, and how it is forgotten."""

from __future__ import annotations

import stat
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError, IncompleteError, UsageError
from secure_ray.base.files import make_private_directory, write_private
from secure_ray.node import store as module
from secure_ray.node.paths import ClusterPaths
from secure_ray.node.store import (
    forget_store,
    require_redis_files,
    rocksdb_directory,
    settle_store,
    store_environment,
)
from secure_ray.policy.store import StoreKind
from secure_ray.settings.model import RedisSettings
from support.plans import ID, WORKER, make_directories, plan_of, private_plan

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan

REDIS = """
[redis]
address = "rediss://127.0.0.1:6379"
username = "ray"
password_file = "/secret/password"
ca_file = "/ca.crt"
"""
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def plan(home: Path) -> LaunchPlan:
    """A head with RocksDB that has run."""
    plan = make_directories(plan_of(home, store=StoreKind.ROCKSDB))
    (rocksdb_directory(plan.paths, "2.60.0") / "session_name").touch()
    return plan


def test_rocksdb_lies_in_the_private_tree(plan: LaunchPlan) -> None:
    place = plan.paths.store / f"ray-2.60.0-python-{PYTHON}"

    assert plan.environment["RAY_gcs_storage"] == "rocksdb"
    assert plan.environment["RAY_gcs_storage_path"] == str(place)
    for directory in (place, plan.paths.store):
        assert directory in plan.private_directories
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert plan.paths.directory in place.parents


@pytest.mark.parametrize("more", [{"ephemeral": True}, {"place": WORKER}], ids=str)
def test_only_a_head_that_outlives_a_program_has_a_store(home: Path, more: dict[str, Any]) -> None:
    make = private_plan if "place" in more else plan_of

    plan = make(home, store=StoreKind.ROCKSDB, **more)

    assert plan.store is StoreKind.MEMORY
    assert "RAY_gcs_storage" not in plan.environment
    assert plan.paths.store not in plan.private_directories


def test_redis_is_told_by_variables_without_its_password(home: Path) -> None:
    plan = plan_of(home, REDIS, store=StoreKind.REDIS)

    assert {name: plan.environment[name] for name in plan.environment if "REDIS" in name} == {
        "RAY_REDIS_ADDRESS": "rediss://127.0.0.1:6379",
        "RAY_REDIS_CA_CERT": "/ca.crt",
        "SECURE_RAY_REDIS_PASSWORD_FILE": "/secret/password",
        "SECURE_RAY_REDIS_USERNAME": "ray",
    }
    assert plan.environment["RAY_external_storage_namespace"] == f"secure-ray-{ID}"
    assert not any("redis" in word for word in plan.argv)


def test_keys_in_redis_begin_as_the_settings_say(home: Path) -> None:
    redis = RedisSettings(address="redis://127.0.0.1:1", password_file="/p", namespace="mine")

    found = store_environment(StoreKind.REDIS, redis, home, ID)

    assert found["RAY_external_storage_namespace"] == "mine"


def test_store_that_is_there_is_gone_on_with_and_told(plan: LaunchPlan) -> None:
    (told,) = settle_store(plan)

    assert "goes on with what it knew" in told
    assert rocksdb_directory(plan.paths, "2.60.0").is_dir()


def test_first_start_tells_nothing(home: Path) -> None:
    assert settle_store(plan_of(home, store=StoreKind.ROCKSDB)) == ()


@pytest.mark.parametrize(
    "changes",
    [{"versions": {"ray": "2.61.0"}}, {"store": StoreKind.MEMORY}, {"store": StoreKind.REDIS}],
    ids=["another Ray", "memory", "redis"],
)
def test_store_that_this_start_cannot_use_is_forgotten(
    plan: LaunchPlan, changes: dict[str, Any]
) -> None:
    """A later start would meet nodes and actors of long ago in it."""
    (told,) = settle_store(replace(plan, **changes))

    assert "forgot" in told
    assert list(plan.paths.store.iterdir()) == []


def test_store_that_others_could_write_to_is_not_used(plan: LaunchPlan) -> None:
    plan.paths.store.chmod(0o770)

    with pytest.raises(FailedError) as caught:
        settle_store(plan)

    assert caught.value.code == "SR-FILE-002"


def test_forgotten_store_is_gone(plan: LaunchPlan) -> None:
    forget_store(plan.paths, plan)
    forget_store(plan.paths, None)

    assert not plan.paths.store.exists()


def redis_plan(home: Path, answer: str) -> LaunchPlan:
    """A head with Redis, and a Python that does `answer` in place of clearing it."""
    plan = make_directories(plan_of(home, REDIS, store=StoreKind.REDIS))
    return replace(plan, environment=plan.environment | {"ANSWER": answer})


@pytest.fixture
def clears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLEAR", "import os; exec(os.environ['ANSWER'])")
    monkeypatch.setattr(module, "_CLEAR_SECONDS", 2)


@pytest.mark.usefixtures("clears")
def test_redis_is_cleared_with_the_variables_that_ray_had(home: Path) -> None:
    told = home / "told"
    script = f"open({str(told)!r}, 'w').write(os.environ['RAY_REDIS_ADDRESS'])"
    plan = redis_plan(home, script)

    forget_store(plan.paths, plan)

    assert told.read_text() == "rediss://127.0.0.1:6379"


@pytest.mark.usefixtures("clears")
@pytest.mark.parametrize(
    ("answer", "why"),
    [("raise SystemExit(1)", "exit code 1"), ("import signal; signal.pause()", "no answer in 2 s")],
)
def test_redis_that_is_not_cleared_is_told(home: Path, answer: str, why: str) -> None:
    plan = redis_plan(home, answer)

    with pytest.raises(IncompleteError) as caught:
        forget_store(plan.paths, plan)

    assert caught.value.code == "SR-STATE-011"
    assert why in caught.value.cause


@pytest.mark.usefixtures("clears")
def test_copied_record_does_not_clear_the_originals_redis(home: Path) -> None:
    plan = redis_plan(home, "raise SystemExit(1)")

    forget_store(ClusterPaths(home, "copy"), plan)


@pytest.fixture
def redis(home: Path) -> RedisSettings:
    for name in ("password", "key"):
        write_private(home / name, b"hunter2")
    for name in ("ca", "cert"):
        (home / name).touch(mode=0o644)
    return RedisSettings(
        address="rediss://127.0.0.1:1",
        password_file=str(home / "password"),
        ca_file=str(home / "ca"),
        cert_file=str(home / "cert"),
        key_file=str(home / "key"),
    )


def test_files_of_redis_are_accepted_as_they_should_be(redis: RedisSettings) -> None:
    require_redis_files(redis)
    require_redis_files(RedisSettings())


@pytest.mark.parametrize(
    ("name", "mode", "code"),
    [
        ("password", 0o644, "SR-FILE-002"),
        ("key", 0o640, "SR-FILE-002"),
        ("ca", 0o666, "SR-CFG-005"),
        ("cert", 0o664, "SR-CFG-005"),
    ],
)
def test_file_of_redis_that_others_can_use_is_refused(
    redis: RedisSettings, home: Path, name: str, mode: int, code: str
) -> None:
    (home / name).chmod(mode)

    with pytest.raises((FailedError, UsageError)) as caught:
        require_redis_files(redis)

    assert caught.value.code == code


def test_directory_of_a_store_may_be_made_by_hand(home: Path) -> None:
    """Moved from a copy, for example; then it is told as any other."""
    plan = plan_of(home, store=StoreKind.ROCKSDB)
    make_private_directory(plan.paths.store / "notes")

    assert len(settle_store(plan)) == 1

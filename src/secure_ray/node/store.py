"""Where a head's control store keeps its state, and how that is forgotten.

`down` forgets it: the work has ended. Whatever else ends a head (a crash, a kill, the host's
restart, a stopped service) leaves it, and the next start of the head goes on with it. What is in a
store is in clear: Ray encrypts nothing there. RocksDB's files are in a 0700 directory of ours.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.errors import IncompleteError
from secure_ray.base.files import is_there, remove_tree
from secure_ray.base.ownership import require_private_directory, require_private_file
from secure_ray.node.store_hook import (
    PASSWORD_FILE_VARIABLE,
    USERNAME_VARIABLE,
    read_redis_password,
)
from secure_ray.policy.store import StoreKind

if TYPE_CHECKING:
    from secure_ray.node.paths import ClusterPaths
    from secure_ray.node.plan import LaunchPlan
    from secure_ray.settings.model import RedisSettings

# Written by Ray beside RocksDB's own files (2.57.1 to 2.60.0, _private/node.py): whose it is.
_OWNER = "session_name"
_CLEAR_SECONDS = 20
_CLEAR = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; "
    "from secure_ray.node.clear_redis import main; sys.exit(main())"
)


def rocksdb_directory(paths: ClusterPaths, ray_version: str) -> Path:
    """Where this Ray under this Python keeps its store: another one would not understand it."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return paths.store / f"ray-{ray_version}-python-{python}"


def store_environment(
    kind: StoreKind, redis: RedisSettings, rocksdb: Path, cluster_id: str
) -> dict[str, str]:
    """What tells Ray where its control store is; the Redis password is not among it.

    Args:
        kind: The store.
        redis: Its address, and files of ours that prove who we are.
        rocksdb: The directory of RocksDB.
        cluster_id: Begins the keys in Redis unless the settings say something else: two clusters
            in one Redis would take each other's nodes for theirs.
    """
    if kind is StoreKind.MEMORY:
        return {}
    if kind is StoreKind.ROCKSDB:
        return {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(rocksdb)}
    given = {
        "RAY_REDIS_ADDRESS": redis.address,
        "RAY_REDIS_CA_CERT": redis.ca_file,
        "RAY_REDIS_CLIENT_CERT": redis.cert_file,
        "RAY_REDIS_CLIENT_KEY": redis.key_file,
        "RAY_REDIS_SERVER_NAME": redis.server_name,
        "RAY_external_storage_namespace": redis.namespace or f"secure-ray-{cluster_id}",
        PASSWORD_FILE_VARIABLE: redis.password_file,
        USERNAME_VARIABLE: redis.username,
    }
    return {name: value for name, value in given.items() if value is not None}


def require_redis_files(redis: RedisSettings) -> None:
    """Check the files that `[redis]` names.

    Raises:
        UsageError: a certificate can be changed by others.
        FailedError: the password or the key is not ours alone, or no password is in its file.
    """
    from secure_ray.node.load import read_trusted

    for name in (redis.ca_file, redis.cert_file):
        if name is not None:
            read_trusted(Path(name))
    if redis.key_file is not None:
        require_private_file(Path(redis.key_file))
    if redis.password_file is not None:
        read_redis_password(Path(redis.password_file))


def settle_store(plan: LaunchPlan) -> tuple[str, ...]:
    """Remove the stores that `plan` does not go on with; tells what a person should know."""
    store, told = plan.paths.store, []
    current = rocksdb_directory(plan.paths, plan.versions["ray"])
    wanted = current if plan.store is StoreKind.ROCKSDB else None
    if is_there(store):
        require_private_directory(store)
        for entry in sorted(store.iterdir()):
            if entry != wanted:
                remove_tree(entry)
                told.append(f"forgot what another start kept in {entry}: this one cannot use it")
    if wanted is not None and is_there(wanted / _OWNER):
        told.append("Ray goes on with what it knew; secure-ray down would have ended that")
    return tuple(told)


def forget_store(paths: ClusterPaths, plan: LaunchPlan | None) -> None:
    """Forget all that the control store of a head knows; Ray must have ended.

    Args:
        paths: The cluster's files.
        plan: What was started last, if that is known.

    Raises:
        FailedError: a file cannot be removed.
        IncompleteError: Redis does not answer.
    """
    if is_there(paths.store):
        remove_tree(paths.store)
    # A copied record is the original's affair.
    if plan is not None and plan.paths == paths and plan.store is StoreKind.REDIS:
        _clear_redis(plan)


def _clear_redis(plan: LaunchPlan) -> None:
    """In a process of its own, which begins with the variables that Ray reads once."""
    why = ""
    try:
        done = subprocess.run(  # noqa: S603  # our own module, no shell
            [sys.executable, "-c", _CLEAR],
            env=plan.environment,
            cwd=plan.paths.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_CLEAR_SECONDS,
            check=False,
        )
        if done.returncode == 0:
            return
        why = f"exit code {done.returncode}"
    except subprocess.TimeoutExpired:
        why = f"no answer in {_CLEAR_SECONDS} s"
    raise IncompleteError(
        "SR-STATE-011",
        f"Ray is stopped; its keys in Redis at {plan.environment['RAY_REDIS_ADDRESS']} are still "
        f"there ({why})",
        fix="run secure-ray down again once Redis answers",
    )

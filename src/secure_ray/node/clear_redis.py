"""Removes a stopped cluster's keys from its Redis; a process of its own, see `store`."""

from __future__ import annotations

import os


def main() -> int:
    """Remove what begins with the cluster's namespace, by the variables that Ray was started with."""
    from ray._private.gcs_utils import cleanup_redis_storage

    from secure_ray.node.store_hook import PASSWORD_FILE_VARIABLE, read_credentials

    scheme, _, place = os.environ["RAY_REDIS_ADDRESS"].partition("://")
    host, _, port = place.rpartition(":")
    known = PASSWORD_FILE_VARIABLE in os.environ
    username, password = read_credentials(os.environ) if known else ("", "")
    done = cleanup_redis_storage(
        host=host.strip("[]"),
        port=int(port),
        username=username,
        password=password,
        use_ssl=scheme == "rediss",
        storage_namespace=os.environ["RAY_external_storage_namespace"],  # noqa: SIM112  # Ray's name
    )
    # None in the Rays that tell nothing.
    return 1 if done is False else 0

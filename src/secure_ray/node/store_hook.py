"""Keeps what opens the control store from all but gcs_server. Runs inside `ray start`.

**Its variables** are withdrawn once gcs_server runs: the raylet, and with it every job, starts
without them.

**The password of a Redis** stands on no command line (CVE-2025-1979 and after).
`--redis-password` and RAY_REDIS_PASSWORD end on the command lines of gcs_server, the raylet and
every worker (Ray 2.60.0, `_private/services.py`), which every user of the host can read. gcs_server
alone needs it, and takes options from a file as well: `--flagfile`, of gflags. `ray start` itself
asks Redis for the name of the last session, with the password in its own memory. A Ray that looks
different is not started: the password must not get lost on a way that nobody has tried.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_ray.base.errors import FailedError
from secure_ray.base.files import read_private, write_private
from secure_ray.base.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PASSWORD_FILE_VARIABLE = "SECURE_RAY_REDIS_PASSWORD_FILE"  # noqa: S105  # its name
USERNAME_VARIABLE = "SECURE_RAY_REDIS_USERNAME"
STORE_VARIABLES = (
    "RAY_gcs_storage",
    "RAY_gcs_storage_path",
    "RAY_REDIS_ADDRESS",
    "RAY_REDIS_CA_CERT",
    "RAY_REDIS_CLIENT_CERT",
    "RAY_REDIS_CLIENT_KEY",
    "RAY_REDIS_SERVER_NAME",
    "RAY_external_storage_namespace",
    PASSWORD_FILE_VARIABLE,
    USERNAME_VARIABLE,
)
_FLAG_FILE = "gcs_server.flags"
_LINE = re.compile(r"[\x21-\x7e]{1,512}")
_METHODS = ("check_persisted_session_name", "start_gcs_server", "_init_gcs_client")


def withdrawing_node(node_class: Any) -> Any:
    """A subclass of Ray's `Node` that starts gcs_server with the store's variables, and no other.

    Ray itself looks at them last when it writes down whose store it is, before it starts the rest
    (Ray 2.60.0, `_private/node.py` `start_head_processes`).
    """

    class WithdrawingNode(node_class):  # type: ignore[misc]  # Ray has no types
        def _write_cluster_info_to_kv(self) -> None:
            super()._write_cluster_info_to_kv()
            for name in STORE_VARIABLES:
                os.environ.pop(name, None)

    WithdrawingNode.__name__ = node_class.__name__
    return WithdrawingNode


def password_node(node_class: Any, services: Any, directory: Path) -> Any:
    """A subclass of Ray's `Node` that tells the password to gcs_server alone.

    Args:
        node_class: Ray's class.
        services: Ray's module that starts processes.
        directory: A private one, for a file that exists while gcs_server starts.

    Raises:
        RuntimeError: this Ray is put together in another way.
    """
    missing = [name for name in _METHODS if not hasattr(node_class, name)]
    if missing or not hasattr(services, "start_ray_process"):
        raise RuntimeError(f"this Ray cannot be given a Redis password in secret: no {missing}")
    flags = directory / _FLAG_FILE

    class PasswordNode(node_class):  # type: ignore[misc]  # Ray has no types
        def check_persisted_session_name(self) -> Any:
            parameters = self._ray_params
            parameters.redis_username, parameters.redis_password = read_credentials(os.environ)
            try:
                return super().check_persisted_session_name()
            finally:
                # Whatever is here ends on command lines.
                parameters.redis_username = parameters.redis_password = ""

        def start_gcs_server(self) -> None:
            write_flags(flags, *read_credentials(os.environ))
            original = services.start_ray_process
            services.start_ray_process = with_flag_file(original, flags)
            try:
                super().start_gcs_server()
            finally:
                services.start_ray_process = original

        def _init_gcs_client(self) -> None:
            try:
                super()._init_gcs_client()
            finally:
                flags.unlink(missing_ok=True)

    PasswordNode.__name__ = node_class.__name__
    return PasswordNode


def read_redis_password(path: Path) -> Secret:
    """The password in a file of ours with mode 0600.

    Raises:
        FailedError: the file is not ours alone, or does not hold one line without spaces.
    """
    text = read_private(path).decode(errors="replace").strip("\r\n")
    if not _LINE.fullmatch(text):
        raise FailedError(
            "SR-CFG-022",
            f"{path} does not hold a password: one line of ASCII without spaces",
            fix="write the password into it and nothing else; chmod 0600",
        )
    return Secret(text)


def read_credentials(environ: Mapping[str, str]) -> tuple[str, str]:
    """User and password; the user is empty for Redis' default one."""
    password = read_redis_password(Path(environ[PASSWORD_FILE_VARIABLE]))
    return environ.get(USERNAME_VARIABLE, ""), password.reveal()


def write_flags(path: Path, username: str, password: str) -> None:
    """The options as gflags reads them: one a line."""
    lines = [f"--redis_password={password}"]
    if username:
        lines.insert(0, f"--redis_username={username}")
    write_private(path, "\n".join([*lines, ""]).encode())


def with_flag_file(start: Callable[..., Any], flags: Path) -> Callable[..., Any]:
    """`start_ray_process`, with the file's name among the options of what it starts."""

    def start_with_flags(command: list[str], *arguments: Any, **options: Any) -> Any:
        return start([*command, f"--flagfile={flags}"], *arguments, **options)

    return start_with_flags

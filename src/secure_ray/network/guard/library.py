"""The guard's library: where it lies, how a process gets it, and the proof that it works here."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError

if TYPE_CHECKING:
    from secure_ray.network.guard.rules import GuardRules

_HERE = Path(__file__).parent
_PROBE = _HERE / "probe.py"
_PROBE_SECONDS = 20
_OTHER_WAY = "or keep the cluster on this host: --bind local"


def guard_library(directory: Path = _HERE) -> Path:
    """The library that was built with the package.

    Raises:
        FailedError: there is none: it was installed without a compiler.
    """
    for suffix in EXTENSION_SUFFIXES:
        library = directory / f"_guard{suffix}"
        if library.is_file():
            return library
    raise FailedError(
        "SR-GUARD-001",
        f"the bind guard was not built for this Python: no _guard{EXTENSION_SUFFIXES[0]} in "
        f"{directory}",
        fix="install a C compiler (apt install gcc libc6-dev), then pip install --force-reinstall "
        f"--no-deps --no-cache-dir secure-ray; {_OTHER_WAY}",
    )


def guarded_environment(
    library: Path, rules: GuardRules, *, inherited_preload: str = ""
) -> dict[str, str]:
    """The variables under which a program and all that it starts are guarded.

    Args:
        library: From `guard_library`.
        rules: What the guard goes by.
        inherited_preload: The caller's `LD_PRELOAD`, which comes after the guard.

    Raises:
        FailedError: the loader would cut the library's path in two, and go on without the guard.
    """
    # ld.so(8): the list is split at spaces and colons, and $ORIGIN and the like are replaced.
    if re.search(r"[\s:$]", str(library)):
        raise FailedError(
            "SR-GUARD-002",
            f"the path of the bind guard cannot stand in LD_PRELOAD: {library}",
            fix="install secure-ray in a directory without space, colon or $ in its path",
        )
    others = (part for part in re.split(r"[\s:]+", inherited_preload) if part != str(library))
    preload = ":".join([str(library), *filter(None, others)])
    return {**rules.environment(), "LD_PRELOAD": preload}


def self_test(library: Path, rules: GuardRules) -> None:
    """Prove in a process of its own that sockets go where `rules` say.

    Ports that are free now are added to the rules for it, so that it runs beside a cluster.

    Raises:
        FailedError: one does not, the node's address is not one of this host, or no process starts.
    """
    with ExitStack() as held:
        try:
            inner, outer, relayed, relay = (
                _hold_port(held, address)
                for address in ("127.0.0.1", rules.node, "127.0.0.1", "127.0.0.1")
            )
        except OSError as error:
            raise _failed(f"no port of {rules.node} can be had: {error.strerror}") from None
        tried = replace(
            rules,
            loopback_ports=rules.loopback_ports | {inner},
            node_ports=rules.node_ports | {outer},
            relayed={**rules.relayed, relayed: relay},
        )
        ports = [str(port) for port in (inner, outer, relayed, relay)]
        command = [sys.executable, "-I", "-S", str(_PROBE), rules.node, *ports]
        environment = {**os.environ, **guarded_environment(library, tried)}
        try:
            told = subprocess.run(  # noqa: S603  # our own module, no shell
                command,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _failed(f"the test process: {error}") from None
    if told.stdout != "guarded\n":
        lines = (told.stdout + told.stderr).strip().splitlines()
        raise _failed("; ".join(lines[-2:]) or f"the test process ended with {told.returncode}")


def _hold_port(held: ExitStack, address: str) -> int:
    """A port of `address` that stays ours: two may have it as long as only one listens."""
    family, kind, protocol, _, target = socket.getaddrinfo(
        address, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0]
    holder = held.enter_context(contextlib.closing(socket.socket(family, kind, protocol)))
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(target)
    port: int = holder.getsockname()[1]
    return port


def _failed(what: str) -> FailedError:
    return FailedError(
        "SR-GUARD-003",
        f"the bind guard does not hold here: {what}",
        fix="check that the address is one of this host (ip address) and that nothing strips "
        f"LD_PRELOAD; {_OTHER_WAY}",
    )

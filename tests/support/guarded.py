"""Programs under the bind guard."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.network.guard.library import guarded_environment
from secure_ray.network.guard.rules import GuardRules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SOURCE = Path(__file__).parents[2] / "src"
SOURCES = sorted((SOURCE / "secure_ray/network/guard").glob("*.c"))
STRICT = [
    "-std=c11",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-shared",
]

# What the scripts have at hand; `told` is what they tell.
_PRELUDE = """
import errno, json, os, socket, sys
INET, INET6, TCP, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM

def bound(family, kind, address, only_six=None):
    made = socket.socket(family, kind)
    if only_six is not None:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_six)
    try:
        made.bind(address)
    except OSError as error:
        return errno.errorcode[error.errno]
    return made.getsockname()[0]

def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]
"""


def compile_strictly(sources: Sequence[Path], target: Path) -> Path:
    """Compile C without a single warning; skipped where no compiler is."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    subprocess.run([compiler, *STRICT, "-o", target, *sources], check=True)
    return target


NODE = "127.0.0.5"
"""Stands for the node's address where there is no other; a wildcard or 127.0.0.1 it is not."""


def rules_for(node: str = NODE, **ports: Any) -> GuardRules:
    return GuardRules(
        node,
        frozenset(ports.get("loopback", ())),
        frozenset(ports.get("node_ports", ())),
        ports.get("relayed", {}),
    )


@dataclass(frozen=True)
class Guarded:
    """Runs scripts under the guard."""

    library: Path

    def run(
        self,
        script: str,
        rules: GuardRules,
        *,
        changed: Mapping[str, str | None] | None = None,
        prefix: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run `script` under `rules`; a variable that is `changed` to None is taken out."""
        variables = {**os.environ, **guarded_environment(self.library, rules), **(changed or {})}
        return subprocess.run(
            [*prefix, sys.executable, "-I", "-S", "-c", _PRELUDE + script],
            env={name: value for name, value in variables.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            pass_fds=pass_fds,
        )

    def tell(self, script: str, rules: GuardRules, **how: Any) -> Any:
        """What `script` leaves in `told`."""
        result = self.run(script + "\nprint(json.dumps(told))", rules, **how)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

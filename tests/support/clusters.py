"""Real clusters for tests: started through the command line, in a home of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from secure_ray.node.advisories import read_advisories
from secure_ray.policy.advisories import INFORMATIONAL, affecting
from secure_ray.policy.ports import open_to_anybody

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The agent of older Rays runs jobs without a token, so it is kept closed there.
JOBS_WORK = not open_to_anybody(metadata.version("ray"))
PROGRAM = Path(sys.executable).with_name("secure-ray")
_TIMEOUT = 180
# What a caller needs and what coverage or a package manager put there; nothing that steers Ray.
_PASSED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ")


def plain_environment(**more: str) -> dict[str, str]:
    """An environment as a user would have it, without anything of this test run."""
    return {name: os.environ[name] for name in _PASSED if name in os.environ} | more


def overrides_for(ray_version: str) -> str:
    """Settings that let a Ray with known vulnerabilities start, as its users have to write them."""
    found = affecting(read_advisories(()), "ray", ray_version)
    needed = [advisory.id for advisory in found if advisory.severity != INFORMATIONAL]
    if not needed:
        return ""
    lines = [f'{name} = {{until = 2099-01-01, reason = "version matrix"}}' for name in needed]
    return "\n".join(["[override]", *lines, ""])


@dataclass
class Machine:
    """One user's secure-ray on this machine: a home directory, and the command line in it.

    Attributes:
        home: SECURE_RAY_HOME and HOME are below it.
        prefix: Put before each command, for example to run it as another user.
        variables: Further variables of every command.
    """

    home: Path
    prefix: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.home / "state"

    def __post_init__(self) -> None:
        overrides = overrides_for(metadata.version("ray"))
        if overrides:
            settings = self.home / "overrides.toml"
            settings.write_text(overrides)
            self.variables = {"SECURE_RAY_CONFIG": str(settings)} | self.variables

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return (
            plain_environment(HOME=str(self.home), SECURE_RAY_HOME=str(self.state))
            | self.variables
            | dict(more or {})
        )

    def command(self, arguments: Sequence[str]) -> list[str]:
        return [*self.prefix, sys.executable, str(PROGRAM), *arguments]

    def run(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        text: str = "",
        timeout: float = _TIMEOUT,
    ) -> subprocess.CompletedProcess[str]:
        """`secure-ray ARGUMENTS`, to its end, with `text` on its standard input."""
        return subprocess.run(
            self.command(arguments),
            env=self.environment(environment),
            cwd=cwd or self.home,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """`secure-ray ARGUMENTS`, running."""
        return subprocess.Popen(
            self.command(arguments),
            env=self.environment(),
            cwd=self.home,
            text=True,
            **(
                {
                    "stdin": subprocess.DEVNULL,
                    "stdout": subprocess.PIPE,
                    "stderr": subprocess.PIPE,
                }
                | options
            ),
        )

    def up(self, *arguments: str) -> dict[str, Any]:
        """`up --head --json`; fails the test with its messages when it does not work."""
        result = self.run("up", "--head", "--json", *arguments)
        assert result.returncode == 0, result.stderr
        facts: dict[str, Any] = json.loads(result.stdout)
        return facts

    def status(self, *arguments: str) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.run("status", "--json", *arguments).stdout)
        return facts

    def driver(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A Python program under `secure-ray run`."""
        return self.run("run", *arguments, "--", sys.executable, "-c", script)

    def ray(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`ray ARGUMENTS` under `secure-ray run`."""
        return self.run("run", "--", "ray", *arguments)

    def cluster_directory(self, name: str = "default") -> Path:
        return self.state / "clusters" / name

    def record(self, name: str = "default") -> dict[str, Any]:
        record: dict[str, Any] = json.loads(
            (self.cluster_directory(name) / "instance.json").read_text()
        )
        return record

    def identity(self, name: str = "default") -> dict[str, Any]:
        record: dict[str, Any] = json.loads(
            (self.cluster_directory(name) / "cluster.json").read_text()
        )
        return record

    def processes(self, name: str = "default") -> list[psutil.Process]:
        """This node's processes of the cluster, by the mark in their environment."""
        identity = self.identity(name)
        membership = identity.get("membership")
        mark = membership["node"] if membership else identity["id"]
        return [process for process in psutil.process_iter() if _variable(process) == mark]

    def clean(self) -> None:
        """Stop every cluster of this home and remove what they left outside of it."""
        clusters = self.state / "clusters"
        for directory in clusters.iterdir() if clusters.is_dir() else ():
            if (directory / "cluster.json").is_file():
                run = json.loads((directory / "cluster.json").read_text())["run"]
                self.run("down", "--cluster", directory.name)
                for process in self.processes(directory.name):
                    process.kill()
                shutil.rmtree(run, ignore_errors=True)


def _variable(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("SECURE_RAY_INSTANCE")
    except (psutil.Error, OSError):
        return None

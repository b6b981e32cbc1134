"""Clusters of a head and workers on hosts of their own: secure-ray's, and Ray's own to compare."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.hosts import HEAD, HOME, WORKER, pair

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.hosts import Host

_BIN = Path(sys.executable).parent
RAY, SECURE_RAY = str(_BIN / "ray"), str(_BIN / "secure-ray")
_DRIVER = str(Path(__file__).with_name("driver.py"))
_STORE = 500_000_000
_SIZE = ("--num-cpus", "1", "--object-store-memory", str(_STORE))
_PORT = 6379
_END_SECONDS = 20
# Ray's own environment and the driver's, as secure-ray has them.
_SHOW = """
import json, os
from secure_ray.node.drive import prepare_driver
from secure_ray.node.instance import require_running
from secure_ray.node.paths import cluster_paths
paths = cluster_paths(os.environ, None)
plan = require_running(paths).plan
directories = [str(path) for path in (plan.working_directory, *plan.private_directories)]
print(json.dumps([plan.argv, plan.environment, prepare_driver(paths, os.environ)[0], directories]))
"""


class Driver:
    """A driver on a host; see driver.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, words: str) -> float:
        """Have it done; the seconds it took."""
        self.tell(words)
        return self.answer()

    def tell(self, words: str) -> None:
        """Have it begun."""
        assert self._process.stdin is not None  # noqa: S101  # a pipe
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()

    def answer(self) -> float:
        """When it is done, the seconds it took.

        Raises:
            RuntimeError: the driver has ended.
        """
        assert self._process.stdout is not None  # noqa: S101  # a pipe
        for line in self._process.stdout:
            if line.startswith("took "):
                return float(line.split()[1])
        raise RuntimeError(f"a driver ended with {self._process.wait()}")

    def end(self) -> None:
        """Let it end by itself, if it does so soon."""
        assert self._process.stdin is not None  # noqa: S101  # a pipe
        self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._process.kill()


@contextmanager
def driver(host: Host, environment: Mapping[str, str], *prefix: str) -> Iterator[Driver]:
    """A driver, as long as this lasts; `prefix` comes before its command."""
    process = host.start(*prefix, sys.executable, _DRIVER, environment=environment)
    with process:
        made = Driver(process)
        try:
            yield made
        finally:
            made.end()


class Cluster(Protocol):
    """A head and a host for its worker."""

    def invite(self) -> str:
        """What a worker needs to join."""

    def join(self, name: str, invitation: str, /) -> None:
        """Make the other host a worker that has the resource `name`."""

    def leave(self, name: str, /) -> None:
        """Stop the worker."""


@dataclass
class Secure:
    """A cluster of secure-ray in private mode."""

    head: Host
    worker: Host

    @property
    def environment(self) -> dict[str, str]:
        """The user's, on both hosts."""
        return self.head.environment(SECURE_RAY_HOME=str(HOME / "state"))

    def up(self) -> None:
        """Start the head."""
        self._on(self.head, "up", "--head", "--bind", "private", *_SIZE)

    def invite(self) -> str:
        """A join string."""
        return self._on(self.head, "join-token", "create")

    def join(self, name: str, invitation: str, /) -> None:
        """Make the other host a worker that has the resource `name`."""
        options = ("--name", name, "--resources", json.dumps({name: 1}), *_SIZE)
        self._on(self.worker, "up", "--join", "-", *options, text=invitation)

    def leave(self, name: str, /) -> None:
        """Stop the worker, and have both forget that it ever was one."""
        self._on(self.worker, "down")
        shutil.rmtree(self.worker.directory / "state")
        self._on(self.head, "node", "revoke", name)

    @contextmanager
    def driver(self) -> Iterator[Driver]:
        """One on the head."""
        with driver(self.head, self.environment, SECURE_RAY, "run", "--") as made:
            yield made

    def _on(self, host: Host, *words: str, text: str = "") -> str:
        return host.run(SECURE_RAY, *words, environment=self.environment, text=text)


@dataclass
class Stock:
    """A cluster as Ray starts it.

    Attributes:
        tls: What has it use TLS and a token; nothing for Ray as it is.
    """

    head: Host
    worker: Host
    tls: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """The user's, on both hosts."""
        return self.head.environment(RAY_USAGE_STATS_ENABLED="0", **self.tls)

    def up(self) -> None:
        """Start the head."""
        place = ("--node-ip-address", HEAD, "--port", str(_PORT))
        self._on(self.head, "start", "--head", *place, *_SIZE)

    def invite(self) -> str:
        """Nothing: whoever reaches it is let in."""
        return ""

    def join(self, name: str, _invitation: str, /) -> None:
        """Make the other host a worker that has the resource `name`."""
        place = ("--node-ip-address", WORKER, "--address", f"{HEAD}:{_PORT}")
        self._on(self.worker, "start", *place, "--resources", json.dumps({name: 1}), *_SIZE)

    def leave(self, _name: str, /) -> None:
        """Stop the worker."""
        self._on(self.worker, "stop")

    @contextmanager
    def driver(self) -> Iterator[Driver]:
        """One on the head."""
        environment = self.environment | {"RAY_ADDRESS": f"{HEAD}:{_PORT}"}
        with driver(self.head, environment) as made:
            yield made

    def _on(self, host: Host, *words: str) -> str:
        return host.run(RAY, *words, environment=self.environment)


@contextmanager
def secure(directory: Path) -> Iterator[Secure]:
    """A head that is up, and a worker's host."""
    with pair(directory, "secure") as hosts:
        made = Secure(*hosts)
        made.up()
        yield made


@contextmanager
def stock(directory: Path, like: Secure | None = None) -> Iterator[Stock]:
    """The same of Ray's own; with TLS and the token of `like`, which has a worker, if it is given."""
    tls: dict[str, str] = {}
    with pair(directory, "tls" if like else "stock") as hosts:
        if like:
            for ours, theirs in zip((like.head, like.worker), hosts, strict=True):
                _copy_state(ours, theirs)
            wanted = re.compile("RAY_(USE_)?TLS|RAY_AUTH")
            tls = {name: value for name, value in _shown(like)[2].items() if wanted.match(name)}
        made = Stock(*hosts, tls)
        made.up()
        yield made


@contextmanager
def unguarded(directory: Path, like: Secure) -> Iterator[Driver]:
    """A driver of a head like that of `like`: the same command and variables, but the guard's."""
    argv, variables, of_driver, directories = _shown(like)
    with ExitStack() as stack:
        head, _ = stack.enter_context(pair(directory, "unguarded"))
        _copy_state(like.head, head)
        for path in directories:
            inside = head.directory / Path(path).relative_to(HOME)
            inside.mkdir(mode=0o700, parents=True, exist_ok=True)
        ray = stack.enter_context(head.start(*argv, environment=_without_guard(variables)))
        stack.callback(ray.kill)
        assert ray.stdout is not None  # noqa: S101  # a pipe
        while "runtime started" not in (line := ray.stdout.readline()):
            if not line:
                raise RuntimeError("Ray does not start without the guard")
        yield stack.enter_context(driver(head, _without_guard(of_driver)))


def _shown(cluster: Secure) -> tuple[list[str], dict[str, str], dict[str, str], list[str]]:
    told = cluster.head.run(sys.executable, "-c", _SHOW, environment=cluster.environment)
    argv, environment, of_driver, directories = json.loads(told)
    return argv, environment, of_driver, directories


def _copy_state(ours: Host, theirs: Host) -> None:
    """Keys, certificates and token; at the same path, as hosts see it."""
    shutil.copytree(
        ours.directory / "state",
        theirs.directory / "state",
        symlinks=True,
        ignore=shutil.ignore_patterns("run"),
    )


def _without_guard(environment: Mapping[str, str]) -> dict[str, str]:
    guard = re.compile("LD_PRELOAD$|SECURE_RAY_GUARD")
    return {name: value for name, value in environment.items() if not guard.match(name)}

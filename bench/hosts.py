"""Hosts for a benchmark: each has a network, processes and a home of its own (Linux namespaces).

They end with the process that made them, and nothing of them stays: no name, no file.
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Covered by a directory of the host's own. Short, so that Ray's sockets fit below it.
HOME = Path("/srv")
HEAD, WORKER = "10.77.0.1", "10.77.0.2"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LAUNCH_SECONDS = 120
# The shell stays as the first process of the host and takes leave of the orphans that end there.
_INIT = 'mount --bind "$1" "$2" && ip link set lo up && echo ready && { sleep infinity & wait; }'


@dataclass(frozen=True)
class Host:
    """One host.

    Attributes:
        directory: What is HOME there.
        init: The process that holds the host's namespaces.
    """

    directory: Path
    init: int

    def environment(self, **more: str) -> dict[str, str]:
        """What a user's shell there has."""
        home = {"HOME": str(HOME), "TMPDIR": str(HOME)}
        return {"PATH": _PATH, "LANG": "C.UTF-8"} | home | more

    def start(
        self, *words: str, environment: Mapping[str, str], take_errors: bool = False
    ) -> subprocess.Popen[str]:
        """Start a command there; its input and output are pipes."""
        return subprocess.Popen(
            [*self._inside(), *words],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if take_errors else None,
        )

    def run(
        self,
        *words: str,
        environment: Mapping[str, str],
        text: str = "",
        fine: tuple[int, ...] = (),
    ) -> str:
        """What a command prints there.

        Args:
            words: The command.
            environment: All of its environment.
            text: Its input.
            fine: Exit codes that are no failure, besides 0.

        Raises:
            RuntimeError: it failed.
        """
        with self.start(*words, environment=environment, take_errors=True) as process:
            out, errors = process.communicate(text, timeout=_LAUNCH_SECONDS)
        if process.returncode not in {0, *fine}:
            raise RuntimeError(f"{words} ended with {process.returncode}: {errors}")
        return out

    def _inside(self) -> list[str]:
        of_init = f"/proc/{self.init}/ns"
        enter = [f"--net={of_init}/net", f"--mount={of_init}/mnt"]
        # The process there that is first is a child of the one that made the namespace.
        enter += [f"--pid={of_init}/pid_for_children"]
        return ["nsenter", *enter, "env", f"--chdir={HOME}"]


@contextmanager
def host(directory: Path, name: str) -> Iterator[Host]:
    """A host without any network but its loopback."""
    place = directory / name
    place.mkdir()
    command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with subprocess.Popen(
        [*command, "sh", "-c", _INIT, "sh", str(place), str(HOME)], stdout=subprocess.PIPE
    ) as init:
        try:
            if init.stdout is None or init.stdout.readline() != b"ready\n":
                raise RuntimeError("no host can be made here")
            yield Host(place, init.pid)
        finally:
            init.kill()


@contextmanager
def pair(directory: Path, name: str) -> Iterator[tuple[Host, Host]]:
    """Two hosts on one wire, at HEAD and WORKER."""
    with host(directory, f"{name}-head") as head, host(directory, f"{name}-worker") as worker:
        wire = f"ip link add eth0 netns {head.init} type veth peer name eth0 netns {worker.init}"
        subprocess.run(wire.split(), check=True)
        for end, address in ((head, HEAD), (worker, WORKER)):
            for words in (f"address add {address}/24 dev eth0", "link set eth0 up"):
                end.run("ip", *words.split(), environment=end.environment())
        yield head, worker

"""Local mode: the commands, the start, and a driver, on a host of its own."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from bench.clusters import RAY, SECURE_RAY
from bench.hosts import HOME, host
from bench.timing import Case, measure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.hosts import Host
    from bench.timing import Result

_TIMED = "import time; began = time.monotonic(); {}; print('took', time.monotonic() - began)"
_DOWN = 1  # what `status` ends with for a cluster that is down


class _Local:
    """One host's Ray, started by secure-ray or by itself."""

    def __init__(self, here: Host) -> None:
        self._here = here
        self._plain = here.environment(RAY_USAGE_STATS_ENABLED="0")
        self._secure = here.environment(SECURE_RAY_HOME=str(HOME / "state"))

    def ray(self, *words: str) -> float:
        """Seconds of a command of Ray."""
        began = time.monotonic()
        self._here.run(RAY, *words, environment=self._plain)
        return time.monotonic() - began

    def secure_ray(self, *words: str) -> float:
        """Seconds of a command of secure-ray."""
        began = time.monotonic()
        self._here.run(SECURE_RAY, *words, environment=self._secure, fine=(_DOWN,))
        return time.monotonic() - began

    def stock_start(self) -> float:
        """Of Ray's start; stops it afterwards."""
        took = self.ray("start", "--head")
        self.ray("stop", "--force")
        return took

    def secure_start(self) -> float:
        """Of ours; stops it afterwards."""
        took = self.secure_ray("up", "--head")
        self.secure_ray("down")
        return took

    def ray_init(self) -> float:
        """Of `ray.init()` within a program."""
        return self._program("import ray; ray.init()", self._plain)

    def secure_init(self) -> float:
        """Of `secure_init()` within a program."""
        return self._program("from secure_ray import secure_init; secure_init()", self._secure)

    def _program(self, script: str, environment: dict[str, str]) -> float:
        command = (sys.executable, "-c", _TIMED.format(script))
        return float(self._here.run(*command, environment=environment).rpartition("took")[2])


def local_results(directory: Path, runs: int) -> Iterator[Result]:
    """Each comparison in turn."""
    with host(directory, "local") as here:
        local = _Local(here)
        local.secure_start()  # so that there are keys, and something for `status` to tell
        for case in _cases(local):
            yield measure(case, runs)


def _cases(local: _Local) -> Iterator[Case]:
    for words in (("--help",), ("status",), ("config", "show")):
        yield Case(
            f"`secure-ray {' '.join(words)}`",
            "`ray --help`",
            0.2,
            lambda words=words: local.secure_ray(*words),  # type: ignore[misc]
            lambda: local.ray("--help"),
        )
    yield Case(
        "`secure-ray up --head`, proof included",
        "`ray start --head`",
        1.0,
        local.secure_start,
        local.stock_start,
    )
    yield Case("`secure_init()`", "`ray.init()`", 1.05, local.secure_init, local.ray_init)

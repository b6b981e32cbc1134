"""A driver that does what it is asked, line by line, and answers with the seconds it took.

tasks N         N tasks that do nothing
calls N         N calls of one actor that do nothing
task NAME       one task on the node that has, or will have, the resource NAME
pull MB NAME    brings an object of so many MB here from the node that has the resource NAME
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import ray

_PULL_SECONDS = 60


def _nothing() -> None:
    pass


def _make(megabytes: int) -> bytearray:
    return bytearray(megabytes * 1_000_000)


class _Idle:
    def nothing(self) -> None:
        pass


class Driver:
    """Connected to the cluster that RAY_ADDRESS names."""

    def __init__(self) -> None:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        self._nothing = ray.remote(_nothing)
        self._make = ray.remote(_make)
        self._idle: Any = None

    def tasks(self, count: str) -> float:
        """As many tasks at once."""
        began = time.monotonic()
        ray.get([self._nothing.remote() for _ in range(int(count))])
        return time.monotonic() - began

    def calls(self, count: str) -> float:
        """As many calls of one actor at once."""
        if self._idle is None:
            self._idle = ray.remote(_Idle).options(num_cpus=0).remote()
            ray.get(self._idle.nothing.remote())
        began = time.monotonic()
        ray.get([self._idle.nothing.remote() for _ in range(int(count))])
        return time.monotonic() - began

    def task(self, resource: str) -> float:
        """One task there; waits for the node."""
        began = time.monotonic()
        ray.get(self._nothing.options(resources={resource: 0.01}).remote())
        return time.monotonic() - began

    def pull(self, megabytes: str, resource: str) -> float:
        """From the time that the object is there until it is here."""
        made = self._make.options(resources={resource: 0.01}).remote(int(megabytes))
        ray.wait([made], fetch_local=False)
        began = time.monotonic()
        here, _ = ray.wait([made], fetch_local=True, timeout=_PULL_SECONDS)
        took = time.monotonic() - began
        if not here:
            raise RuntimeError(f"no object within {_PULL_SECONDS} s")
        return took


def main() -> None:
    """Answer until the input ends."""
    driver = Driver()
    for line in sys.stdin:
        name, *arguments = line.split()
        print(f"took {getattr(driver, name)(*arguments)}", flush=True)


if __name__ == "__main__":
    main()

"""Private mode: what its parts cost, on hosts of their own."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from bench.clusters import secure, stock, unguarded
from bench.timing import Case, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.clusters import Cluster, Driver
    from bench.timing import Result

_TASKS, _CALLS, _MEGABYTES = 500, 1000, 100
_FIRST = "w0"


def private_results(directory: Path, runs: int) -> Iterator[Result]:
    """Each comparison, while what it needs is up and nothing else."""
    with secure(directory) as cluster, cluster.driver() as ours:
        with unguarded(directory, cluster) as theirs:
            for case in _guard_cases(ours, theirs):
                yield measure(case, runs)
        cluster.join(_FIRST, cluster.invite())
        with stock(directory, cluster) as peer, peer.driver() as theirs:
            peer.join(_FIRST, "")
            yield measure(_pull_case(ours, theirs, "the same, `ray start` with TLS", 1.1), runs)
        with stock(directory) as peer, peer.driver() as theirs:
            peer.join(_FIRST, "")
            yield measure(_pull_case(ours, theirs, "the same, `ray start` without", None), runs)
            cluster.leave(_FIRST)
            peer.leave(_FIRST)
            yield measure(
                Case(
                    "`secure-ray up --join` to the first task there",
                    "`ray start --address` to the first task",
                    1.5,
                    _joining(cluster, ours),
                    _joining(peer, theirs),
                ),
                runs,
            )


def _guard_cases(ours: Driver, theirs: Driver) -> Iterator[Case]:
    for things, what, number in (
        ("tasks", "tasks that do nothing", _TASKS),
        ("calls", "actor calls that do nothing", _CALLS),
    ):
        words = f"{things} {number}"
        yield Case(
            f"{what}, private mode",
            "the same Ray without the guard",
            1.1,
            lambda words=words: ours.ask(words),  # type: ignore[misc]
            lambda words=words: theirs.ask(words),  # type: ignore[misc]
            count=number,
            repeats=6,
        )


def _pull_case(ours: Driver, theirs: Driver, peer: str, bound: float | None) -> Case:
    words = f"pull {_MEGABYTES} {_FIRST}"
    return Case(
        f"{_MEGABYTES} MB object from another node",
        peer,
        bound,
        lambda: ours.ask(words),
        lambda: theirs.ask(words),
        repeats=3,
    )


def _joining(cluster: Cluster, driver: Driver) -> Callable[[], float]:
    """Has a new worker join while a task waits for it; leaves none behind."""
    numbers = count(1)

    def join() -> float:
        name, invitation = f"w{next(numbers)}", cluster.invite()
        driver.tell(f"task {name}")
        cluster.join(name, invitation)
        took = driver.answer()
        cluster.leave(name)
        return took

    return join

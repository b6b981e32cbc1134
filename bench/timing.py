"""Times two ways to do the same, in turn, and says how they compare."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: What is timed.
        peer: What it is timed against.
        bound: The ratio that it must not exceed; None when it is told for information.
        ours: Does it once; returns the seconds it took.
        theirs: Does the peer's once.
        count: How many things are done at once; 0 when it is one that takes seconds.
        repeats: How many times as often as others it is done, being short.
    """

    name: str
    peer: str
    bound: float | None
    ours: Callable[[], float]
    theirs: Callable[[], float]
    count: int = 0
    repeats: int = 1


@dataclass(frozen=True)
class Result:
    """Medians in seconds, and the median of the ratios of the pairs."""

    case: Case
    ours: float
    theirs: float
    ratio: float
    pairs: int

    @property
    def too_slow(self) -> bool:
        """Whether the ratio exceeds its bound."""
        return self.case.bound is not None and self.ratio > self.case.bound

    def row(self) -> str:
        """A line of the table."""
        case = self.case
        return (
            f"| {case.name} | {self._shown(self.ours)} | {case.peer} | {self._shown(self.theirs)} "
            f"| {self.ratio:.2f} | {'' if case.bound is None else f'{case.bound:.2f}'} "
            f"| {self.pairs} |"
        )

    def _shown(self, seconds: float) -> str:
        return f"{self.case.count / seconds:.0f} /s" if self.case.count else f"{seconds:.2f} s"


def measure(case: Case, runs: int) -> Result:
    """Ours and theirs in turn, so that a machine that drifts drifts for both."""
    case.ours()
    case.theirs()
    pairs = [_pair(case, theirs_first=bool(run % 2)) for run in range(runs * case.repeats)]
    result = Result(
        case,
        statistics.median(ours for ours, _ in pairs),
        statistics.median(theirs for _, theirs in pairs),
        statistics.median(ours / theirs for ours, theirs in pairs),
        len(pairs),
    )
    print(result.row(), file=sys.stderr, flush=True)
    return result


def _pair(case: Case, *, theirs_first: bool) -> tuple[float, float]:
    if theirs_first:
        theirs = case.theirs()
        return case.ours(), theirs
    return case.ours(), case.theirs()


def table(results: list[Result]) -> str:
    """All results, in Markdown."""
    head = (
        "| what | median | against | median | ratio | at most | pairs |",
        "|---|---|---|---|---|---|---|",
    )
    return "\n".join([*head, *(result.row() for result in results)])

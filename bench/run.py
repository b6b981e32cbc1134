"""Times secure-ray against Ray itself, side by side, and prints the ratios.

Everything runs in network and process namespaces of its own (Linux): a stock `ray start --head`
listens on every address of its machine and `ray stop` ends every Ray that it sees, neither of which
a benchmark should do to the machine it runs on.

    python bench/run.py [--runs 5] [--write docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_INSIDE = "SECURE_RAY_BENCH_INSIDE"
_BIN = Path(sys.executable).parent
_RAY = str(_BIN / "ray")
_SECURE_RAY = str(_BIN / "secure-ray")
_SECURE_INIT = "from secure_ray import secure_init; secure_init()"
_RAY_INIT = "import ray; ray.init()"
_TIMED = "import time; began = time.monotonic(); {}; print('took', time.monotonic() - began)"


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: What is timed.
        peer: What it is timed against.
        bound: The ratio that it must not exceed.
        ours: Does it once; returns the seconds it took.
        theirs: Does the peer's once.
    """

    name: str
    peer: str
    bound: float
    ours: Callable[[], float]
    theirs: Callable[[], float]


@dataclass(frozen=True)
class Result:
    """Medians in seconds, and the median of the ratios of the pairs."""

    case: Case
    ours: float
    theirs: float
    ratio: float


def main() -> int:
    """Run all cases; exit code 1 when a ratio exceeds its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    if not os.environ.get(_INSIDE):
        return _enter_namespace()
    with tempfile.TemporaryDirectory(prefix="srb-") as directory:
        results = [_measure(case, options.runs) for case in _cases(Path(directory))]
    table = _table(results, options.runs)
    print(table)
    if options.write:
        options.write.write_text(_document(table))
    return int(any(result.ratio > result.case.bound for result in results))


def _enter_namespace() -> int:
    """Run this program again where it reaches only its own loopback and its own processes."""
    unshare = shutil.which("unshare")
    if unshare is None:
        sys.exit("bench: needs unshare (util-linux)")
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = 'ip link set lo up && exec "$@"'
    apart = ["--net", "--pid", "--fork", "--mount-proc"]
    command = [unshare, *as_root, *apart, "sh", "-c", script, "sh", sys.executable, *sys.argv]
    return subprocess.run(command, env=os.environ | {_INSIDE: "1"}, check=False).returncode


def _cases(directory: Path) -> Iterable[Case]:
    plain = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    plain |= {"HOME": str(directory), "RAY_USAGE_STATS_ENABLED": "0"}
    secure = plain | {"SECURE_RAY_HOME": str(directory / "state")}
    secure.pop("RAY_USAGE_STATS_ENABLED")

    def command(*words: str, environment: dict[str, str]) -> float:
        began = time.monotonic()
        result = subprocess.run(words, env=environment, capture_output=True, check=False)
        took = time.monotonic() - began
        if result.returncode not in {0, 1}:  # 1: `status` of a cluster that is down
            sys.exit(f"bench: {words} ended with {result.returncode}: {result.stderr.decode()}")
        return took

    def program(script: str, environment: dict[str, str]) -> float:
        result = subprocess.run(
            [sys.executable, "-c", _TIMED.format(script)],
            env=environment,
            cwd=directory,
            capture_output=True,
            text=True,
            check=True,
        )
        return float(result.stdout.rpartition("took")[2])

    def stock_start() -> float:
        took = command(_RAY, "start", "--head", environment=plain)
        command(_RAY, "stop", "--force", environment=plain)
        return took

    def secure_start() -> float:
        took = command(_SECURE_RAY, "up", "--head", environment=secure)
        command(_SECURE_RAY, "down", environment=secure)
        return took

    def ray_help() -> float:
        return command(_RAY, "--help", environment=plain)

    secure_start()  # so that there are keys, and something for `status` to tell
    for words in (("--help",), ("status",), ("config", "show")):
        yield Case(
            f"secure-ray {' '.join(words)}",
            "ray --help",
            0.2,
            lambda words=words: command(_SECURE_RAY, *words, environment=secure),  # type: ignore[misc]
            ray_help,
        )
    yield Case(
        "secure-ray up --head, proof included", "ray start --head", 1.0, secure_start, stock_start
    )
    yield Case(
        "secure_init()",
        "ray.init()",
        1.05,
        lambda: program(_SECURE_INIT, secure),
        lambda: program(_RAY_INIT, plain),
    )


def _measure(case: Case, runs: int) -> Result:
    """Ours and theirs in turn, so that a machine that drifts drifts for both."""
    case.ours()
    case.theirs()
    pairs = []
    for number in range(runs):
        pairs.append((case.ours(), case.theirs()))
        print(f"{case.name}: {number + 1}/{runs}", file=sys.stderr)
    return Result(
        case,
        statistics.median(ours for ours, _ in pairs),
        statistics.median(theirs for _, theirs in pairs),
        statistics.median(ours / theirs for ours, theirs in pairs),
    )


def _table(results: list[Result], runs: int) -> str:
    lines = [
        f"| what | median of {runs} | against | median | ratio | at most |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{result.case.name}` | {result.ours:.2f} s | `{result.case.peer}` | "
        f"{result.theirs:.2f} s | {result.ratio:.2f} | {result.case.bound:.2f} |"
        for result in results
    ]
    return "\n".join(lines)


def _document(table: str) -> str:
    return f"""# Benchmarks

Written by `make bench`: each line is timed in turn with its peer, in one run, on one machine.
Seconds depend on the machine; the ratio is the median of the ratios of the pairs.

{table}

Ray {version("ray")}, Python {platform.python_version()}, {os.cpu_count()} CPUs,
{platform.system()} {platform.machine()}.
"""


if __name__ == "__main__":
    sys.exit(main())

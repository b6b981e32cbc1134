"""Times secure-ray against Ray itself, side by side, and prints the ratios.

Everything runs in network and process namespaces of its own (Linux): a stock `ray start --head`
listens on every address of its machine and `ray stop` ends every Ray that it sees, neither of which
a benchmark should do to the machine it runs on. What is left behind is what `--write` names.

    python -m bench.run [--runs 5] [--only local|private|joins] [--write docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.timing import Result

_INSIDE = "SECURE_RAY_BENCH_DIRECTORY"
_ROOT = Path(__file__).parent.parent
_PARTS = ("local", "private", "joins")
_JOINS = 1000


def main() -> int:
    """Run all cases; exit code 1 when a ratio exceeds its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", action="append", choices=_PARTS)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    inside = os.environ.get(_INSIDE)
    if not inside:
        return _run_apart()
    return _run(Path(inside), options.only or _PARTS, options.runs, options.write)


def _run_apart() -> int:
    """Run this program again where it reaches only its own loopback and its own processes."""
    if shutil.which("unshare") is None:
        sys.exit("bench: needs unshare (util-linux)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    apart = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    again = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-m", "bench.run"]
    with tempfile.TemporaryDirectory(prefix="srb-", ignore_cleanup_errors=True) as directory:
        paths = os.pathsep.join([str(_ROOT), str(_ROOT / "tests")])
        environment = os.environ | {_INSIDE: directory, "PYTHONPATH": paths}
        command = ["unshare", *as_root, *apart, *again, *sys.argv[1:]]
        with subprocess.Popen(command, env=environment) as process:
            try:
                return process.wait()
            finally:
                process.kill()


def _run(directory: Path, parts: tuple[str, ...], runs: int, write: Path | None) -> int:
    from bench.cases_local import local_results
    from bench.cases_private import private_results
    from bench.joins import simulate
    from bench.timing import table

    results: list[Result] = []
    if "local" in parts:
        results += local_results(directory, runs)
    if "private" in parts:
        results += private_results(directory, runs)
    told = [table(results)] if results else []
    if "joins" in parts:
        told.append(str(simulate(directory / "joins", _JOINS)))
    text = "\n\n".join(told)
    print(text)
    if write:
        write.write_text(_document(text))
    return int(any(result.too_slow for result in results))


def _document(text: str) -> str:
    return f"""# Benchmarks

Written by `make bench`: each line is timed in turn with its peer, in one run, on one machine, every
host of it in namespaces of its own. Seconds depend on the machine; the ratio is the median of the
ratios of the pairs, in seconds also where a rate is shown: less is better for secure-ray.

{text}

"Without the guard" is the same command, settings, TLS and token, with the bind guard's library and
rules taken out of the environment of Ray and of the driver, and nothing of secure-ray beside it: no
supervisor, no firewall. "With TLS" is `ray start` with the same TLS and token.

Ray {version("ray")}, Python {platform.python_version()}, {os.cpu_count()} CPUs,
{platform.system()} {platform.machine()}.
"""


if __name__ == "__main__":
    sys.exit(main())

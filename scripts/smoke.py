"""Tries a running cluster as a user would: status, proof, a program, a job.

    secure-ray up --head
    python scripts/smoke.py [--cluster NAME]

Prints a line for each step; exit code 1 at the first that does not work.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

_SECURE_RAY = str(Path(sys.executable).with_name("secure-ray"))
_PROGRAM = """
import ray
ray.init(log_to_driver=False, logging_level="ERROR")

@ray.remote
def square(x):
    return x * x

@ray.remote
class Counter:
    def __init__(self):
        self.value = 0
    def add(self, x):
        self.value += x
        return self.value

assert ray.get([square.remote(x) for x in range(20)]) == [x * x for x in range(20)]
counter = Counter.remote()
assert ray.get([counter.add.remote(1) for _ in range(10)])[-1] == 10
assert len(ray.get(ray.put(b"x" * 10_000_000))) == 10_000_000
"""


def main() -> int:
    """Run the steps in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cluster", default="default")
    cluster = ["--cluster", parser.parse_args().cluster]
    job = [sys.executable, "-c", "print('hello')"]
    steps = {
        "the cluster runs": ["status", *cluster],
        "every claim is proven": ["audit", *cluster],
        "a program's tasks, actors and objects": [
            "run",
            *cluster,
            "--",
            sys.executable,
            "-c",
            _PROGRAM,
        ],
        "ray list nodes": ["run", *cluster, "--", "ray", "list", "nodes"],
        "a job": ["run", *cluster, "--", "ray", "job", "submit", "--", *job],
    }
    for name, arguments in steps.items():
        result = subprocess.run(
            [_SECURE_RAY, *arguments], capture_output=True, text=True, check=False
        )
        print(f"{'ok    ' if result.returncode == 0 else 'FAILED'}  {name}")
        if result.returncode != 0:
            print(result.stdout + result.stderr, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Tries a running cluster as a user would: status, proof, a program on every node, a job.

    secure-ray up --head
    python scripts/smoke.py [--cluster NAME]

On the head or on a worker, with the Python that secure-ray is installed for. Prints a line for each step; exit code 1 at the first that does not work.
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
# What they send back is too large to come inside a message, so the objects cross as well.
_EVERYWHERE = """
import ray
ray.init(log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=0)
def answer():
    return ray.get_runtime_context().get_node_id(), b"x" * 1_000_000

nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
asked = [
    answer.options(
        scheduling_strategy=ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            node, soft=False
        )
    ).remote()
    for node in nodes
]
assert [node for node, _ in ray.get(asked, timeout=60)] == nodes
"""


def main() -> int:
    """Run the steps in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cluster", default="default")
    cluster = parser.parse_args().cluster
    return int(not all(_works(name, words) for name, words in _steps(cluster).items()))


def _steps(cluster: str) -> dict[str, list[str]]:
    where = ["--cluster", cluster]
    run = ["run", *where, "--"]
    return {
        "the node runs": ["status", *where],
        "every claim is proven": ["audit", *where],
        "a program's tasks, actors and objects": [*run, sys.executable, "-c", _PROGRAM],
        "a task on each node": [*run, sys.executable, "-c", _EVERYWHERE],
        "ray list nodes": [*run, "ray", "list", "nodes"],
        "a job": [*run, "ray", "job", "submit", "--", sys.executable, "-c", "print('hello')"],
    }


def _works(name: str, words: list[str]) -> bool:
    result = subprocess.run([_SECURE_RAY, *words], capture_output=True, text=True, check=False)
    works = result.returncode == 0
    print(f"{'ok    ' if works else 'FAILED'}  {name}", flush=True)
    if not works:
        print(result.stdout + result.stderr, file=sys.stderr)
    return works


if __name__ == "__main__":
    sys.exit(main())

"""The limit of descriptors, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import resource
from secure_ray.base.descriptors import descriptor_limit, raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 200))
print(descriptor_limit(), raise_descriptor_limit(), descriptor_limit())
"""


def test_limit_is_raised_as_far_as_it_may_be() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["64", "200", "200"]

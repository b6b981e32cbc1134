"""Errors about the bind guard."""

from __future__ import annotations

from secure_ray.policy.rules import failure

GUARD_RULES = (
    failure(
        "SR-GUARD-001",
        "the bind guard was not built",
        "Ray listens on every interface. The guard, a small C library, keeps it on the node's "
        "address; it is compiled when secure-ray is installed, and there was no compiler.",
        "Install one (apt install gcc libc6-dev), then pip install --force-reinstall --no-deps "
        "--no-cache-dir secure-ray. Or keep the cluster on this host: --bind local.",
    ),
    failure(
        "SR-GUARD-002",
        "the bind guard lies in a path that cannot be preloaded",
        "The loader splits LD_PRELOAD at spaces and colons. It would find no library and start "
        "Ray unguarded, with no more than a warning.",
        "Install secure-ray in a directory without space, colon or $ in its path.",
    ),
    failure(
        "SR-GUARD-003",
        "the bind guard does not hold on this host",
        "Before Ray starts, a process tries each rule on live sockets; one went elsewhere. Perhaps "
        "the address is not one of this host, or something strips LD_PRELOAD.",
        "Check ip address and what the message names. Or keep the cluster on this host: "
        "--bind local.",
    ),
    failure(
        "SR-GUARD-004",
        "the bind guard cannot be put into a running process",
        "It changes how loaded libraries reach the socket calls, which it can on Linux on x86-64 "
        "and arm64, once, and not beside other rules.",
        "Start the program under the guard: secure-ray run -- COMMAND.",
    ),
    failure(
        "SR-GUARD-005",
        "part of a driver opens sockets past the bind guard",
        "A library was loaded in a way that the guard does not see, so a socket of it could listen "
        "on every interface.",
        "Start the program under the guard: secure-ray run -- COMMAND.",
    ),
)
